//! The postgres hello.

use pitcrew_model::PostgresTest;

use crate::{Answer, Question};

pub(crate) async fn ask(_question: &Question<'_>, _test: &PostgresTest) -> Answer {
    Answer::unknown("not asked yet")
}
