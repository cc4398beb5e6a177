//! What a target says of its metric families, told to the store once.
//!
//! Two targets may describe one family differently, and one may describe it anew with each page; the store keeps one
//! description and writes down each change. So each target tells what is new of it, and what it changed once in an hour.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use pitcrew_tsdb::Metadata;

/// Between changes of what was told already.
const CHANGES_MS: i64 = 3_600_000;

#[derive(Default)]
pub(super) struct Described {
    /// By the hashes of families, those of what was said of them.
    told: HashMap<u64, u64>,
    changed_at_ms: Option<i64>,
    hasher: RandomState,
}

impl Described {
    /// What of a page is to be told, which counts as told from now on.
    pub(super) fn news<'a>(
        &mut self,
        families: impl Iterator<Item = &'a Metadata>,
        at_ms: i64,
    ) -> Vec<Metadata> {
        let since_ms = self.changed_at_ms.map(|last| at_ms.abs_diff(last));
        let may_change = since_ms.is_none_or(|since| since >= CHANGES_MS.unsigned_abs());
        let (mut news, mut count) = (Vec::new(), 0);
        for said in families {
            count += 1;
            let family = self.hasher.hash_one(&said.family);
            let words = self.hasher.hash_one((&said.kind, &said.unit, &said.help));
            let before = self.told.get(&family).copied();
            let is_change = before.is_some_and(|before| before != words);
            if before.is_none() || (is_change && may_change) {
                self.told.insert(family, words);
                news.push(said.clone());
            }
            if is_change && may_change {
                self.changed_at_ms = Some(at_ms);
            }
        }
        // Families that are no more must not be remembered for ever.
        if self.told.len() > 2 * count + 1_000 {
            self.told.clear();
        }
        news
    }

    /// What was told was not taken.
    pub(super) fn tell_again(&mut self) {
        self.told.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_told_once_and_its_changes_once_in_an_hour() {
        let mut described = Described::default();
        let mut told = |minute: i64, helps: &[&str]| -> Vec<String> {
            let said: Vec<Metadata> = (0..)
                .zip(helps)
                .map(|(number, help)| Metadata {
                    family: format!("f{number}"),
                    kind: "gauge".to_owned(),
                    unit: String::new(),
                    help: (*help).to_owned(),
                })
                .collect();
            let news = described.news(said.iter(), minute * 60_000);
            news.into_iter().map(|news| news.help).collect()
        };
        assert_eq!(told(0, &["a", "b"]), ["a", "b"]);
        assert_eq!(told(1, &["a", "b"]), [""; 0]);
        assert_eq!(told(2, &["A", "B", "c"]), ["A", "B", "c"]);
        assert_eq!(told(3, &["a", "b", "c", "d"]), ["d"]);
        assert_eq!(told(62, &["a", "B", "c", "d"]), ["a"]);
    }
}
