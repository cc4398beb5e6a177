//! "Did you mean …?"

/// The candidate that `text` was most likely meant to be.
pub(crate) fn nearest<'c>(
    text: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // One letter or two are too little to go by.
    let allowed = (text.chars().count() / 3).min(3);
    candidates
        .into_iter()
        .map(|candidate| (distance(text, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Letters longer than this are not compared: a typing error is short, hostile input is not.
const COMPARED_CHARS: usize = 64;

/// Edits from one to the other: insertions, deletions, replacements and swapped neighbours
/// (Damerau and Levenshtein's distance, each part edited once).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(COMPARED_CHARS).collect();
    let b: Vec<char> = b.chars().take(COMPARED_CHARS).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        let keys = ["status", "path", "headers", "timeout"];
        for (text, expected) in [
            ("statuz", Some("status")),
            ("satus", Some("status")),
            ("tiemout", Some("timeout")),
            ("pth", Some("path")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, keys), expected, "{text}");
        }
    }
}
