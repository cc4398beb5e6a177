//! One test of one target, as each observer sees it: streaks, opinion, flapping.
//!
//! The intuition: an observer changes its opinion only after a streak (HAProxy's rise and fall). `Unknown`
//! neither feeds nor breaks a streak; it only lets the last real answer grow old.

use std::time::Duration;

use pitcrew_model::{Evidence, Observation, Test, Timestamp, Verdict};

use crate::guards::{Guard, holds};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Opinion {
    #[default]
    None,
    Passing,
    Failing,
}

/// What one observer makes of one test.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Position among the service's tests.
    pub(crate) test: u16,
    /// Index into the engine's observers.
    pub(crate) observer: u16,
    pub(crate) verdict: Verdict,
    pub(crate) opinion: Opinion,
    pub(crate) fails: u16,
    pub(crate) passes: u16,
    /// An answer to the extra round has come in.
    pub(crate) rechecked: bool,
    /// Newest last; a set bit is a failed round.
    history: u32,
    rounds: u8,
    flapping: bool,
    pub(crate) asked_at: Timestamp,
    /// How long the last answer took: what tells a message that came twice from two questions within a millisecond.
    took_us: u32,
    /// Of the last pass or fail.
    pub(crate) known_at: Timestamp,
    pub(crate) failing_since: Timestamp,
    /// Absent while it passes; boxed because it nearly always does.
    evidence: Option<Box<Evidence>>,
}

/// Rounds that flapping looks back on, as Icinga does.
const FLAPPING_ROUNDS: u32 = 20;
/// Percent of changes above which flapping begins and below which it ends (Icinga's thresholds).
const FLAPPING_ON: u32 = 30;
const FLAPPING_OFF: u32 = 25;

impl View {
    pub(crate) fn new(test: u16, observer: u16) -> Self {
        Self {
            test,
            observer,
            verdict: Verdict::Unknown,
            opinion: Opinion::None,
            fails: 0,
            passes: 0,
            rechecked: false,
            history: 0,
            rounds: 0,
            flapping: false,
            asked_at: Timestamp::ZERO,
            took_us: 0,
            known_at: Timestamp::ZERO,
            failing_since: Timestamp::ZERO,
            evidence: None,
        }
    }

    /// Takes one answer in. One that was asked before the last one is late, and one that came twice is no round of
    /// its own: both are ignored.
    pub(crate) fn observe(&mut self, test: &Test, seen: &Observation, trust_after: Timestamp) {
        let took_us = u32::try_from(seen.took.as_micros()).unwrap_or(u32::MAX);
        let again =
            (seen.asked_at, took_us, seen.verdict) == (self.asked_at, self.took_us, self.verdict);
        let is_late = seen.asked_at < self.asked_at && holds(Guard::LateAnswer);
        if is_late || again && holds(Guard::AnswerOnce) {
            return;
        }
        if self.asked_at < trust_after && holds(Guard::StreakAfterPause) {
            // What was seen before a pause says nothing about now; the opinion stays until it is renewed.
            (self.fails, self.passes) = (0, 0);
        }
        (self.asked_at, self.took_us) = (seen.asked_at, took_us);
        self.verdict = seen.verdict;
        match seen.verdict {
            Verdict::Pass | Verdict::Warn => {
                self.fails = 0;
                self.passes = self.passes.saturating_add(1);
                if self.opinion != Opinion::Failing || self.passes_enough(test) {
                    self.opinion = Opinion::Passing;
                }
            }
            Verdict::Fail => {
                if self.fails == 0 && self.opinion != Opinion::Failing {
                    self.failing_since = seen.asked_at;
                }
                self.passes = 0;
                self.fails = self.fails.saturating_add(1);
                if self.is_believed(test) {
                    self.opinion = Opinion::Failing;
                }
            }
            Verdict::Unknown => {
                self.evidence = Some(Box::new(seen.evidence.clone()));
                return;
            }
        }
        self.known_at = seen.answered_at;
        self.rechecked = true;
        self.evidence = (seen.verdict != Verdict::Pass).then(|| Box::new(seen.evidence.clone()));
        self.remember_round(seen.verdict == Verdict::Fail);
    }

    fn remember_round(&mut self, failed: bool) {
        self.history = self.history << 1 | u32::from(failed);
        self.rounds = self.rounds.saturating_add(1);
        let percent = self.flapping_percent();
        self.flapping = if self.flapping {
            percent >= FLAPPING_OFF
        } else {
            percent > FLAPPING_ON
        };
    }

    /// Changes among the last rounds; what a repair changed is forgotten by [`View::forget`].
    pub(crate) fn flapping_percent(&self) -> u32 {
        let looked_at = u32::from(self.rounds).min(FLAPPING_ROUNDS);
        if looked_at < 2 {
            return 0;
        }
        let pairs = (1u32 << (looked_at - 1)) - 1;
        ((self.history ^ self.history >> 1) & pairs).count_ones() * 100 / FLAPPING_ROUNDS
    }

    pub(crate) fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_deref()
    }

    pub(crate) fn is_flapping(&self) -> bool {
        self.flapping
    }

    /// Starts the streaks anew: an order has changed what is observed by `landed_at`, and the next one needs proof of
    /// its own. Answers to earlier questions are still under way and are late.
    pub(crate) fn forget(&mut self, landed_at: Timestamp) {
        if !holds(Guard::ProofAfterOrder) {
            return;
        }
        (self.fails, self.passes) = (0, 0);
        (self.history, self.rounds, self.flapping) = (0, 0, false);
        self.rechecked = false;
        self.asked_at = self.asked_at.max(landed_at);
    }

    /// A streak of failures that no pass has broken: the proof that an order needs.
    pub(crate) fn is_believed(&self, test: &Test) -> bool {
        match holds(Guard::FailureThreshold) {
            true => self.fails >= u16::from(test.failure_threshold),
            false => self.fails > 0,
        }
    }

    pub(crate) fn passes_enough(&self, test: &Test) -> bool {
        match holds(Guard::SuccessThreshold) {
            true => self.passes >= u16::from(test.success_threshold),
            false => self.passes > 0,
        }
    }

    /// Failing or passing again, but not for long enough. Rounds that failed before a pause, and never for long
    /// enough to be believed, count no more: what passes is not reported again and again to outlive them.
    pub(crate) fn is_unsettled(&self, test: &Test, trust_after: Timestamp) -> bool {
        self.fails > 0
            || self.opinion == Opinion::Failing
            || !self.passes_enough(test) && self.failing_since > trust_after
    }

    /// Whether its last report still stands where its observer says that nothing changed: a failure or no
    /// answer is reported each time, so only a pass does.
    pub(crate) fn is_steady(&self) -> bool {
        matches!(self.verdict, Verdict::Pass | Verdict::Warn)
    }

    /// When it was last known to be so; `unchanged_at`: when its observer last said that nothing changed.
    pub(crate) fn known_at_latest(&self, test: &Test, unchanged_at: Timestamp) -> Timestamp {
        self.extended(self.known_at, test, unchanged_at)
    }

    /// When it was last asked, its observer's word that nothing changed included. The streaks know nothing of
    /// that word, and neither does lateness: a report is late only beside another report, or a failure that was
    /// on its way meanwhile would be lost.
    pub(crate) fn asked_at_latest(&self, test: &Test, unchanged_at: Timestamp) -> Timestamp {
        self.extended(self.asked_at, test, unchanged_at)
    }

    fn extended(&self, own: Timestamp, test: &Test, unchanged_at: Timestamp) -> Timestamp {
        if self.is_steady() || !holds(Guard::VouchesForPasses) {
            own.max(match holds(Guard::VouchesAnInterval) {
                true => unchanged_at - test.interval,
                false => unchanged_at,
            })
        } else {
            own
        }
    }

    /// Whether it lately reported that it can't tell.
    pub(crate) fn can_not_tell(&self, test: &Test, now: Timestamp, trust_after: Timestamp) -> bool {
        self.verdict == Verdict::Unknown
            && self.asked_at > trust_after
            && now.since(self.asked_at) <= freshness(test)
    }

    /// Whether it reported lately: within two intervals and a timeout.
    pub(crate) fn is_fresh(
        &self,
        test: &Test,
        now: Timestamp,
        trust_after: Timestamp,
        unchanged_at: Timestamp,
    ) -> bool {
        let known_at = self.known_at_latest(test, unchanged_at);
        (known_at > trust_after || !holds(Guard::FreshAfterPause))
            && (now.since(known_at) <= freshness(test) || !holds(Guard::Freshness))
    }
}

/// How long an answer counts: the quorum is of observers that reported within two intervals.
pub(crate) fn freshness(test: &Test) -> Duration {
    test.interval * 2 + test.timeout
}

#[cfg(test)]
mod tests {
    use pitcrew_model::{Place, Proves, TestKind};

    use super::*;

    fn test() -> Test {
        Test {
            name: "answers".parse().unwrap(),
            kind: TestKind::Process,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            failure_threshold: 3,
            success_threshold: 2,
            proves: Proves::Down,
            place: Place::Server,
        }
    }

    /// `.` passes, `x` fails, `?` is unknown; one round every 5 s.
    fn after(rounds: &str) -> View {
        let mut view = View::new(0, 0);
        for (round, answer) in rounds.chars().enumerate() {
            let at = Timestamp::from_millis(1_000 + 5_000 * round as u64);
            let verdict = match answer {
                '.' => Verdict::Pass,
                'x' => Verdict::Fail,
                _ => Verdict::Unknown,
            };
            let seen = Observation {
                target: "web-1".parse().unwrap(),
                test: "answers".parse().unwrap(),
                observer: "local".parse().unwrap(),
                asked_at: at,
                answered_at: at,
                took: Duration::ZERO,
                verdict,
                evidence: Evidence::new(""),
            };
            view.observe(&test(), &seen, Timestamp::ZERO);
        }
        view
    }

    #[test]
    fn an_opinion_changes_only_after_a_streak() {
        for (rounds, opinion) in [
            ("", Opinion::None),
            (".", Opinion::Passing),
            ("..xx", Opinion::Passing),
            ("..xxx", Opinion::Failing),
            ("xxx", Opinion::Failing),
            ("xxx.", Opinion::Failing),
            ("xxx..", Opinion::Passing),
            ("xxx.x..", Opinion::Passing),
            ("xx.xx.xx", Opinion::Passing),
        ] {
            assert_eq!(after(rounds).opinion, opinion, "{rounds}");
        }
    }

    #[test]
    fn unknown_neither_feeds_nor_breaks_a_streak() {
        assert_eq!(after("xx??").opinion, Opinion::None);
        assert_eq!(after("xx??x").opinion, Opinion::Failing);
        assert_eq!(after("xxx.?.").opinion, Opinion::Passing);
    }

    #[test]
    fn only_known_answers_are_fresh() {
        let view = after("..?????");
        let at = |seconds: u64| Timestamp::from_millis(1_000 + seconds * 1_000);
        let never = Timestamp::ZERO;
        assert!(view.is_fresh(&test(), at(17), never, never));
        assert!(!view.is_fresh(&test(), at(18), never, never));
        assert!(
            !view.is_fresh(&test(), at(6), at(6), never),
            "nothing seen before a pause is fresh after it"
        );
    }

    #[test]
    fn what_is_unchanged_extends_a_pass_and_nothing_else() {
        let at = |seconds: u64| Timestamp::from_millis(1_000 + seconds * 1_000);
        for (rounds, fresh) in [("..", true), ("xxx", false), ("..?", false), (".x", false)] {
            let view = after(rounds);
            assert_eq!(
                view.is_fresh(&test(), at(1_000), Timestamp::ZERO, at(995)),
                fresh,
                "{rounds}"
            );
        }
        let view = after("..");
        assert!(view.is_fresh(&test(), at(1_000), at(989), at(995)));
        assert!(
            !view.is_fresh(&test(), at(1_000), at(990), at(995)),
            "it may have been asked before the pause"
        );
    }

    #[test]
    fn one_pass_after_a_pause_is_not_held_against_what_failed_before_it() {
        let mut view = after("..x..");
        let paused = Timestamp::from_millis(60_000);
        let seen = Observation {
            target: "web-1".parse().unwrap(),
            test: "answers".parse().unwrap(),
            observer: "local".parse().unwrap(),
            asked_at: Timestamp::from_millis(61_000),
            answered_at: Timestamp::from_millis(61_000),
            took: Duration::ZERO,
            verdict: Verdict::Pass,
            evidence: Evidence::new(""),
        };
        view.observe(&test(), &seen, paused);
        assert_eq!(view.passes, 1);
        assert!(!view.is_unsettled(&test(), paused));
        assert!(after("..x.").is_unsettled(&test(), Timestamp::ZERO));
        assert!(!after("..x..").is_unsettled(&test(), Timestamp::ZERO));
        assert!(
            after("xxx.").is_unsettled(&test(), paused),
            "it was believed"
        );
    }

    #[test]
    fn flapping_begins_above_30_and_ends_below_25_percent() {
        assert!(!after("..............xxx...").is_flapping());
        assert!(after("....x.x.x.x").is_flapping());
        assert_eq!(after("....x.x.x.x").flapping_percent(), 35);
        assert!(after("....x.x.x.x.........").is_flapping());
        assert!(!after("....x.x.x.x.................").is_flapping());
    }

    #[test]
    fn an_answer_that_comes_twice_is_one_round() {
        let mut view = after("..x");
        let asked_at = Timestamp::from_millis(11_000);
        assert_eq!(view.asked_at, asked_at);
        let again = Observation {
            target: "web-1".parse().unwrap(),
            test: "answers".parse().unwrap(),
            observer: "local".parse().unwrap(),
            asked_at,
            answered_at: asked_at,
            took: Duration::ZERO,
            verdict: Verdict::Fail,
            evidence: Evidence::new(""),
        };
        view.observe(&test(), &again, Timestamp::ZERO);
        view.observe(&test(), &again, Timestamp::ZERO);
        assert_eq!(view.fails, 1, "not believed by being repeated");
    }

    fn late() -> Observation {
        Observation {
            target: "web-1".parse().unwrap(),
            test: "answers".parse().unwrap(),
            observer: "local".parse().unwrap(),
            asked_at: Timestamp::from_millis(500),
            answered_at: Timestamp::from_millis(9_000),
            took: Duration::ZERO,
            verdict: Verdict::Fail,
            evidence: Evidence::new("late"),
        }
    }

    #[test]
    fn a_late_answer_changes_nothing() {
        let mut view = after("..");
        view.observe(&test(), &late(), Timestamp::ZERO);
        assert_eq!((view.fails, view.passes), (0, 2));
    }

    #[test]
    fn what_was_asked_before_an_order_landed_is_no_proof_for_the_next() {
        let mut view = after("");
        view.forget(Timestamp::from_millis(501));
        view.observe(&test(), &late(), Timestamp::ZERO);
        assert_eq!(view.fails, 0);
    }
}
