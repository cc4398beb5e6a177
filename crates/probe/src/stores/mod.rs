//! Native hellos for datastores: connect, log in, ask something cheap, say what is wrong in the store's
//! own words.
//!
//! One rule decides the verdict everywhere: a store that answers and refuses *this test* (credentials,
//! a database or a right that is missing, a query it doesn't understand) is `Unknown`, because nothing
//! about its health is proven and no repair could help; a store that can't serve anybody (too many
//! clients, starting up, disk full) is `Fail`. Nothing is left behind: no task, no pooled connection, and
//! where the protocol has a goodbye it is said, so that the store's log stays clean.

pub(crate) mod amqp;
pub(crate) mod hello;
pub(crate) mod memcached;
pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod redis;
mod resp;
mod stream;

use std::borrow::Cow;

use pitcrew_model::SqlExpectation;

use crate::{Answer, Question};

/// What a user's query came to: the first column of the first row, or no row at all.
enum FirstValue<'a> {
    NoRow,
    Null,
    Text(Cow<'a, [u8]>),
}

/// Whether the first column is what the configuration expects; `Ok` is the words of a pass.
fn expect_value(
    question: &Question<'_>,
    expectation: &SqlExpectation,
    value: &FirstValue<'_>,
) -> Result<String, Answer> {
    let seen = match value {
        FirstValue::NoRow => return Err(Answer::fail("the query returned no row")),
        FirstValue::Null => "NULL".into(),
        FirstValue::Text(bytes) => String::from_utf8_lossy(bytes),
    };
    let short: String = seen.chars().take(80).collect();
    match (&expectation.matches, value) {
        (None, _) => Ok(format!("the query returned {short:?}")),
        (Some(pattern), FirstValue::Text(bytes))
            if question.tools.pattern(pattern)?.is_match(bytes) =>
        {
            Ok(format!("the query returned {short:?}"))
        }
        (Some(pattern), _) => Err(Answer::fail(format!(
            "the query returned {short:?}, wanted /{pattern}/"
        ))),
    }
}
