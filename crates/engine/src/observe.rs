//! Diagnose: an observation becomes a suspicion, a believed finding, a case.
//!
//! A finding is confirmed only after one extra round by every observer, because half of the alarms that
//! begin this way are false. What an order in flight causes on its own target is that order's business and
//! never a new case.

use std::time::Duration;

use pitcrew_model::{
    Case, CaseId, Effect, Ending, Evidence, Fact, Finding, Notice, Observation, ObserverName,
    OrderId, Phase, Proves, Saved, Scope, Test, Timestamp, Urgency, Verdict,
};

use crate::{
    Engine, Judge, Out, SHOWN_AFTER_END,
    diagnose::{Opinion, Trip, View},
    fact,
    guards::{Guard, holds},
    timers::Timer,
};

/// Answers whose targets are looked up together: enough for memory to be asked for many at once, few enough for all
/// of it to be still near when it is used.
const LOOKED_UP_AHEAD: usize = 64;

impl Engine {
    /// Takes a batch in. What each answer is about is looked up some answers ahead, so that memory is waited for
    /// once for all of them and not for each in turn.
    pub(crate) fn observe_all(
        &mut self,
        now: Timestamp,
        seen: &[Observation],
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        for ahead in seen.chunks(LOOKED_UP_AHEAD) {
            let mut places = std::mem::take(&mut self.places);
            let ids = ahead.iter().map(|seen| &seen.target);
            self.fleet.find_all(ids, &mut self.hashes, &mut places);
            for (seen, at) in ahead.iter().zip(&places) {
                if let Some(at) = at {
                    self.observe(now, *at, seen, judge, out);
                }
            }
            self.places = places;
        }
    }

    fn observe(
        &mut self,
        now: Timestamp,
        at: usize,
        seen: &Observation,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        let Some(position) = self
            .fleet
            .crew_of(at)
            .and_then(|crew| crew.test(&seen.test))
        else {
            return;
        };
        let is_stale = seen.asked_at < self.trust_after && holds(Guard::TrustAfter);
        if is_stale || self.belongs_to_an_order(at, seen) {
            return;
        }
        self.available.take();
        let observer = self.observer(&seen.observer);
        let trust_after = self.trust_after;
        let (view, test) = self.fleet.view_mut(at, position, observer);
        view.observe(test, seen, trust_after);
        let quiet = view.opinion == Opinion::Passing && view.fails == 0 && !view.is_flapping();
        self.note_answer(now, at);
        if quiet && self.fleet.member(at).case().is_none() {
            return;
        }
        self.reconsider(now, at, judge, out);
    }

    /// Whether an answer only shows what an order in flight is doing to the target, or to what it runs on.
    fn belongs_to_an_order(&self, at: usize, seen: &Observation) -> bool {
        // Whether it is in use changes nothing of how it is.
        let changes = |order: &OrderId| !self.orders[order].order.action.is_drain();
        let in_flight = |member: usize| self.fleet.member(member).in_flight().filter(changes);
        let own = in_flight(at).is_some_and(|order| match self.orders[&order].outcome.as_ref() {
            None => holds(Guard::OwnOrderExplains),
            Some(outcome) => seen.asked_at < outcome.at && holds(Guard::AnswerBeforeOutcome),
        });
        // What a reboot for this very target leaves failing is what its own tests are asked for.
        let by_host = || {
            self.host_in_flight(at)
                .filter(changes)
                .filter(|order| Some(*order) != in_flight(at))
        };
        own || seen.verdict == Verdict::Fail
            && holds(Guard::HostOrderExplains)
            && by_host().is_some()
    }

    fn observer(&mut self, name: &ObserverName) -> u16 {
        let at = self
            .observers
            .iter()
            .position(|have| have == name)
            .unwrap_or_else(|| {
                self.observers.push(name.clone());
                self.unchanged.push(Timestamp::ZERO);
                self.observers.len() - 1
            });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// All that the observer last reported as passing still does. Whoever has reported nothing has nothing that
    /// could be unchanged, and a clock that runs ahead vouches for no time to come.
    pub(crate) fn note_unchanged(&mut self, now: Timestamp, name: &ObserverName, at: Timestamp) {
        if let Some(position) = self.observers.iter().position(|have| have == name) {
            let at = match holds(Guard::VouchesForNoFuture) {
                true => at.min(now),
                false => at,
            };
            self.unchanged[position] = self.unchanged[position].max(at);
        }
    }

    pub(crate) fn unchanged_at(&self, view: &View) -> Timestamp {
        self.unchanged[usize::from(view.observer)]
    }

    /// Whether a trusted observer reported it lately, or has asked again and found it unchanged.
    pub(crate) fn is_fresh(&self, now: Timestamp, test: &Test, view: &View) -> bool {
        self.is_trusted(view) && view.is_fresh(test, now, self.trust_after, self.unchanged_at(view))
    }

    /// Whether it is one of those whose majority decides.
    fn reports(&self, now: Timestamp, test: &Test, view: &View) -> bool {
        self.is_fresh(now, test, view)
            || holds(Guard::CannotTell)
                && self.is_trusted(view)
                && view.can_not_tell(test, now, self.trust_after)
    }

    fn reconsider(&mut self, now: Timestamp, at: usize, judge: &mut Judge<'_>, out: &mut Out) {
        let Some(id) = self.fleet.member(at).case() else {
            let settles =
                self.fleet.member(at).in_flight().is_some() && holds(Guard::NoCaseInFlight);
            if !settles && self.is_failing(now, at) {
                self.open(now, at, out);
                let id = self.fleet.member(at).case().expect("just opened");
                self.weigh_suspicion(now, at, id, judge, out);
            }
            return;
        };
        match self.open_case(id).phase {
            Phase::Suspected => self.weigh_suspicion(now, at, id, judge, out),
            Phase::Confirmed | Phase::Held(_) => self.follow(now, at, id, judge, out),
            Phase::Verifying { .. } => self.verify(now, at, id, out),
            Phase::Probation { .. } => self.watch_for_relapse(now, at, id, judge, out),
            Phase::Repairing { .. } | Phase::Closed(_) => {}
        }
    }

    /// Whether any trusted observer's last round failed, or flaps.
    fn is_failing(&self, now: Timestamp, at: usize) -> bool {
        self.current_views(now, at)
            .any(|(_, view)| view.fails > 0 || view.is_flapping())
    }

    /// Views of trusted observers, with the position of their test.
    pub(crate) fn views(&self, at: usize) -> impl Iterator<Item = (usize, &View)> {
        let views = self.fleet.member(at).views.iter();
        views
            .map(|view| (usize::from(view.test), view))
            .filter(|(_, view)| self.is_trusted(view))
    }

    /// The views that count now: where some observer of a test reported lately, one that has fallen silent has
    /// no say, or an observer that went away while it saw a failure would keep it up for ever.
    pub(crate) fn current_views(
        &self,
        now: Timestamp,
        at: usize,
    ) -> impl Iterator<Item = (usize, &View)> {
        let tests = self.fleet.crew_of(at).map(|crew| &crew.service.tests);
        let fresh = move |position: usize, view: &View| {
            tests.is_some_and(|tests| self.is_fresh(now, &tests[position], view))
        };
        self.views(at).filter(move |(position, view)| {
            fresh(*position, view)
                || !holds(Guard::SilentHasNoSay)
                || !self
                    .views(at)
                    .any(|(other, view)| other == *position && fresh(other, view))
        })
    }

    pub(crate) fn is_trusted(&self, view: &View) -> bool {
        self.suspects.is_empty()
            || !holds(Guard::SuspectHasNoSay)
            || !self
                .suspects
                .contains_key(&self.observers[usize::from(view.observer)])
    }

    fn open(&mut self, now: Timestamp, at: usize, out: &mut Out) {
        self.birth.last_case += 1;
        let id = CaseId(self.birth.last_case);
        let member = self.fleet.member_mut(at);
        member.set_case(Some(id));
        let target = member.target.id.clone();
        let service = self
            .fleet
            .crew_of(at)
            .expect("only targets of a service are tested")
            .service
            .name
            .clone();
        self.cases.insert(
            id,
            Case {
                id,
                target,
                service,
                opened_at: now,
                confirmed_at: None,
                closed_at: None,
                phase: Phase::Suspected,
                findings: Vec::new(),
                progress: None,
                orders: Vec::new(),
                handed_over: None,
            },
        );
        self.fleet.doubt(at);
        self.expect_count(now, at);
        self.count_failing(now, at, id, out);
    }

    /// Counts a newly failing case in the breakers of all its scopes and tells a person when one trips.
    pub(crate) fn count_failing(&mut self, now: Timestamp, at: usize, case: CaseId, out: &mut Out) {
        for scope in self.fleet.scopes_of(at) {
            let (rule, of) = (self.breaker_rule(&scope), self.fleet.size_of(&scope));
            if let Some(trip) = self.breakers.fails(now, &scope, &rule, of, case) {
                self.announce_trip(now, trip, out);
            }
        }
    }

    fn announce_trip(&mut self, now: Timestamp, trip: Trip, out: &mut Out) {
        let Trip { scope, failing, of } = trip;
        let summary = format!(
            "{scope}: {failing} of {of} targets newly failing; nothing is repaired until it calms"
        );
        let service = match &scope {
            Scope::Fleet => None,
            Scope::Service(service) | Scope::Domain { service, .. } => Some(service.clone()),
        };
        self.timers.set(
            Timer::Breaker(scope.clone()),
            now + self.breaker_poll(&scope),
        );
        out.push(fact(
            now,
            Fact::BreakerTripped {
                scope: scope.clone(),
                failing,
                of,
            },
        ));
        out.push(Effect::Save(Saved::Breaker {
            scope: scope.clone(),
            tripped_at: Some(now),
        }));
        if !holds(Guard::BreakerTold) {
            return;
        }
        out.push(Effect::Notify(Notice {
            to: Vec::new(),
            at: now,
            urgency: Urgency::Page,
            case: None,
            target: None,
            service,
            summary,
            evidence: vec![format!("release it at once with: pitcrew resume {scope}")],
        }));
    }

    fn breaker_poll(&self, scope: &Scope) -> Duration {
        (self.breaker_rule(scope).within / 10)
            .clamp(Duration::from_secs(1), Duration::from_secs(60))
    }

    pub(crate) fn breaker_is_due(&mut self, now: Timestamp, scope: &Scope, out: &mut Out) {
        let (rule, of) = (self.breaker_rule(scope), self.fleet.size_of(scope));
        if self.breakers.calms(now, scope, &rule, of) {
            self.announce_release(now, scope, None, out);
        } else if self.breakers.is_tripped(scope) {
            self.timers.set(
                Timer::Breaker(scope.clone()),
                now + self.breaker_poll(scope),
            );
        }
    }

    pub(crate) fn announce_release(
        &mut self,
        now: Timestamp,
        scope: &Scope,
        by: Option<String>,
        out: &mut Out,
    ) {
        self.timers.clear(&Timer::Breaker(scope.clone()));
        out.push(fact(
            now,
            Fact::BreakerReleased {
                scope: scope.clone(),
                by,
            },
        ));
        out.push(Effect::Save(Saved::Breaker {
            scope: scope.clone(),
            tripped_at: None,
        }));
    }

    /// What is believed of a target now, worst first. Empty means neither healthy nor dead by itself.
    pub(crate) fn beliefs(&self, now: Timestamp, at: usize) -> Vec<Finding> {
        let Some(crew) = self.fleet.crew_of(at) else {
            return Vec::new();
        };
        let mut findings = Vec::new();
        for (position, test) in crew.service.tests.iter().enumerate() {
            let views = || self.fleet.member(at).views_of(position);
            let believers: Vec<&View> = views()
                .filter(|view| self.is_fresh(now, test, view))
                .filter(|view| view.is_believed(test) || view.is_flapping())
                .collect();
            let Some(first) = believers.iter().min_by_key(|view| view.failing_since) else {
                continue;
            };
            let reporting = views().filter(|view| self.reports(now, test, view));
            if believers.len() * 2 <= reporting.count() && holds(Guard::Quorum) {
                continue;
            }
            let evidence = believers.iter().find_map(|view| view.evidence().cloned());
            findings.push(Finding {
                test: test.name.clone(),
                proves: test.proves,
                since: first.failing_since,
                believed_at: Some(now),
                rounds: u32::from(first.fails),
                observers: believers
                    .iter()
                    .map(|view| self.observers[usize::from(view.observer)].clone())
                    .collect(),
                evidence: evidence.unwrap_or_else(|| {
                    Evidence::new(format!(
                        "{}% of recent rounds changed",
                        first.flapping_percent()
                    ))
                }),
            });
        }
        findings.sort_by_key(|finding| finding.proves == Proves::Degraded);
        findings
    }

    /// Percent of changes, when a majority of the observers of a test sees it flap.
    pub(crate) fn flapping_percent(&self, now: Timestamp, at: usize) -> Option<u8> {
        let tests = &self.fleet.crew_of(at)?.service.tests;
        let worst = (0..tests.len()).filter_map(|wanted| {
            let views = || {
                self.current_views(now, at)
                    .filter(move |(position, _)| *position == wanted)
                    .map(|(_, view)| view)
            };
            let flapping = || views().filter(|view| view.is_flapping());
            if flapping().count() * 2 <= views().count() {
                return None;
            }
            flapping().map(View::flapping_percent).max()
        });
        Some(u8::try_from(worst.max()?).unwrap_or(100))
    }

    /// Whether nothing of the target fails or is on its way, and each finding of `id` is disproved by a streak
    /// of passes. A test that has not answered disproves nothing.
    fn is_settled(&self, now: Timestamp, at: usize, id: CaseId) -> bool {
        let Some(crew) = self.fleet.crew_of(at) else {
            return false;
        };
        let tests = &crew.service.tests;
        let mut views = self.current_views(now, at).peekable();
        if views.peek().is_none() && holds(Guard::SettledNeedsAnswer)
            || views.any(|(position, view)| {
                view.is_unsettled(&tests[position], self.trust_after) || view.is_flapping()
            }) && holds(Guard::SettledByStreak)
        {
            return false;
        }
        let disproved = |finding: &Finding| {
            crew.test(&finding.test).is_none_or(|wanted| {
                self.current_views(now, at).any(|(position, view)| {
                    position == wanted
                        && view.opinion == Opinion::Passing
                        && view.passes_enough(&tests[wanted])
                })
            })
        };
        self.open_case(id).findings.iter().all(disproved) || !holds(Guard::SettledFindings)
    }

    /// A suspected case: over, still open, or to be confirmed by an extra round.
    fn weigh_suspicion(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        if self.is_settled(now, at, id) {
            self.close(
                now,
                at,
                id,
                Ending::FalseAlarm,
                "it passed again before it was believed".to_owned(),
                out,
            );
            return;
        }
        let findings = self.beliefs(now, at);
        if findings.is_empty() {
            return;
        }
        self.open_case_mut(id).findings.clone_from(&findings);
        if self.flapping_percent(now, at).is_none() && holds(Guard::Recheck) {
            let Some(asked) = self.rechecks.get(&id).copied() else {
                self.ask_again(now, at, id, &findings, out);
                return;
            };
            if !self.rechecked(now, at, &findings, asked) {
                return;
            }
        }
        self.confirm(now, id, findings, out);
        self.plan(now, at, id, judge, out);
    }

    /// Asks every observer once more for the tests believed to fail.
    fn ask_again(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        findings: &[Finding],
        out: &mut Out,
    ) {
        self.rechecks.insert(id, now);
        let member = self.fleet.member_mut(at);
        for view in member.views.iter_mut() {
            view.rechecked = false;
        }
        let target = member.target.id.clone();
        for finding in findings {
            out.push(Effect::Probe {
                target: target.clone(),
                test: finding.test.clone(),
            });
        }
    }

    /// Whether, for each finding, a majority of its observers failed it again in the extra round.
    fn rechecked(&self, now: Timestamp, at: usize, findings: &[Finding], asked: Timestamp) -> bool {
        let Some(crew) = self.fleet.crew_of(at) else {
            return false;
        };
        findings.iter().all(|finding| {
            let Some(position) = crew.test(&finding.test) else {
                return false;
            };
            let test = &crew.service.tests[position];
            let fresh: Vec<&View> = self
                .fleet
                .member(at)
                .views_of(position)
                .filter(|view| self.is_fresh(now, test, view))
                .collect();
            let failed = fresh
                .iter()
                .filter(|view| view.rechecked || !holds(Guard::RecheckAnswered))
                .filter(|view| view.asked_at >= asked || !holds(Guard::RecheckAskedAfter))
                .filter(|view| view.fails > 0)
                .count();
            failed * 2 > fresh.len() || failed > 0 && !holds(Guard::RecheckMajority)
        })
    }

    fn confirm(&mut self, now: Timestamp, id: CaseId, findings: Vec<Finding>, out: &mut Out) {
        self.rechecks.remove(&id);
        let case = self.open_case_mut(id);
        case.phase = Phase::Confirmed;
        case.confirmed_at.get_or_insert(now);
        case.findings.clone_from(&findings);
        self.record(now, id, None, Fact::Confirmed { findings }, out);
        self.save_case(id, out);
    }

    /// A confirmed or held case: it may have recovered by itself; otherwise its findings are kept true.
    fn follow(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        if self.is_settled(now, at, id) {
            self.recovered_without_order(now, at, id, out);
            return;
        }
        let findings = self.beliefs(now, at);
        let case = self.open_case_mut(id);
        let known = case.findings.len();
        for finding in findings {
            match case
                .findings
                .iter_mut()
                .find(|have| have.test == finding.test)
            {
                Some(have) => (have.rounds, have.evidence) = (finding.rounds, finding.evidence),
                None => case.findings.push(finding),
            }
        }
        if case.findings.len() > known && case.handed_over.is_none() {
            self.plan(now, at, id, judge, out);
        }
    }

    fn recovered_without_order(&mut self, now: Timestamp, at: usize, id: CaseId, out: &mut Out) {
        let case = self.open_case(id);
        if case.handed_over.is_some() {
            self.close(
                now,
                at,
                id,
                Ending::HandedOver,
                "its tests pass again".to_owned(),
                out,
            );
        } else if case.orders.is_empty() {
            self.close(
                now,
                at,
                id,
                Ending::SelfRecovered,
                "its tests pass again without an order".to_owned(),
                out,
            );
        } else {
            self.begin_probation(now, at, id, out);
        }
    }

    fn watch_for_relapse(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        judge: &mut Judge<'_>,
        out: &mut Out,
    ) {
        let findings = self.beliefs(now, at);
        if findings.is_empty() || !holds(Guard::Relapse) {
            return;
        }
        if holds(Guard::RelapseCounts) {
            self.count_failing(now, at, id, out);
        }
        let case = self.open_case_mut(id);
        case.phase = Phase::Confirmed;
        case.findings.clone_from(&findings);
        self.record(now, id, None, Fact::Relapsed { findings }, out);
        self.save_case(id, out);
        self.plan(now, at, id, judge, out);
    }

    pub(crate) fn close(
        &mut self,
        now: Timestamp,
        at: usize,
        id: CaseId,
        ending: Ending,
        why: String,
        out: &mut Out,
    ) {
        self.stop_counting(at, id);
        self.fleet.member_mut(at).set_case(None);
        self.forget_case(now, id, ending, why, out);
    }

    /// The case no longer counts as newly failing.
    pub(crate) fn stop_counting(&mut self, at: usize, id: CaseId) {
        for scope in self.fleet.scopes_of(at) {
            self.breakers.recovered(&scope, id);
        }
    }

    /// Ends a case whose target may be gone already.
    pub(crate) fn forget_case(
        &mut self,
        now: Timestamp,
        id: CaseId,
        ending: Ending,
        why: String,
        out: &mut Out,
    ) {
        self.timers.clear(&Timer::Case(id));
        self.rechecks.remove(&id);
        if holds(Guard::ApprovalVoid) {
            self.drop_pending_order(now, id, out);
        }
        self.let_order_settle(id);
        if holds(Guard::GivenBackAtClose) {
            self.give_back(now, id, "its case is over", out);
        }
        let target = self.open_case(id).target.clone();
        self.unplaced.remove(&target);
        let case = self.open_case_mut(id);
        let confirmed = case.confirmed_at.is_some();
        case.phase = Phase::Closed(ending);
        case.closed_at = Some(now);
        let service = case.service.clone();
        if let Some(crew) = self.fleet.crew_mut(&service) {
            crew.waiting.remove(&id);
        }
        self.record(now, id, None, Fact::Closed { ending, why }, out);
        if confirmed {
            self.save_case(id, out);
            self.remember_case(now, id, out);
        }
        self.closed.push_back(id);
        if self.closed.len() > SHOWN_AFTER_END
            && let Some(oldest) = self.closed.pop_front()
        {
            self.cases.remove(&oldest);
        }
    }

    /// A case that ends while its order is being verified leaves that order in flight: it ends by its own timer.
    fn let_order_settle(&mut self, id: CaseId) {
        if let Phase::Verifying { order, until, .. } = self.open_case(id).phase
            && holds(Guard::FlightEnds)
        {
            self.timers.set(Timer::Order(order), until);
        }
    }

    pub(crate) fn weigh_observer(
        &mut self,
        now: Timestamp,
        observer: ObserverName,
        trouble: Option<String>,
        out: &mut Out,
    ) {
        let before = match &trouble {
            Some(trouble) => self.suspects.insert(observer.clone(), trouble.clone()),
            None => self.suspects.remove(&observer),
        };
        if before != trouble {
            self.doubt_all();
            out.push(fact(now, Fact::Observer { observer, trouble }));
        }
    }

    /// After a pause nothing seen before it counts: the tests get their time to settle again, a probation goes
    /// on where it was (and never lasts longer than a whole one, however far the clock stepped), and every test
    /// of an open case is asked anew.
    pub(crate) fn wake(&mut self, now: Timestamp, paused_for: Duration, out: &mut Out) {
        self.trust_after = now;
        self.doubt_all();
        if holds(Guard::RecheckAfterPause) {
            self.rechecks.clear();
        }
        out.push(fact(now, Fact::Woke { paused_for }));
        let open: Vec<CaseId> = self
            .cases
            .values()
            .filter(|case| case.is_open())
            .map(|case| case.id)
            .collect();
        for id in open {
            let service = self.open_case(id).service.clone();
            let probation = self.probation_of(&service);
            let moved = match &mut self.open_case_mut(id).phase {
                Phase::Verifying { since, until, .. } if holds(Guard::SettleAfterPause) => {
                    (*since, *until) = (now, now + until.since(*since));
                    Some(*until)
                }
                Phase::Probation { until } if holds(Guard::ProbationAfterPause) => {
                    *until = (*until + paused_for).clamp(now, now + probation);
                    Some(*until)
                }
                Phase::Suspected
                | Phase::Confirmed
                | Phase::Held(_)
                | Phase::Repairing { .. }
                | Phase::Verifying { .. }
                | Phase::Probation { .. }
                | Phase::Closed(_) => None,
            };
            if let Some(until) = moved {
                self.timers.set(Timer::Case(id), until);
            }
            let target = self.open_case(id).target.clone();
            let tests = self
                .fleet
                .crew(&service)
                .map(|crew| crew.service.tests.clone())
                .unwrap_or_default();
            for test in tests {
                out.push(Effect::Probe {
                    target: target.clone(),
                    test: test.name.clone(),
                });
            }
        }
    }
}
