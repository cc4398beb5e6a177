//! The interlock's own books: raw answers, orders in flight, who is where. Nothing is damped here; the last
//! answer counts, so its view of capacity is the more careful one.

use std::{collections::BTreeSet, sync::Arc};

use pitcrew_model::{
    Action, Authority, Observation, ObserverName, Order, Outcome, OutcomeKind, Proves, Service,
    Target, TargetId, Test, TestKind, Timestamp, Verdict,
};

use crate::{
    Interlock,
    guards::{Guard, holds},
};

/// Orders expire within a minute; so many are not given in one.
const OPERATIONS_KEPT: usize = 10_000;

/// The last answer of one observer to one test.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    test: u16,
    observer: u16,
    pub(crate) verdict: Verdict,
    pub(crate) fails_in_row: u16,
    asked_at: Timestamp,
    answered_at: Timestamp,
    /// The last question had no answer; `verdict` is of the last one that had.
    unanswered: bool,
}

impl Answer {
    /// `own`, or later where its observer vouches for it: at `unchanged_at` it had asked again within the test's
    /// interval and heard the same. Nobody vouches for a failure or for no answer.
    fn vouched(&self, own: Timestamp, test: &Test, unchanged_at: Timestamp) -> Timestamp {
        let earliest = match holds(Guard::VouchesAnInterval) {
            true => unchanged_at - test.interval,
            false => unchanged_at,
        };
        match self.verdict {
            Verdict::Pass | Verdict::Warn if !self.unanswered => own.max(earliest),
            _ if !holds(Guard::VouchesForPasses) => own.max(earliest),
            Verdict::Pass | Verdict::Warn | Verdict::Fail | Verdict::Unknown => own,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) target: Arc<Target>,
    pub(crate) service: Option<usize>,
    pub(crate) answers: Vec<Answer>,
    /// Since when some test's last answer is a failure.
    failing_since: Option<Timestamp>,
}

#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) order: Order,
    landed_at: Option<Timestamp>,
}

impl Flight {
    pub(crate) fn new(order: &Order, landed_at: Option<Timestamp>) -> Self {
        Self {
            order: order.clone(),
            landed_at,
        }
    }
}

impl Interlock {
    fn service_of(&self, target: &Target) -> Option<usize> {
        self.services
            .iter()
            .position(|service| service.select.selects(&target.labels))
    }

    pub(crate) fn put(&mut self, target: &Arc<Target>) {
        let service = self.service_of(target);
        if let Some(entry) = self.entries.get_mut(&target.id)
            && entry.service == service
            && entry.target.run_on == target.run_on
        {
            entry.target = target.clone();
            return;
        }
        self.remove(&target.id);
        if let Some(service) = service {
            self.members[service].insert(target.id.clone());
        }
        if let Some(host) = &target.run_on {
            let children = self.children.entry(host.clone()).or_default();
            children.insert(target.id.clone());
        }
        let entry = Entry {
            target: target.clone(),
            service,
            answers: Vec::new(),
            failing_since: None,
        };
        self.entries.insert(target.id.clone(), entry);
    }

    pub(crate) fn remove(&mut self, id: &TargetId) {
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        if let Some(service) = entry.service {
            self.members[service].remove(id);
            if let Some(since) = entry.failing_since {
                self.failing[service].remove(&(since, id.clone()));
            }
        }
        if let Some(host) = &entry.target.run_on
            && let Some(children) = self.children.get_mut(host)
        {
            children.remove(id);
            if children.is_empty() {
                self.children.remove(host);
            }
        }
    }

    /// A new configuration. Answers to a test that is the same as before still count.
    pub(crate) fn reassign(&mut self, before: &[Arc<Service>]) {
        self.failing = vec![BTreeSet::new(); self.services.len()];
        self.members = vec![BTreeSet::new(); self.services.len()];
        for (id, entry) in &mut self.entries {
            let old = entry.service.map(|at| &before[at]);
            entry.service = self
                .services
                .iter()
                .position(|service| service.select.selects(&entry.target.labels));
            let new = entry.service.map(|at| &self.services[at]);
            if let Some(service) = entry.service {
                self.members[service].insert(id.clone());
            }
            entry.answers.retain_mut(|answer| {
                let kept = old
                    .zip(new)
                    .filter(|(old, new)| old.name == new.name)
                    .and_then(|(old, new)| {
                        let test = &old.tests[usize::from(answer.test)];
                        let any = !holds(Guard::AnswersOfOldTest);
                        let mut tests = new.tests.iter();
                        tests.position(|is| is == test || any && is.name == test.name)
                    });
                answer.test = kept.map_or(answer.test, narrow);
                kept.is_some()
            });
            if !entry
                .answers
                .iter()
                .any(|answer| answer.verdict == Verdict::Fail)
            {
                entry.failing_since = None;
            }
            if let (Some(service), Some(since)) = (entry.service, entry.failing_since) {
                self.failing[service].insert((since, id.clone()));
            }
        }
    }

    pub(crate) fn note_observation(&mut self, now: Timestamp, seen: &Observation) {
        let observer = self
            .observers
            .iter()
            .position(|name| *name == seen.observer)
            .unwrap_or_else(|| {
                self.observers.push(seen.observer.clone());
                self.unchanged.push(Timestamp::ZERO);
                self.observers.len() - 1
            });
        let Some(entry) = self.entries.get_mut(&seen.target) else {
            return;
        };
        let Some(service) = entry.service else { return };
        let Some(test) = self.services[service]
            .tests
            .iter()
            .position(|test| test.name == seen.test)
        else {
            return;
        };
        let (test, observer) = (narrow(test), narrow(observer));
        let at = entry
            .answers
            .iter()
            .position(|have| have.test == test && have.observer == observer);
        let answer = match at {
            Some(at) => &mut entry.answers[at],
            None => {
                entry.answers.push(Answer {
                    test,
                    observer,
                    verdict: Verdict::Unknown,
                    fails_in_row: 0,
                    asked_at: Timestamp::ZERO,
                    answered_at: Timestamp::ZERO,
                    unanswered: true,
                });
                entry.answers.last_mut().expect("just pushed")
            }
        };
        if seen.asked_at < answer.asked_at && holds(Guard::LateAnswer) {
            return;
        }
        answer.asked_at = seen.asked_at;
        answer.unanswered = seen.verdict == Verdict::Unknown;
        match seen.verdict {
            // No answer proves nothing; what was known before grows old by itself.
            Verdict::Unknown => return,
            Verdict::Fail => answer.fails_in_row = answer.fails_in_row.saturating_add(1),
            Verdict::Pass | Verdict::Warn => answer.fails_in_row = 0,
        }
        (answer.verdict, answer.answered_at) = (
            seen.verdict,
            seen.answered_at.max(Timestamp::from_millis(1)),
        );
        let fails = entry
            .answers
            .iter()
            .any(|answer| answer.verdict == Verdict::Fail);
        match (fails, entry.failing_since) {
            (true, None) => {
                entry.failing_since = Some(now);
                self.failing[service].insert((now, seen.target.clone()));
            }
            (false, Some(since)) => {
                entry.failing_since = None;
                self.failing[service].remove(&(since, seen.target.clone()));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// One time for all that the observer last reported as passing. It vouches for nothing that is still to come,
    /// and whoever never reported vouches for nothing at all.
    pub(crate) fn note_unchanged(
        &mut self,
        now: Timestamp,
        observer: &ObserverName,
        at: Timestamp,
    ) {
        let mut known = self.observers.iter().zip(&mut self.unchanged);
        if let Some((_, latest)) = known.find(|(name, _)| *name == observer) {
            let at = match holds(Guard::VouchesForNoFuture) {
                true => at.min(now),
                false => at,
            };
            *latest = at.max(*latest);
        }
    }

    fn unchanged_at(&self, answer: &Answer) -> Timestamp {
        let at = self.unchanged.get(usize::from(answer.observer));
        at.copied().unwrap_or_default()
    }

    pub(crate) fn note_outcome(&mut self, now: Timestamp, outcome: &Outcome) {
        match outcome.kind {
            OutcomeKind::Failed => {
                self.in_flight.remove(&outcome.order);
            }
            OutcomeKind::Done | OutcomeKind::Unknown => {
                let Some(flight) = self.in_flight.get_mut(&outcome.order) else {
                    return;
                };
                flight.landed_at.get_or_insert(now);
                // The next order needs proof from after this one.
                if let Some(entry) = self.entries.get_mut(&flight.order.target.id)
                    && holds(Guard::ProofAfterOrder)
                {
                    for answer in &mut entry.answers {
                        answer.fails_in_row = 0;
                    }
                }
            }
        }
    }

    /// An order stops counting when its target has passed every test that proves it up, asked after it landed,
    /// or when its time to settle is over.
    pub(crate) fn forget_what_landed(&mut self, now: Timestamp) {
        let ended: Vec<_> = self
            .in_flight
            .iter()
            .filter(|(_, flight)| {
                // An outcome that never came counts as "may have taken effect" once it is overdue.
                let overdue_at = flight.order.given_at + Order::OUTCOME_OVERDUE;
                let landed_at = flight
                    .landed_at
                    .or_else(|| (now >= overdue_at).then_some(overdue_at));
                landed_at.is_some_and(|landed_at| {
                    now >= landed_at + flight.order.settle
                        || !holds(Guard::FlightUntilSettled)
                        || self.is_up_since(&flight.order.target.id, landed_at)
                })
            })
            .map(|(id, flight)| (*id, flight.order.target.id.clone()))
            .collect();
        for (id, target) in ended {
            self.in_flight.remove(&id);
            let probation = self.entries.get(&target).and_then(|entry| entry.service);
            let probation = probation.map(|at| self.services[at].limits.probation);
            self.proving.retain(|_, until| now < *until);
            if holds(Guard::ProbationBegins) {
                let until = now + probation.unwrap_or_default();
                self.proving.insert(target, until);
            }
        }
    }

    fn is_up_since(&self, target: &TargetId, since: Timestamp) -> bool {
        let Some(entry) = self.entries.get(target) else {
            return true;
        };
        let mut proving = self
            .tests_of(entry)
            .filter(|(_, test)| test.proves == Proves::Down)
            .peekable();
        proving.peek().is_some()
            && proving.all(|(position, test)| {
                let mut answers = entry
                    .answers
                    .iter()
                    .filter(|answer| usize::from(answer.test) == position)
                    .peekable();
                answers.peek().is_some()
                    && answers.all(|answer| {
                        let unchanged_at = self.unchanged_at(answer);
                        let asked_at = answer.vouched(answer.asked_at, test, unchanged_at);
                        (asked_at >= since || !holds(Guard::UpAfterLanding))
                            && !answer.unanswered
                            && matches!(answer.verdict, Verdict::Pass | Verdict::Warn)
                    })
            })
    }

    pub(crate) fn take_off(&mut self, now: Timestamp, order: &Order) {
        let id = &order.target.id;
        self.operations.push_back(order.operation.clone());
        if self.operations.len() > OPERATIONS_KEPT {
            self.operations.pop_front();
        }
        self.in_flight.insert(order.id, Flight::new(order, None));
        if order.action.is_disruptive() {
            self.count_disruption(now, order);
        }
        if matches!(order.authority, Authority::Person { .. }) {
            match order.action {
                Action::Stop if !holds(Guard::StopStands) => {}
                Action::Stop => {
                    self.held
                        .insert(id.clone(), (Timestamp::from_millis(u64::MAX), true));
                }
                Action::Start | Action::Restart => {
                    if self.held.get(id).is_some_and(|(_, stopped)| *stopped) {
                        self.held.remove(id);
                    }
                }
                Action::Command { .. } | Action::Webhook { .. } | Action::HandOver { .. } => {}
            }
        }
    }

    fn count_disruption(&mut self, now: Timestamp, order: &Order) {
        let fleet = self.fleet_limits.fleet_rate;
        let own = self.services.iter();
        let own = own.filter(|service| order.service.as_ref() == Some(&service.name));
        let rate = own.map(|service| (order.service.clone(), service.limits.rate));
        for (of, rate) in rate.chain([(None, fleet)]) {
            let given = self.given.entry(of).or_default();
            given.retain(|at| now.since(*at) < rate.per);
            given.push_back(now);
        }
        let since_release = self.given[&None]
            .iter()
            .filter(|at| **at > self.brake_released_at)
            .count();
        self.brake_on |= since_release >= usize::try_from(fleet.count).unwrap_or(usize::MAX);
    }

    /// The ledger could not take its intent. Its rate stays spent: that only makes the next one wait.
    pub(crate) fn never_left(&mut self, order: &Order) {
        if holds(Guard::NotGivenIsNoRepeat) {
            self.operations.retain(|given| *given != order.operation);
        }
        let by_person = matches!(order.authority, Authority::Person { .. });
        if by_person && order.action == Action::Stop && holds(Guard::NotGivenIsNoStop) {
            self.held.remove(&order.target.id);
        }
    }

    pub(crate) fn tests_of<'a>(
        &'a self,
        entry: &Entry,
    ) -> impl Iterator<Item = (usize, &'a Arc<Test>)> {
        entry
            .service
            .into_iter()
            .flat_map(|service| self.services[service].tests.iter().enumerate())
    }

    /// Fresh answers of trusted observers to one test.
    fn fresh<'a>(
        &'a self,
        now: Timestamp,
        entry: &'a Entry,
        position: usize,
        test: &'a Test,
    ) -> impl Iterator<Item = &'a Answer> {
        let counts_for = test.interval * 2 + test.timeout;
        entry.answers.iter().filter(move |answer| {
            let answered_at = answer.vouched(answer.answered_at, test, self.unchanged_at(answer));
            usize::from(answer.test) == position
                && answered_at > self.trust_after
                && (now.since(answered_at) <= counts_for || !holds(Guard::Freshness))
                && self
                    .observers
                    .get(usize::from(answer.observer))
                    .is_some_and(|observer| {
                        !self.suspects.contains(observer) || !holds(Guard::SuspectHasNoSay)
                    })
        })
    }

    /// A majority of fresh answers to some test is a streak of failures; `proves`: only tests that prove so much.
    pub(crate) fn is_failing(&self, now: Timestamp, id: &TargetId, proves: Option<Proves>) -> bool {
        let Some(entry) = self.entries.get(id) else {
            return false;
        };
        self.tests_of(entry).any(|(position, test)| {
            if proves.is_some_and(|wanted| test.proves != wanted) {
                return false;
            }
            let (mut all, mut failing) = (0, 0);
            for answer in self.fresh(now, entry, position, test) {
                all += 1;
                let streak = match holds(Guard::FailureThreshold) {
                    true => u16::from(test.failure_threshold),
                    false => 1,
                };
                failing += usize::from(answer.fails_in_row >= streak);
            }
            failing * 2 > all || failing > 0 && !holds(Guard::Majority)
        })
    }

    /// Whether it may be counted on: every test passes, freshly, and nothing is being done to it.
    pub(crate) fn is_up(
        &self,
        now: Timestamp,
        id: &TargetId,
        entry: &Entry,
        service: &Service,
    ) -> bool {
        let on_probation = self.proving.get(id).is_some_and(|until| now < *until);
        let held = self.held.get(id).is_some_and(|(until, _)| now < *until);
        let flying = self
            .in_flight
            .values()
            .any(|flight| flight.order.target.id == *id);
        let untested = service.tests.is_empty();
        !(on_probation && holds(Guard::ProbationIsNotUp))
            && !(held && holds(Guard::HeldIsNotUp))
            && !(flying && holds(Guard::FlyingIsNotUp))
            && !(untested && holds(Guard::UntestedIsNotUp))
            && self.tests_of(entry).all(|(position, test)| {
                if test.kind == TestKind::Push
                    && !entry
                        .answers
                        .iter()
                        .any(|answer| usize::from(answer.test) == position)
                {
                    return true;
                }
                let mut fresh = self.fresh(now, entry, position, test).peekable();
                let is_known = fresh.peek().is_some() || !holds(Guard::UnknownIsNotUp);
                let mut passes =
                    fresh.map(|answer| matches!(answer.verdict, Verdict::Pass | Verdict::Warn));
                is_known && passes.all(|passes| passes || !holds(Guard::FailedIsNotUp))
            })
    }
}

fn narrow(position: usize) -> u16 {
    u16::try_from(position).unwrap_or(u16::MAX)
}
