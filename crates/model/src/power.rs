//! The controllers that give hosts their power and take it away: who answers for which host, and how they are asked.
//!
//! They are named by the server's own configuration alone: whoever could say where a host's controller is could have
//! another machine switched off, and the password told.

use serde::{Deserialize, Serialize};

use crate::{Secret, TargetId};

/// The controllers of some hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerRule {
    /// Ids of hosts; `*` stands for any text.
    pub hosts: Vec<String>,
    pub controller: PowerController,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerController {
    Redfish {
        /// Scheme, host and port; `{host}` is replaced.
        url: String,
        username: String,
        password: Secret,
        /// PEM certificates of the authorities that are believed, instead of the system's.
        authorities: Option<String>,
        /// Id or path of the system; without it the controller must have exactly one.
        system: Option<String>,
    },
    Ipmi {
        /// Host, or host and port; `{host}` is replaced.
        address: String,
        username: String,
        password: Secret,
        cipher_suite: u8,
    },
}

impl PowerRule {
    #[must_use]
    pub fn is_for(&self, host: &TargetId) -> bool {
        self.hosts
            .iter()
            .any(|pattern| matches(pattern, host.as_str()))
    }
}

/// `*` stands for any text, also none.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(first) else {
        return false;
    };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.into_iter().any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("web-7", "web-7", true),
            ("web-7", "web-70", false),
            ("rack-a-*", "rack-a-", true),
            ("rack-a-*", "rack-a-12", true),
            ("rack-a-*", "rack-b-12", false),
            ("*-a-*", "rack-a-12", true),
            ("*a", "rack-ä-a", true),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
