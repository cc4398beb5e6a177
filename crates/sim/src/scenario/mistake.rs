//! What is wrong with a scenario's text, where, and what to write instead.

use std::fmt;

use serde::Serialize;

/// One thing that is wrong, at one place of the scenario's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// One line.
    pub message: String,
}

impl Mistake {
    pub(super) fn new(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            column,
            message: message.into().chars().map(printable).collect(),
        }
    }
}

/// `12:4: unknown word `dwon`, did you mean `down`?`
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// A scenario must not write escape sequences to the terminal of whoever runs it.
fn printable(c: char) -> char {
    if c.is_control() && c != '\n' {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

/// `, did you mean `down`?`, or all that is possible where nothing is near and they are few.
pub(super) fn instead_of<'c>(
    text: &str,
    candidates: impl IntoIterator<Item = &'c str> + Clone,
) -> String {
    if let Some(meant) = nearest(text, candidates.clone()) {
        return format!(", did you mean `{meant}`?");
    }
    let all: Vec<&str> = candidates.into_iter().take(CANDIDATES_SHOWN + 1).collect();
    if all.is_empty() {
        return String::new();
    }
    let more = if all.len() > CANDIDATES_SHOWN {
        ", …"
    } else {
        ""
    };
    let shown = all[..all.len().min(CANDIDATES_SHOWN)].join(", ");
    format!("; possible here: {shown}{more}")
}

const CANDIDATES_SHOWN: usize = 16;

/// The candidate that `text` was most likely meant to be; one letter or two are too little to go by.
fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let allowed = (text.chars().count() / 3).min(3);
    candidates
        .into_iter()
        .map(|candidate| (edits(text, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Letters longer than this are not compared: a typing error is short, hostile input is not.
const COMPARED_CHARS: usize = 64;

/// Insertions, deletions, replacements and swapped neighbours that lead from one to the other.
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(COMPARED_CHARS).collect();
    let to: Vec<char> = to.chars().take(COMPARED_CHARS).collect();
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (i, have) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, want) in to.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(have != want);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *have == to[j - 1] && from[i - 1] == *want {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_offered_and_otherwise_all_of_them() {
        let words = ["down", "silent"];
        assert_eq!(instead_of("dwon", words), ", did you mean `down`?");
        assert_eq!(instead_of("asleep", words), "; possible here: down, silent");
        assert_eq!(instead_of("x", []), "");
    }
}
