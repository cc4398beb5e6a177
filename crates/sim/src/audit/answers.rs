//! What was answered, and what that proves.
//!
//! Only raw answers are kept, one for each test and observer. An answer that only shows what an order is doing to
//! its target, one asked before an outcome, and one delivered twice prove nothing and feed no streak.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{Observation, Proves, Test, TestKind, Timestamp, Verdict};

use super::roster::{Entry, Roster};

/// Whose answers count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Witnesses {
    All,
    /// Without the observers that fail their own control test.
    Trusted,
}

#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) test: u16,
    pub(super) observer: u16,
    /// Never `Unknown`, which only lets the last real answer grow old.
    pub(super) verdict: Verdict,
    pub(super) fails: u16,
    pub(super) passes: u16,
    pub(super) asked_at: Timestamp,
    pub(super) answered_at: Timestamp,
}

impl Roster {
    fn is_trusted(&self, answer: &Answer) -> bool {
        !self.suspect[usize::from(answer.observer)]
    }

    /// `vouched_for`: when its observer last said that nothing changed, if that is to count.
    fn is_fresh(
        &self,
        now: Timestamp,
        answer: &Answer,
        test: &Test,
        vouched_for: Timestamp,
    ) -> bool {
        let known_at = match answer.verdict {
            Verdict::Pass | Verdict::Warn => answer.answered_at.max(vouched_for),
            Verdict::Fail | Verdict::Unknown => answer.answered_at,
        };
        known_at > self.trust_after && now.since(known_at) <= counts_for(test)
    }

    /// What is vouched for may have been asked an interval earlier, so it may be stale already.
    fn is_surely_fresh(&self, now: Timestamp, answer: &Answer, test: &Test) -> bool {
        let unchanged_at = self.unchanged_at[usize::from(answer.observer)];
        self.is_fresh(now, answer, test, unchanged_at - test.interval)
    }

    /// Answers to a target's test that may be fresh.
    fn fresh<'a>(
        &'a self,
        now: Timestamp,
        entry: &'a Entry,
        position: usize,
        test: &'a Test,
        by: Witnesses,
    ) -> impl Iterator<Item = &'a Answer> {
        entry.answers.iter().filter(move |answer| {
            usize::from(answer.test) == position
                && (by == Witnesses::All || self.is_trusted(answer))
                && self.is_fresh(
                    now,
                    answer,
                    test,
                    self.unchanged_at[usize::from(answer.observer)],
                )
        })
    }

    fn tests<'a>(&'a self, entry: &Entry) -> impl Iterator<Item = (usize, &'a Arc<Test>)> {
        let service = entry.service.map(|service| &self.services[service]);
        service
            .into_iter()
            .flat_map(|service| service.tests.iter().enumerate())
    }

    /// A majority of the witnesses who surely answered lately has seen a whole streak of failures of one test, all of it
    /// after whatever was done to the target. `proves`: only of tests that prove so much.
    pub(super) fn is_failing(
        &self,
        now: Timestamp,
        entry: &Entry,
        proves: Option<Proves>,
        by: Witnesses,
    ) -> bool {
        let counts = |test: &Test| proves.is_none_or(|wanted| wanted == test.proves);
        self.tests(entry)
            .filter(|(_, test)| counts(test))
            .any(|(position, test)| {
                let (mut all, mut failing) = (0, 0);
                for answer in self.fresh(now, entry, position, test, by) {
                    // What was asked before something was done to it says nothing of now, either way.
                    let is_of_now = answer.asked_at >= entry.landed_at;
                    all += usize::from(is_of_now && self.is_surely_fresh(now, answer, test));
                    failing += usize::from(answer.fails >= u16::from(test.failure_threshold));
                }
                failing * 2 > all
            })
    }

    /// All tests answered lately, and nobody saw one fail.
    pub(super) fn is_passing(&self, now: Timestamp, entry: &Entry) -> bool {
        entry.service.is_some()
            && self.tests(entry).all(|(position, test)| {
                let mut of_test = entry
                    .answers
                    .iter()
                    .filter(|answer| usize::from(answer.test) == position);
                // A job that has never pushed a result is no part of the target yet.
                if test.kind == TestKind::Push && of_test.next().is_none() {
                    return true;
                }
                let mut fresh = self
                    .fresh(now, entry, position, test, Witnesses::Trusted)
                    .peekable();
                fresh.peek().is_some() && fresh.all(|answer| answer.verdict != Verdict::Fail)
            })
    }

    /// A test that proves the target up and that nobody has seen pass since the last order landed.
    pub(super) fn not_seen_passing(&self, entry: &Entry) -> Option<&Arc<Test>> {
        self.tests(entry).find_map(|(position, test)| {
            let proves_up = test.proves == Proves::Down && test.kind != TestKind::Push;
            let seen = entry.answers.iter().any(|answer| {
                let since = self.unchanged_at[usize::from(answer.observer)];
                usize::from(answer.test) == position
                    && answer.verdict != Verdict::Fail
                    && (answer.asked_at >= entry.landed_at
                        || since >= entry.landed_at + test.interval)
            });
            (proves_up && !seen).then_some(test)
        })
    }
}

/// How long an answer says something about now: two rounds and the wait for the second.
fn counts_for(test: &Test) -> Duration {
    test.interval * 2 + test.timeout
}

impl Entry {
    pub(super) fn take(
        &mut self,
        seen: &Observation,
        test: u16,
        observer: u16,
        trust_after: Timestamp,
        proves: bool,
    ) {
        let known = self
            .answers
            .iter()
            .position(|have| (have.test, have.observer) == (test, observer));
        let at = known.unwrap_or_else(|| {
            self.answers.push(Answer {
                test,
                observer,
                verdict: seen.verdict,
                fails: 0,
                passes: 0,
                asked_at: Timestamp::ZERO,
                answered_at: Timestamp::ZERO,
            });
            self.answers.len() - 1
        });
        let answer = &mut self.answers[at];
        let delivered_again =
            (seen.asked_at, seen.answered_at) == (answer.asked_at, answer.answered_at);
        if delivered_again || seen.asked_at < answer.asked_at.max(trust_after) {
            return;
        }
        if answer.asked_at < trust_after {
            (answer.fails, answer.passes) = (0, 0);
        }
        (answer.asked_at, answer.answered_at) = (seen.asked_at, seen.answered_at);
        answer.verdict = seen.verdict;
        match seen.verdict {
            Verdict::Fail => {
                answer.passes = 0;
                answer.fails = answer.fails.saturating_add(u16::from(proves));
            }
            Verdict::Pass | Verdict::Warn => {
                answer.fails = 0;
                answer.passes = answer.passes.saturating_add(1);
            }
            Verdict::Unknown => {}
        }
    }
}
