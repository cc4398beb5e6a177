//! Postings: which series have which label, and which series fulfil all matchers.
//!
//! The head and each part list their own; the logic of matchers is here, once for both.

use std::collections::HashMap;

use pitcrew_promql::labels::{MatchOp, Matcher};
use roaring::RoaringBitmap;

/// Something that lists which of its series have which label.
pub(crate) trait Terms {
    /// Why a list can't be read.
    type Error;

    /// All series.
    fn all(&self) -> Result<RoaringBitmap, Self::Error>;

    /// Those whose label has this value, which isn't empty.
    fn having(&self, name: &str, value: &str) -> Result<RoaringBitmap, Self::Error>;

    /// Those whose label is there and has a value that fulfils a condition. `pattern`: a regular expression that all such
    /// values match, if there is one.
    fn having_any(
        &self,
        name: &str,
        pattern: Option<&str>,
        fits: &dyn Fn(&str) -> bool,
    ) -> Result<RoaringBitmap, Self::Error>;
}

/// The series that fulfil all matchers.
pub(crate) fn select<T: Terms>(terms: &T, matchers: &[Matcher]) -> Result<RoaringBitmap, T::Error> {
    let mut found: Option<RoaringBitmap> = None;
    // A matcher that the empty value fulfils selects series without the label, too: it can only take away.
    for matcher in matchers.iter().filter(|matcher| !matcher.matches("")) {
        let fitting = fitting(terms, matcher)?;
        found = Some(match found {
            Some(found) => found & fitting,
            None => fitting,
        });
        if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
            return Ok(RoaringBitmap::new());
        }
    }
    let mut found = match found {
        Some(found) => found,
        None => terms.all()?,
    };
    for matcher in matchers.iter().filter(|matcher| matcher.matches("")) {
        let unfit = match matcher.op() {
            MatchOp::NotEqual => terms.having(matcher.name(), matcher.value())?,
            op => {
                // What a pattern excludes is what it matches.
                let pattern = matcher.regex().filter(|_| op == MatchOp::NotMatches);
                terms.having_any(matcher.name(), pattern, &|value| !matcher.matches(value))?
            }
        };
        found -= unfit;
    }
    Ok(found)
}

fn fitting<T: Terms>(terms: &T, matcher: &Matcher) -> Result<RoaringBitmap, T::Error> {
    match (matcher.op(), matcher.words()) {
        (MatchOp::Equal, _) => terms.having(matcher.name(), matcher.value()),
        (MatchOp::Matches, Some(words)) => {
            let mut fitting = RoaringBitmap::new();
            for word in words {
                fitting |= terms.having(matcher.name(), word)?;
            }
            Ok(fitting)
        }
        (op, _) => {
            let pattern = matcher.regex().filter(|_| op == MatchOp::Matches);
            terms.having_any(matcher.name(), pattern, &|value| matcher.matches(value))
        }
    }
}

/// The postings of the head, by symbols.
#[derive(Debug, Default)]
pub(crate) struct Postings {
    names: HashMap<u32, HashMap<u32, List>>,
    all: RoaringBitmap,
}

/// Most values of labels like `id` belong to one series: a bitmap would cost ten times as much.
#[derive(Debug)]
enum List {
    One(u32),
    Many(Box<RoaringBitmap>),
}

impl List {
    fn add(&mut self, series: u32) {
        match self {
            List::One(one) => *self = List::Many(Box::new([*one, series].into_iter().collect())),
            List::Many(many) => {
                many.insert(series);
            }
        }
    }

    pub(crate) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            List::One(one) => [*one].into_iter().collect(),
            List::Many(many) => (**many).clone(),
        }
    }

    fn len(&self) -> u64 {
        match self {
            List::One(_) => 1,
            List::Many(many) => many.len(),
        }
    }

    /// False when none is left.
    fn remove(&mut self, series: u32) -> bool {
        match self {
            List::One(one) => *one != series,
            List::Many(many) => {
                many.remove(series);
                !many.is_empty()
            }
        }
    }
}

impl Postings {
    pub(crate) fn add(&mut self, series: u32, labels: &[(u32, u32)]) {
        self.all.insert(series);
        for (name, value) in labels {
            self.names
                .entry(*name)
                .or_default()
                .entry(*value)
                .and_modify(|list| list.add(series))
                .or_insert(List::One(series));
        }
    }

    pub(crate) fn remove(&mut self, series: u32, labels: &[(u32, u32)]) {
        self.all.remove(series);
        for (name, value) in labels {
            let Some(values) = self.names.get_mut(name) else {
                continue;
            };
            if values
                .get_mut(value)
                .is_some_and(|list| !list.remove(series))
            {
                values.remove(value);
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    pub(crate) fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    pub(crate) fn having(&self, name: u32, value: u32) -> RoaringBitmap {
        let list = self.names.get(&name).and_then(|values| values.get(&value));
        list.map_or_else(RoaringBitmap::new, List::to_bitmap)
    }

    pub(crate) fn having_any(&self, name: u32, fits: impl Fn(u32) -> bool) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        for (value, list) in self.names.get(&name).into_iter().flatten() {
            if fits(*value) {
                match list {
                    List::One(one) => {
                        found.insert(*one);
                    }
                    List::Many(many) => found |= &**many,
                }
            }
        }
        found
    }

    /// Symbols of all names.
    pub(crate) fn names(&self) -> impl Iterator<Item = u32> {
        self.names.keys().copied()
    }

    /// Each label's name and value, and how many series have it.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (u32, u32, u64)> {
        let names = self.names.iter();
        names.flat_map(|(name, values)| {
            values
                .iter()
                .map(|(value, list)| (*name, *value, list.len()))
        })
    }

    /// Symbols of all values of a label.
    pub(crate) fn values(&self, name: u32) -> impl Iterator<Item = u32> {
        self.names
            .get(&name)
            .into_iter()
            .flatten()
            .map(|(value, _)| *value)
    }
}
