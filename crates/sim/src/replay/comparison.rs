//! Two policies beside each other, case by case: the first thing in each that differs, and which limit made it so.

use std::time::Duration;

use pitcrew_model::{Production, TargetId, Timestamp};
use serde::Serialize;

use super::{
    case::{CaseStory, Stories},
    pair::{Pair, pairs},
    past::Past,
    reproduce::{RunEnd, RunSummary},
    sentence,
    setting::{change, threshold_change},
};

/// Differences in time below this are none: a server that is busy wakes a little late, too.
const SAME: Duration = Duration::from_millis(250);

/// What another policy would have done, beside what was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// One line for whoever has no time.
    pub summary: String,
    /// Of either policy; each counted once.
    pub cases: u64,
    pub alike: u64,
    pub differences: Vec<CaseDifference>,
    /// What people asked for and one policy refused.
    pub people: Vec<PersonDifference>,
    pub then: PolicyView,
    pub now: PolicyView,
    pub runs: Vec<RunSummary>,
    pub events: u64,
    pub observations: u64,
    /// What is assumed or not known, one sentence each.
    pub notes: Vec<String>,
    /// The record's last frame is not whole: at which byte.
    pub torn_at: Option<u64>,
}

impl Comparison {
    #[must_use]
    pub fn is_alike(&self) -> bool {
        self.differences.is_empty() && self.people.is_empty()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PolicyView {
    /// Digests of the configurations in force, one after the other.
    pub configurations: Vec<String>,
    pub orders: u64,
    /// How often somebody was told to act.
    pub people_called: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseDifference {
    pub target: TargetId,
    pub began: Timestamp,
    pub what: Difference,
    /// The limit or setting that made it so, and how it was changed: `max_in_flight 1 → 2`.
    pub because: Option<String>,
    /// From here on production would have answered otherwise, and what follows is conjecture.
    pub conjecture_from: Option<Timestamp>,
    pub then: Option<CaseStory>,
    pub now: Option<CaseStory>,
}

/// The first thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// Repaired now, and not then.
    ActedOnlyNow,
    ActedOnlyThen,
    Earlier {
        by_ms: u64,
    },
    Later {
        by_ms: u64,
    },
    /// Another action in the same place of the ladder.
    OtherAction {
        then: String,
        now: String,
    },
    /// After the same orders as then, one more.
    MoreOrders,
    FewerOrders,
    HandedOverOnlyNow,
    HandedOverOnlyThen,
    ConfirmedOnlyNow,
    ConfirmedOnlyThen,
    ConfirmedEarlier {
        by_ms: u64,
    },
    ConfirmedLater {
        by_ms: u64,
    },
    /// Nothing was done in either, for other reasons: names of limits.
    HeldOtherwise {
        then: Vec<String>,
        now: Vec<String>,
    },
    EndedOtherwise {
        then: String,
        now: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PersonDifference {
    pub at: Timestamp,
    pub by: String,
    pub act: String,
    /// Why it was refused; `None`: it was not.
    pub refused_then: Option<String>,
    pub refused_now: Option<String>,
}

impl Comparison {
    pub(super) fn new(
        past: &Past,
        now: &Stories,
        policy: &Production,
        left_out: Vec<String>,
    ) -> Self {
        let pairs = pairs(&past.stories, now);
        let judge = Judge { past, policy };
        let differences: Vec<CaseDifference> = pairs
            .iter()
            .filter_map(|pair| judge.difference(pair))
            .collect();
        let cases = u64::try_from(pairs.len()).unwrap_or(u64::MAX);
        let differing = u64::try_from(differences.len()).unwrap_or(u64::MAX);
        let mut comparison = Self {
            summary: String::new(),
            cases,
            alike: cases - differing,
            differences,
            people: people(&past.stories, now),
            then: PolicyView {
                configurations: digests(past),
                orders: past.stories.orders,
                people_called: past.stories.called,
            },
            now: PolicyView {
                configurations: vec![policy.digest.clone()],
                orders: now.orders,
                people_called: now.called,
            },
            runs: past.runs.clone(),
            events: past.events,
            observations: past.observations,
            notes: notes(past, policy, left_out),
            torn_at: past.torn_at,
        };
        comparison.summary = sentence::summary(&comparison);
        comparison
    }
}

struct Judge<'a> {
    past: &'a Past,
    policy: &'a Production,
}

impl Judge<'_> {
    fn difference(&self, pair: &Pair<'_>) -> Option<CaseDifference> {
        let (what, conjecture_from) = match (pair.then, pair.now) {
            (Some(then), Some(now)) => compared(then, now)?,
            (Some(then), None) => (Difference::ConfirmedOnlyThen, first_order(then)),
            (None, Some(now)) => (Difference::ConfirmedOnlyNow, first_order(now)),
            (None, None) => return None,
        };
        let story = pair.then.or(pair.now)?;
        Some(CaseDifference {
            target: story.target.clone(),
            began: pair.began(),
            because: self.because(&what, pair),
            what,
            conjecture_from,
            then: pair.then.cloned(),
            now: pair.now.cloned(),
        })
    }

    fn because(&self, what: &Difference, pair: &Pair<'_>) -> Option<String> {
        let side = match what {
            Difference::ActedOnlyNow
            | Difference::Earlier { .. }
            | Difference::MoreOrders
            | Difference::HandedOverOnlyNow => pair.then,
            Difference::ActedOnlyThen
            | Difference::Later { .. }
            | Difference::FewerOrders
            | Difference::HandedOverOnlyThen
            | Difference::HeldOtherwise { .. } => pair.now,
            Difference::OtherAction { .. }
            | Difference::ConfirmedOnlyNow
            | Difference::ConfirmedOnlyThen
            | Difference::ConfirmedEarlier { .. }
            | Difference::ConfirmedLater { .. }
            | Difference::EndedOtherwise { .. } => None,
        };
        let held = side.and_then(|story| self.held(story));
        held.or_else(|| {
            let story = pair.then.or(pair.now)?;
            let then = self.past.production_at(story.began);
            let tests = [pair.then, pair.now].into_iter().flatten();
            let tests = tests.flat_map(|story| &story.tests);
            threshold_change(
                then.map(|then| &**then),
                self.policy,
                story.service.as_ref(),
                tests,
            )
        })
    }

    /// `max_in_flight 1 → 2`, or only the limit's name when its setting is the same.
    fn held(&self, story: &CaseStory) -> Option<String> {
        let (limit, why) = story.why_not()?;
        if limit == "handed_over" {
            return Some(format!("handed over: {why}"));
        }
        let then = self.past.production_at(story.began).map(|then| &**then);
        let change = change(then, self.policy, story.service.as_ref(), limit);
        Some(change.map_or_else(|| limit.to_owned(), |change| format!("{limit} {change}")))
    }
}

fn first_order(story: &CaseStory) -> Option<Timestamp> {
    story.orders.first().map(|act| act.at)
}

/// What differs first, and from when on an order does.
fn compared(then: &CaseStory, now: &CaseStory) -> Option<(Difference, Option<Timestamp>)> {
    let same = then
        .orders
        .iter()
        .zip(&now.orders)
        .take_while(|(then, now)| then.action == now.action && apart(then.at, now.at) < SAME);
    let same = same.count();
    let (next_then, next_now) = (then.orders.get(same), now.orders.get(same));
    let from = [next_then, next_now].into_iter().flatten();
    let from = from.map(|act| act.at).min();
    let what = match (next_then, next_now) {
        (Some(then), Some(now)) if then.action != now.action => Difference::OtherAction {
            then: then.action.clone(),
            now: now.action.clone(),
        },
        (Some(then), Some(now)) => sooner(
            then.at,
            now.at,
            |by_ms| Difference::Earlier { by_ms },
            |by_ms| Difference::Later { by_ms },
        ),
        (Some(_), None) if same == 0 => Difference::ActedOnlyThen,
        (None, Some(_)) if same == 0 => Difference::ActedOnlyNow,
        (Some(_), None) => Difference::FewerOrders,
        (None, Some(_)) => Difference::MoreOrders,
        (None, None) => return Some((without_orders(then, now, same)?, None)),
    };
    Some((what, from))
}

/// The same orders at the same times, or none.
fn without_orders(then: &CaseStory, now: &CaseStory, orders: usize) -> Option<Difference> {
    match (&then.handed_over, &now.handed_over) {
        (Some(_), None) => return Some(Difference::HandedOverOnlyThen),
        (None, Some(_)) => return Some(Difference::HandedOverOnlyNow),
        (Some(_), Some(_)) | (None, None) => {}
    }
    if let (Some(then), Some(now)) = (then.confirmed_at, now.confirmed_at)
        && apart(then, now) >= SAME
    {
        return Some(sooner(
            then,
            now,
            |by_ms| Difference::ConfirmedEarlier { by_ms },
            |by_ms| Difference::ConfirmedLater { by_ms },
        ));
    }
    let [limits_then, limits_now] = [then, now].map(limits);
    if orders == 0 && limits_then != limits_now {
        return Some(Difference::HeldOtherwise {
            then: limits_then,
            now: limits_now,
        });
    }
    if then.ending != now.ending {
        let word = |story: &CaseStory| story.ending.clone().unwrap_or_else(|| "open".to_owned());
        return Some(Difference::EndedOtherwise {
            then: word(then),
            now: word(now),
        });
    }
    None
}

/// Names of the limits that held it back, each once.
fn limits(story: &CaseStory) -> Vec<String> {
    let mut names: Vec<String> = story.held.iter().map(|held| held.limit.clone()).collect();
    names.sort();
    names.dedup();
    names
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

fn sooner(
    then: Timestamp,
    now: Timestamp,
    earlier: impl FnOnce(u64) -> Difference,
    later: impl FnOnce(u64) -> Difference,
) -> Difference {
    let by_ms = u64::try_from(apart(then, now).as_millis()).unwrap_or(u64::MAX);
    if now < then {
        earlier(by_ms)
    } else {
        later(by_ms)
    }
}

/// By the moment and the person: numbers in what was asked may differ.
fn people(then: &Stories, now: &Stories) -> Vec<PersonDifference> {
    let mut differences = Vec::new();
    let mut left = now.people.iter().peekable();
    for asked in &then.people {
        while left.next_if(|other| other.at < asked.at).is_some() {}
        let Some(other) = left.next_if(|other| other.at == asked.at && other.by == asked.by) else {
            continue;
        };
        if asked.refused.is_some() != other.refused.is_some() {
            differences.push(PersonDifference {
                at: asked.at,
                by: asked.by.clone(),
                act: asked.act.clone(),
                refused_then: asked.refused.clone(),
                refused_now: other.refused.clone(),
            });
        }
    }
    differences
}

fn digests(past: &Past) -> Vec<String> {
    let digests = past.productions.iter();
    let mut digests: Vec<String> = digests.map(|(_, one)| one.digest.clone()).collect();
    digests.dedup();
    digests
}

/// What whoever believes the rest should know.
fn notes(past: &Past, policy: &Production, left_out: Vec<String>) -> Vec<String> {
    let mut notes = vec![
        "what was observed is as it was: what another order would have changed is not known, and cases are conjecture from their first order that differs".to_owned(),
    ];
    let services = past.services();
    for service in &policy.services {
        let Some(then) = services.get(&service.name) else {
            notes.push(format!(
                "service {} was not in force then: nothing is known of tests that only it has",
                service.name
            ));
            continue;
        };
        for test in &service.tests {
            if !past.asked.contains(&test.name) {
                notes.push(format!(
                    "test {} of {} was never answered then: it counts as unknown",
                    test.name, service.name
                ));
            } else if let Some(before) = then.test(&test.name)
                && before.interval != test.interval
            {
                notes.push(format!(
                    "test {} of {} was asked every {} then, not every {}",
                    test.name,
                    service.name,
                    pitcrew_model::format_duration(before.interval),
                    pitcrew_model::format_duration(test.interval)
                ));
            }
        }
    }
    for run in &past.runs {
        match &run.end {
            RunEnd::Gap { why } => notes.push(format!(
                "recording broke off at {}: {why}; what came after is not known",
                run.to
            )),
            RunEnd::Stopped | RunEnd::CutOff => {}
        }
        if run.times_back > 0 {
            notes.push(format!(
                "in the run of {} time went back {} times, which a server's clock never does",
                run.from, run.times_back
            ));
        }
    }
    notes.extend(left_out);
    notes
}
