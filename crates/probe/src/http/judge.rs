//! Whether a response is what the test wants. Pure.

use pitcrew_model::HttpTest;

use super::response::{Response, excerpt};
use crate::{Answer, Tools};

const EXCERPT_CHARS: usize = 80;

pub(super) fn judge(tools: &Tools, test: &HttpTest, response: &Response) -> Answer {
    match objection(tools, test, response) {
        Ok(None) => Answer::pass(format!("HTTP {}", response.status)),
        Ok(Some(what)) => Answer::fail(format!("HTTP {}{what}", response.status)),
        Err(answer) => answer,
    }
}

/// What is wrong with it, as it follows `HTTP 200`.
fn objection(
    tools: &Tools,
    test: &HttpTest,
    response: &Response,
) -> Result<Option<String>, Answer> {
    if !test.status.contains(&response.status) {
        return Ok(Some(format!(", wanted {}", listed(&test.status))));
    }
    for wanted in &test.header_matches {
        let pattern = tools.pattern(&wanted.matches)?;
        let mut values = response.values(&wanted.name).peekable();
        let first = values.peek().copied();
        if !values.any(|value| pattern.is_match(value)) {
            return Ok(Some(match first {
                None => format!(", no header {}", wanted.name),
                Some(value) => format!(
                    ", {} lacks /{}/: \"{}\"",
                    wanted.name,
                    wanted.matches,
                    excerpt(value, EXCERPT_CHARS)
                ),
            }));
        }
    }
    if let Some(text) = &test.body_matches
        && !tools.pattern(text)?.is_match(response.body())
    {
        let seen = excerpt(response.body(), EXCERPT_CHARS);
        return Ok(Some(format!(", body lacks /{text}/: \"{seen}\"")));
    }
    if let Some(text) = &test.body_lacks
        && let Some(found) = tools.pattern(text)?.find(response.body())
    {
        let seen = excerpt(&response.body()[found.start()..], EXCERPT_CHARS);
        return Ok(Some(format!(", body has /{text}/: \"{seen}\"")));
    }
    Ok(None)
}

/// `200`, `200 or 204`, `200, 201 or 204`
fn listed(status: &[u16]) -> String {
    let mut text = String::new();
    for (at, code) in status.iter().enumerate() {
        let between = match (at, status.len() - at) {
            (0, _) => "",
            (_, 1) => " or ",
            _ => ", ",
        };
        text.push_str(&format!("{between}{code}"));
    }
    text
}
