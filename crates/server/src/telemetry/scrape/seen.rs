//! What of a target's last page is remembered until the next: the keys of its series, to know which ended.
//!
//! It is held for every target all the time: never more of it than was stored.

use std::collections::HashSet;

use crate::telemetry::{Form, Gathered, Keys};

/// What a page had that is stored.
pub(super) struct Seen {
    pub(super) form: Form,
    pub(super) keys: Keys,
    /// Series with times of their own: when they are absent they have not ended.
    pub(super) timed: HashSet<u32>,
}

impl Seen {
    /// Without series that never were stored: they take no memory and never end. `refused`: places of samples, ascending.
    pub(super) fn of(
        form: Form,
        page: Gathered,
        timed: HashSet<u32>,
        refused: &[usize],
        before: Option<Self>,
    ) -> Self {
        let mut seen = match refused.is_empty() {
            true => Self {
                form,
                keys: page.keys,
                timed,
            },
            false => Self::stored(form, &page, &timed, refused, before),
        };
        seen.keys.shrink();
        seen.timed.shrink_to_fit();
        seen
    }

    fn stored(
        form: Form,
        page: &Gathered,
        timed: &HashSet<u32>,
        refused: &[usize],
        before: Option<Self>,
    ) -> Self {
        let before = before.filter(|seen| seen.form == form);
        let before: HashSet<&[u8]> = before.iter().flat_map(|seen| seen.keys.iter()).collect();
        let mut seen = Self {
            form,
            keys: Keys::default(),
            timed: HashSet::new(),
        };
        let refused = page.refused_series(refused);
        for ((number, key), is_refused) in (0..).zip(page.keys.iter()).zip(refused) {
            if is_refused && !before.contains(key) {
                continue;
            }
            let kept = seen.keys.push(key);
            if timed.contains(&number) {
                seen.timed.insert(kept);
            }
        }
        seen
    }

    /// Keys of series that end when they are absent.
    pub(super) fn lasting(&self) -> impl Iterator<Item = &[u8]> {
        let keys = (0..).zip(self.keys.iter());
        let lasting = keys.filter(|(number, _)| !self.timed.contains(number));
        lasting.map(|(_, key)| key)
    }
}
