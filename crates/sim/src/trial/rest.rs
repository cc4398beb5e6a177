//! What must not be left hours after a storm: cases on which nothing happens, breakers that hold, orders under way.
//!
//! A case may stay open where the policy, a limit of capacity or a person holds it; everything else moves on within
//! minutes by itself, and whatever is older than that is stuck.

use std::{collections::BTreeMap, time::Duration};

use pitcrew_engine::Engine;
use pitcrew_model::{Case, Hold, Order, OrderState, Phase, Release, Timestamp};

use super::Flaw;

/// More than any round, recheck or retry takes.
const SLACK: Duration = Duration::from_secs(30 * 60);

/// What has waited at every look since, by what it is and why that is wrong.
#[derive(Default)]
pub(super) struct Waiting {
    since: BTreeMap<(&'static str, String), (Timestamp, String)>,
    now: Timestamp,
}

impl Waiting {
    pub(super) fn look(&mut self, now: Timestamp, engine: Option<&Engine>) {
        self.now = now;
        let mut before = std::mem::take(&mut self.since);
        for (kind, about, what) in unfinished(now, engine) {
            let key = (kind, about);
            let since = before.remove(&key).map_or(now, |(since, _)| since);
            self.since.insert(key, (since, what));
        }
    }

    pub(super) fn stuck(self) -> Vec<Flaw> {
        let now = self.now;
        let all = self.since.into_iter();
        all.filter(|(_, (since, _))| now.since(*since) >= SLACK)
            .map(|((kind, about), (_, what))| Flaw::Stuck {
                kind,
                what: format!("{about} {what}"),
            })
            .collect()
    }
}

/// Kind, what it is about, and how it stands.
fn unfinished(now: Timestamp, engine: Option<&Engine>) -> Vec<(&'static str, String, String)> {
    let Some(engine) = engine else {
        return vec![("down for ever", "the server".to_owned(), String::new())];
    };
    let open = engine.cases().filter(|case| case.is_open());
    let cases = open.filter_map(|case| {
        let kind = stuck_in(now, case, engine)?;
        let what = format!("{:?}, {}", case.phase, tests(now, case, engine));
        Some((kind, format!("{} on {}", case.id, case.target), what))
    });
    let orders = engine
        .orders()
        .filter(|state| is_overdue(now, state))
        .map(|state| {
            let about = format!("{} on {}", state.order.id, state.order.target.id);
            ("in flight for ever", about, String::new())
        });
    cases.chain(orders).chain(breakers(now, engine)).collect()
}

/// What each observer last said of each test.
fn tests(now: Timestamp, case: &Case, engine: &Engine) -> String {
    let status = engine.target(now, &case.target);
    let tests = status.iter().flat_map(|status| &status.tests);
    let said = tests.map(|test| {
        let by = test.observer.as_ref().map(ToString::to_string);
        format!(
            "{} {} by {}",
            test.test,
            test.verdict,
            by.unwrap_or_default()
        )
    });
    said.collect::<Vec<String>>().join(", ")
}

/// Why this case should not be where it is.
fn stuck_in(now: Timestamp, case: &Case, engine: &Engine) -> Option<&'static str> {
    let old = now.since(case.opened_at) > SLACK;
    match &case.phase {
        Phase::Suspected => old.then_some("suspected for ever"),
        Phase::Confirmed => old.then_some("confirmed for ever"),
        Phase::Repairing { order } => match engine.order(*order) {
            Some(state) => is_overdue(now, state).then_some("repairing for ever"),
            None => Some("repairing by an order that nobody has"),
        },
        Phase::Verifying { until, .. } => {
            (now.since(*until) > SLACK).then_some("verifying for ever")
        }
        Phase::Probation { until } => {
            (now.since(*until) > SLACK).then_some("on probation for ever")
        }
        Phase::Held(hold) => held_for_ever(now, hold, is_flying(engine)),
        Phase::Closed(_) => None,
    }
}

/// What no person, policy or lack of capacity explains.
fn held_for_ever(now: Timestamp, hold: &Hold, is_flying: bool) -> Option<&'static str> {
    let passed = |until: &Timestamp| now.since(*until) > SLACK;
    match hold {
        // The policy's or a person's will.
        Hold::Autonomy { .. }
        | Hold::AwaitingApproval { .. }
        | Hold::Denied { .. }
        | Hold::HandedOver { .. } => None,
        // Others are for a person to repair, and until then this one would be one too many.
        Hold::MaxUnavailable { .. } | Hold::LastHealthy { .. } => None,
        Hold::Cooldown { until } => passed(until).then_some("held by a cooldown that is over"),
        Hold::Rate { until, .. } => passed(until).then_some("held by a rate that is free again"),
        Hold::HeldByPerson { until, .. } => passed(until).then_some("held by a hold that is over"),
        Hold::Paused { .. } => Some("held by a pause that was lifted"),
        Hold::LedgerUnwritable => Some("held by a ledger that can be written"),
        // Only a person releases it.
        Hold::Breaker { manual: true, .. } => None,
        Hold::Breaker { .. } => Some("held by a breaker"),
        Hold::ObserverSuspect { .. } => Some("held by observers that are well"),
        Hold::Flapping { .. } | Hold::Lemon { .. } | Hold::NoRunner { .. } => {
            Some("held by what a person should have been told")
        }
        Hold::HostUnknown { .. } => Some("held by a host that is there"),
        Hold::Quorum { .. } => Some("held for a quorum that is there"),
        // One after the other may take long; each of them is overdue at some time.
        Hold::OneAtATime { .. } | Hold::MaxInFlight { .. } | Hold::PerDomain { .. } => {
            (!is_flying).then_some("held by an order that is over")
        }
        Hold::FleetRate { .. } => Some("held by a brake that was released"),
        Hold::Interlock { objections } => objections
            .iter()
            .any(|objection| !matches!(objection.invariant, 3 | 4))
            .then_some("held by the interlock"),
    }
}

fn is_flying(engine: &Engine) -> bool {
    engine
        .orders()
        .any(|state| state.given && state.ended_at.is_none())
}

fn is_overdue(now: Timestamp, state: &OrderState) -> bool {
    let by = state.order.given_at + Order::OUTCOME_OVERDUE + state.order.settle + SLACK;
    state.given && state.ended_at.is_none() && now > by
}

fn breakers(now: Timestamp, engine: &Engine) -> Vec<(&'static str, String, String)> {
    let services: Vec<_> = engine.services().cloned().collect();
    let auto = services
        .iter()
        .filter(|service| service.limits.breaker.release == Release::Auto);
    auto.filter_map(|service| engine.service(now, &service.name))
        .flat_map(|status| status.breakers)
        .map(|scope| ("tripped for ever", scope, String::new()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    #[test]
    fn only_what_a_policy_a_person_or_capacity_explains_may_wait_for_ever() {
        let long_ago = NOW - Duration::from_secs(7_200);
        let soon = NOW + Duration::from_secs(60);
        let capacity = Hold::LastHealthy {
            healthy_after: 0,
            of: 1,
        };
        for (hold, is_stuck) in [
            (capacity, false),
            (Hold::Cooldown { until: soon }, false),
            (Hold::Cooldown { until: long_ago }, true),
            (Hold::LedgerUnwritable, true),
            (Hold::Flapping { percent: 40 }, true),
            (
                Hold::Quorum {
                    reporting: 0,
                    observers: 3,
                },
                true,
            ),
            (
                Hold::HandedOver {
                    to: Vec::new(),
                    why: String::new(),
                },
                false,
            ),
        ] {
            assert_eq!(
                held_for_ever(NOW, &hold, false).is_some(),
                is_stuck,
                "{hold}"
            );
        }
    }

    #[test]
    fn a_server_that_never_comes_back_is_a_flaw() {
        let mut waiting = Waiting::default();
        waiting.look(NOW, None);
        assert_eq!(Waiting::default().stuck(), []);
        waiting.look(NOW + SLACK, None);
        assert_eq!(waiting.stuck().len(), 1);
    }
}
