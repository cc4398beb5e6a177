//! Which case of now is which case of then: the same target, overlapping in time.

use std::collections::BTreeMap;

use pitcrew_model::{TargetId, Timestamp};

use super::case::{CaseStory, Stories};

/// One trouble as both policies treated it, or one of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub(super) then: Option<&'a CaseStory>,
    pub(super) now: Option<&'a CaseStory>,
}

impl Pair<'_> {
    pub(super) fn began(&self) -> Timestamp {
        let both = [self.then, self.now].into_iter().flatten();
        both.map(|story| story.began).min().unwrap_or_default()
    }
}

/// In the order in which they began.
pub(super) fn pairs<'a>(then: &'a Stories, now: &'a Stories) -> Vec<Pair<'a>> {
    let mut left: BTreeMap<(u32, &TargetId), Vec<&CaseStory>> = BTreeMap::new();
    for (stretch, story) in now.believed() {
        left.entry((stretch, &story.target))
            .or_default()
            .push(story);
    }
    let mut pairs = Vec::new();
    for (stretch, story) in then.believed() {
        let now = left.get_mut(&(stretch, &story.target)).and_then(|left| {
            let at = left.iter().position(|other| overlap(story, other))?;
            Some(left.remove(at))
        });
        pairs.push(Pair {
            then: Some(story),
            now,
        });
    }
    pairs.extend(left.into_values().flatten().map(|story| Pair {
        then: None,
        now: Some(story),
    }));
    pairs.sort_by_key(Pair::began);
    pairs
}

fn overlap(one: &CaseStory, other: &CaseStory) -> bool {
    let ends_after = |story: &CaseStory, at| story.ended_at.is_none_or(|ended_at| at <= ended_at);
    ends_after(one, other.began) && ends_after(other, one.began)
}
