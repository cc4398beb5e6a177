//! Which targets, of those that are written down, belong to which service: each to one.

use std::collections::{BTreeMap, HashMap, HashSet};

use pitcrew_model::{Labels, Runner};

use super::static_targets;
use crate::{
    read::{Draft, service::ReadService},
    reader::Reader,
};

/// Services by the rarest pair of their selector, so that a target meets only services it may belong to.
pub(super) struct Index<'d> {
    services: &'d [ReadService],
    by_pair: HashMap<(&'d str, &'d str), Vec<usize>>,
}

impl<'d> Index<'d> {
    pub(super) fn new(services: &'d [ReadService]) -> Self {
        let pairs = |at: usize| {
            let labels = services[at].service.select.0.iter();
            labels.map(|(name, value)| (&**name, &**value))
        };
        let mut uses: HashMap<(&str, &str), usize> = HashMap::new();
        for pair in (0..services.len()).flat_map(pairs) {
            *uses.entry(pair).or_default() += 1;
        }
        let mut by_pair: HashMap<_, Vec<usize>> = HashMap::new();
        for at in 0..services.len() {
            if let Some(rarest) = pairs(at).min_by_key(|pair| uses[pair]) {
                by_pair.entry(rarest).or_default().push(at);
            }
        }
        Self { services, by_pair }
    }

    /// Services that select a target with these labels.
    fn selecting(&self, labels: &Labels) -> Vec<usize> {
        let pairs = labels.iter();
        let mut found: Vec<usize> = pairs
            .filter_map(|(name, value)| self.by_pair.get(&(&**name, &**value)))
            .flatten()
            .copied()
            .filter(|at| self.services[*at].service.select.selects(labels))
            .collect();
        found.sort_unstable();
        found
    }
}

/// A target belongs to one service, so a selector that contains another's pairs can never be right.
/// The services that were reported, each once.
pub(super) fn check_selectors(
    reader: &mut Reader<'_>,
    services: &[ReadService],
    index: &Index<'_>,
) -> HashSet<usize> {
    let mut reported = HashSet::new();
    for (narrow, read) in services.iter().enumerate() {
        let selector = &read.service.select;
        let mut wider = index.selecting(&selector.0).into_iter();
        // Of two that are the same, the second is reported.
        let wide = wider.find(|wide| *wide < narrow || services[*wide].service.select != *selector);
        let Some(other) = wide.map(|wide| &services[wide]) else {
            continue;
        };
        let (name, other_name) = (&read.service.name, &other.service.name);
        let place = reader.place(other.select_at);
        let message = if *selector == other.service.select {
            format!("`{other_name}` and `{name}` select the same targets; the first is at {place}")
        } else {
            format!("every target of `{name}` is claimed by `{other_name}` too, at {place}")
        };
        reader.error_with_help(read.select_at, message, ONE_SERVICE);
        reported.insert(narrow);
    }
    reported
}

const ONE_SERVICE: &str = "a target belongs to one service: make the labels exclude each other";

/// What is known of the targets that are written down, by service.
pub(super) struct Claims<'d> {
    pub(super) by_service: Vec<Claim<'d>>,
    /// What two services both select.
    disputed: BTreeMap<(usize, usize), Disputed>,
}

struct Disputed {
    /// The first of them.
    target: String,
    count: usize,
}

#[derive(Default)]
pub(super) struct Claim<'d> {
    pub(super) targets: usize,
    pub(super) without_runner: Option<&'d str>,
    pub(super) runners: Vec<&'d Runner>,
    pub(super) has_run: bool,
}

impl<'d> Claims<'d> {
    pub(super) fn new(draft: &'d Draft, index: &Index<'d>) -> Self {
        let mut claims = Self {
            by_service: draft.services.iter().map(|_| Claim::default()).collect(),
            disputed: BTreeMap::new(),
        };
        for read in &draft.sources {
            let Some(first) = static_targets(&read.source).first() else {
                continue;
            };
            let count = static_targets(&read.source).len();
            for at in claims.claim(index, &read.source.labels, first, count) {
                let claim = &mut claims.by_service[at];
                match &read.source.runs_as {
                    Some(runner) => claim.runners.push(runner),
                    None => claim.without_runner = claim.without_runner.or(Some(first)),
                }
            }
        }
        for read in &draft.runs {
            for (number, id) in (1..=read.run.instances).zip(read.ids()) {
                for at in claims.claim(index, &read.labels_of(number), &id, 1) {
                    claims.by_service[at].has_run = true;
                }
            }
        }
        claims
    }

    /// The services that select these targets.
    fn claim(
        &mut self,
        index: &Index<'_>,
        labels: &Labels,
        target: &str,
        count: usize,
    ) -> Vec<usize> {
        let selecting = index.selecting(labels);
        for at in &selecting {
            self.by_service[*at].targets += count;
        }
        if let [first, second, ..] = selecting[..] {
            let disputed = self.disputed.entry((first, second));
            let disputed = disputed.or_insert_with(|| Disputed {
                target: target.to_owned(),
                count: 0,
            });
            disputed.count += count;
        }
        selecting
    }
}

pub(super) fn check_claims(
    reader: &mut Reader<'_>,
    draft: &Draft,
    claims: &Claims<'_>,
    reported: &HashSet<usize>,
) {
    for ((first, second), disputed) in &claims.disputed {
        if reported.contains(first) || reported.contains(second) {
            continue;
        }
        let (first, second) = (&draft.services[*first], &draft.services[*second]);
        let more = match disputed.count - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        reader.error_with_help(
            second.select_at,
            format!(
                "target `{}` is claimed by `{}` and `{}`{more}",
                disputed.target, first.service.name, second.service.name
            ),
            ONE_SERVICE,
        );
    }
}
