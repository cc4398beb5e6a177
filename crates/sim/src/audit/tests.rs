//! The auditor can fail: each invariant is broken in front of it, and a scene in which none is stays silent.

use std::{sync::Arc, time::Duration};

use pitcrew_model::*;

use super::Auditor;

const SECOND: Duration = Duration::from_secs(1);
const NOTHING: [u8; 0] = [];
const START: u64 = 1_767_225_600_000;

fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

fn web() -> Service {
    Service {
        name: name("web"),
        select: Selector(Labels::new([("service", "web")]).unwrap()),
        domains: vec!["zone".to_owned()],
        autonomy: Autonomy::Act,
        tests: vec![Arc::new(Test {
            name: name("answers"),
            kind: TestKind::Process,
            interval: SECOND * 5,
            timeout: SECOND * 2,
            failure_threshold: 3,
            success_threshold: 2,
            proves: Proves::Down,
            place: Place::Server,
        })],
        repairs: vec![Repair {
            name: name("restart"),
            when: vec![name("answers")],
            steps: vec![Step {
                action: Action::Restart,
                tries: 2,
                settle: SECOND * 30,
            }],
        }],
        limits: Limits {
            per_domain: vec![("zone".to_owned(), 9)],
            ..Limits::default()
        },
        windows: Vec::new(),
        runs_as: None,
        drain: None,
    }
}

/// Twelve targets of `web` in zones a and b, observed by three, all passing.
struct Scene {
    auditor: Auditor,
    now: Timestamp,
    service: Service,
}

fn target(number: usize) -> Target {
    let zone = if number.is_multiple_of(2) { "a" } else { "b" };
    Target {
        id: name(&format!("web-{number}")),
        address: None,
        labels: Labels::new([("service", "web"), ("zone", zone)]).unwrap(),
        run_on: None,
        runner: Some(Runner::Supervised),
        source: name("run"),
    }
}

impl Scene {
    fn new(adjust: impl FnOnce(&mut Service)) -> Self {
        Self::of((1..=12).map(target).collect(), adjust)
    }

    fn of(targets: Vec<Target>, adjust: impl FnOnce(&mut Service)) -> Self {
        let mut service = web();
        adjust(&mut service);
        let production = Production {
            services: vec![Arc::new(service.clone())],
            limits: FleetLimits {
                fleet_rate: Rate {
                    count: 3,
                    per: SECOND * 3_600,
                },
            },
            ..Production::default()
        };
        let mut scene = Self {
            auditor: Auditor::new(&production),
            now: Timestamp::from_millis(START),
            service,
        };
        scene.event(Event::Production(Arc::new(production)));
        scene.event(Event::Targets {
            upserted: targets.into_iter().map(Arc::new).collect(),
            removed: Vec::new(),
        });
        scene.rounds(2);
        scene
    }

    fn event(&mut self, event: Event) {
        self.auditor.event(self.now, &event);
    }

    fn answer(&mut self, target: &str, observer: &str, verdict: Verdict) {
        let seen = Observation {
            target: name(target),
            test: name("answers"),
            observer: name(observer),
            asked_at: self.now,
            answered_at: self.now,
            took: Duration::ZERO,
            verdict,
            evidence: Evidence::new("seen"),
        };
        self.event(Event::Observations(vec![seen]));
    }

    /// One round in which these fail, as all observers see it, and the others pass.
    fn round(&mut self, failing: &[&str]) {
        self.now = self.now + SECOND * 5;
        for number in 1..=12 {
            let target = format!("web-{number}");
            let fails = failing.contains(&target.as_str());
            let verdict = if fails { Verdict::Fail } else { Verdict::Pass };
            for observer in ["o1", "o2", "o3"] {
                self.answer(&target, observer, verdict);
            }
        }
    }

    fn rounds(&mut self, count: usize) -> &mut Self {
        for _ in 0..count {
            self.round(&[]);
        }
        self
    }

    fn fails(&mut self, failing: &[&str]) -> &mut Self {
        for _ in 0..3 {
            self.round(failing);
        }
        self
    }

    fn order(&self, id: u64, target: &str) -> Order {
        let number = target.trim_start_matches("web-").parse().unwrap();
        Order {
            id: OrderId(id),
            operation: name(&format!("operation-{id}")),
            case: Some(CaseId(id)),
            target: Arc::new(self::target(number)),
            service: Some(name("web")),
            host: None,
            lease: None,
            action: Action::Restart,
            runner: Some(Runner::Supervised),
            authority: Authority::Policy,
            repair: Some(name("restart")),
            step: 0,
            attempt: 1,
            given_at: self.now,
            settle: SECOND * 30,
            expires_at: self.now + Order::EXPIRY,
            fence: 1,
            digest: "d".to_owned(),
            target_is_down: true,
        }
    }

    fn record(&self, about: Option<&Order>, fact: Fact) -> Record {
        Record {
            at: self.now,
            case: about.and_then(|order| order.case),
            order: about.map(|order| order.id),
            target: about.map(|order| order.target.id.clone()),
            service: None,
            fact,
        }
    }

    /// Wanted and committed at once.
    fn recorded(&mut self, about: Option<&Order>, fact: Fact) -> &mut Self {
        let effects = [Effect::Record(self.record(about, fact))];
        self.auditor.effects(self.now, &effects);
        self.auditor.committed(&effects);
        self
    }

    fn person(&mut self, about: Option<&Order>, act: PersonAct) -> &mut Self {
        let by = "op".to_owned();
        self.event(Event::Person(Request {
            by: by.clone(),
            act: act.clone(),
        }));
        let refused = None;
        self.recorded(about, Fact::Person { by, act, refused })
    }

    fn decide(&mut self, order: &Order) -> Vec<Effect> {
        let intent = Fact::Intent {
            order: Box::new(order.clone()),
        };
        let effects = vec![
            Effect::Record(self.record(Some(order), intent)),
            Effect::Give(order.clone()),
        ];
        self.auditor.effects(self.now, &effects);
        effects
    }

    /// Decided on, committed and gone.
    fn give(&mut self, order: &Order) -> &mut Self {
        let effects = self.decide(order);
        self.auditor.committed(&effects);
        self.auditor.left(self.now, order);
        self
    }

    fn outcome(&mut self, order: u64, kind: OutcomeKind) -> &mut Self {
        self.event(Event::Outcome(Outcome {
            order: OrderId(order),
            kind,
            at: self.now,
            detail: String::new(),
        }));
        self
    }

    fn broken(&mut self) -> Vec<u8> {
        let broken = self.auditor.take();
        broken.iter().map(|broken| broken.invariant).collect()
    }
}

#[test]
fn a_repair_as_it_should_be_breaks_nothing() {
    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1"]);
    let order = scene.order(1, "web-1");
    scene.give(&order).outcome(1, OutcomeKind::Done).rounds(2);
    let verified = Fact::Verified {
        passed: true,
        observers: vec![name("o1")],
        detail: String::new(),
    };
    scene.recorded(Some(&order), verified);
    scene.fails(&["web-2"]);
    let next = scene.order(2, "web-2");
    scene.give(&next);
    assert_eq!(scene.broken(), NOTHING);
}

#[test]
fn one_order_per_target() {
    let mut scene = Scene::new(|service| service.limits.max_in_flight = 9);
    scene.fails(&["web-1"]);
    let (first, second) = (scene.order(1, "web-1"), scene.order(2, "web-1"));
    scene.give(&first);
    assert_eq!(scene.broken(), NOTHING);
    scene.give(&second);
    assert_eq!(scene.broken(), [1]);
}

#[test]
fn an_order_on_a_host_conflicts_with_what_runs_on_it() {
    let mut host = target(1);
    host.id = name("web-1");
    let mut guest = target(2);
    guest.run_on = Some(name("web-1"));
    let mut targets = vec![host, guest.clone()];
    targets.extend((3..=12).map(target));
    let mut scene = Scene::of(targets, |service| service.limits.max_in_flight = 9);
    scene.fails(&["web-1", "web-2"]);
    let first = scene.order(1, "web-1");
    let mut second = scene.order(2, "web-2");
    second.target = Arc::new(guest);
    scene.give(&first).give(&second);
    assert!(scene.broken().contains(&1));
}

#[test]
fn intent_is_durable_before_the_act() {
    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1"]);
    let order = scene.order(1, "web-1");
    scene.decide(&order);
    scene.auditor.left(scene.now, &order);
    assert_eq!(scene.broken(), [2], "not committed");

    let undecided = scene.order(2, "web-1");
    scene.auditor.left(scene.now, &undecided);
    assert!(scene.broken().contains(&2), "never decided");
}

#[test]
fn what_the_ledger_could_not_take_does_not_leave() {
    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1"]);
    let order = scene.order(1, "web-1");
    let effects = scene.decide(&order);
    scene.event(Event::LedgerFailed {
        not_given: vec![OrderId(1)],
        error: "full".to_owned(),
    });
    scene.auditor.committed(&effects);
    scene.auditor.left(scene.now, &order);
    assert_eq!(scene.broken(), [2]);
}

#[test]
fn what_was_decided_before_a_crash_does_not_leave_after_it() {
    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1"]);
    let order = scene.order(1, "web-1");
    let effects = scene.decide(&order);
    scene.auditor.committed(&effects);
    scene.auditor.crashed(scene.now);
    scene.auditor.left(scene.now, &order);
    assert_eq!(scene.broken(), [2]);
}

#[test]
fn limits_are_counted_after_the_removal() {
    // A degraded test: repairing costs capacity, of which three of twelve may be gone.
    let degraded = |service: &mut Service| {
        let mut test = (*service.tests[0]).clone();
        test.proves = Proves::Degraded;
        service.tests = vec![Arc::new(test)];
        service.limits.breaker.count = 100;
        service.limits.max_in_flight = 9;
    };
    let mut scene = Scene::new(degraded);
    scene.fails(&["web-1", "web-2", "web-3"]);
    let order = scene.order(1, "web-1");
    scene.give(&order);
    assert_eq!(scene.broken(), NOTHING, "three of three");

    let mut scene = Scene::new(degraded);
    scene.fails(&["web-1", "web-2", "web-3", "web-4"]);
    let order = scene.order(1, "web-1");
    scene.give(&order);
    assert_eq!(scene.broken(), [3], "four of three");
}

#[test]
fn no_more_in_flight_than_the_service_and_its_domains_allow() {
    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1", "web-2"]);
    let (first, second) = (scene.order(1, "web-1"), scene.order(2, "web-2"));
    scene.give(&first).give(&second);
    assert_eq!(scene.broken(), [3], "max_in_flight");

    let mut scene = Scene::new(|service| {
        service.limits.max_in_flight = 9;
        service.limits.per_domain.clear();
    });
    scene.fails(&["web-1", "web-3", "web-4"]);
    let (first, other) = (scene.order(1, "web-1"), scene.order(2, "web-4"));
    scene.give(&first).give(&other);
    assert_eq!(scene.broken(), NOTHING, "another zone");
    let same = scene.order(3, "web-3");
    scene.give(&same);
    assert_eq!(scene.broken(), [3], "one per zone");
}

#[test]
fn unknown_proves_nothing() {
    for spoil in [
        // Two rounds are no streak of three.
        |scene: &mut Scene| {
            scene.round(&["web-1"]);
            scene.round(&["web-1"]);
        },
        // Long ago.
        |scene: &mut Scene| {
            scene.fails(&["web-1"]);
            scene.now = scene.now + SECOND * 60;
        },
        // One answer that is delivered three times is one answer.
        |scene: &mut Scene| {
            scene.now = scene.now + SECOND * 5;
            for observer in ["o1", "o2", "o3"] {
                for _ in 0..3 {
                    scene.answer("web-1", observer, Verdict::Fail);
                }
            }
        },
        // One of three observers is no majority.
        |scene: &mut Scene| {
            for _ in 0..3 {
                scene.now = scene.now + SECOND * 5;
                scene.answer("web-1", "o1", Verdict::Fail);
                scene.answer("web-1", "o2", Verdict::Pass);
                scene.answer("web-1", "o3", Verdict::Pass);
            }
        },
        // The process slept.
        |scene: &mut Scene| {
            scene.fails(&["web-1"]);
            scene.now = scene.now + SECOND;
            scene.event(Event::Woke {
                paused_for: SECOND * 60,
            });
        },
    ] {
        let mut scene = Scene::new(|_| ());
        spoil(&mut scene);
        let order = scene.order(1, "web-1");
        scene.give(&order);
        assert!(scene.broken().contains(&3));
    }
}

#[test]
fn never_the_last_one() {
    let mut scene = Scene::of(vec![target(1), target(2)], |service| {
        let mut test = (*service.tests[0]).clone();
        test.proves = Proves::Degraded;
        service.tests = vec![Arc::new(test)];
        service.limits.max_unavailable = Count::Percent(100);
        service.limits.breaker.count = 100;
    });
    scene.fails(&["web-1", "web-2"]);
    let order = scene.order(1, "web-1");
    scene.give(&order);
    assert_eq!(scene.broken(), [4]);
}

#[test]
fn empty_selects_nothing_and_an_answer_that_shrinks_by_more_than_half_is_not_obeyed() {
    let mut scene = Scene::new(|_| ());
    let gone = |numbers: std::ops::RangeInclusive<usize>| Event::Targets {
        upserted: Vec::new(),
        removed: numbers.map(|number| target(number).id).collect(),
    };
    scene.event(gone(1..=6));
    assert_eq!(scene.broken(), NOTHING, "half of them");
    scene.event(gone(7..=10));
    assert_eq!(scene.broken(), [5], "four of six");

    let mut all = scene.service.clone();
    all.select = Selector::default();
    let watch = Effect::Watch {
        target: Arc::new(target(1)),
        service: Arc::new(all),
    };
    scene.auditor.effects(scene.now, &[watch]);
    assert_eq!(scene.broken(), [5]);
}

#[test]
fn an_operation_is_not_repeated_and_the_next_needs_proof_of_its_own() {
    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1"]);
    let order = scene.order(1, "web-1");
    scene.give(&order).outcome(1, OutcomeKind::Unknown);
    scene.now = scene.now + SECOND * 31;
    let mut again = scene.order(2, "web-1");
    (again.case, again.attempt) = (order.case, 2);
    again.operation = order.operation.clone();
    scene.give(&again);
    let broken = scene.broken();
    assert!(broken.contains(&6), "{broken:?}: the same operation");
    assert!(broken.contains(&3), "{broken:?}: no test since the outcome");
}

#[test]
fn every_effect_is_leased() {
    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1"]);
    let mut order = scene.order(1, "web-1");
    order.expires_at = scene.now + SECOND * 3_600;
    scene.give(&order);
    assert_eq!(scene.broken(), [7]);
    let hold = Effect::Save(Saved::Hold {
        target: name("web-1"),
        by: "op".to_owned(),
        why: "why".to_owned(),
        until: Some(scene.now + SECOND * 10 * 365 * 86_400),
        stopped: true,
    });
    scene.auditor.effects(scene.now, &[hold]);
    assert_eq!(scene.broken(), [7]);
}

#[test]
fn a_repair_is_not_triggered_by_its_own_effects() {
    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1"]);
    let order = scene.order(1, "web-1");
    scene.give(&order);
    scene.fails(&["web-1"]);
    let mut other = scene.order(2, "web-1");
    other.case = Some(CaseId(9));
    let findings = Vec::new();
    scene.recorded(Some(&other), Fact::Confirmed { findings });
    assert_eq!(scene.broken(), [8]);

    // What was seen while it was under way is no proof for the next.
    scene.outcome(1, OutcomeKind::Failed);
    scene.round(&[]);
    scene.recorded(
        Some(&order),
        Fact::Relapsed {
            findings: Vec::new(),
        },
    );
    let again = scene.order(3, "web-1");
    scene.give(&again);
    assert!(scene.broken().contains(&3));
}

#[test]
fn a_suspect_observer_proves_nothing() {
    let mut scene = Scene::new(|_| ());
    for _ in 0..3 {
        scene.now = scene.now + SECOND * 5;
        scene.answer("web-1", "o1", Verdict::Fail);
        scene.answer("web-1", "o2", Verdict::Fail);
        scene.answer("web-1", "o3", Verdict::Pass);
    }
    for observer in ["o1", "o2"] {
        scene.event(Event::Observer {
            observer: name(observer),
            trouble: Some("its control test fails".to_owned()),
        });
    }
    let order = scene.order(1, "web-1");
    scene.give(&order);
    assert!(scene.broken().contains(&9));
}

#[test]
fn when_everything_fails_the_observers_are_to_be_doubted() {
    let failing: Vec<String> = (1..=8).map(|number| format!("web-{number}")).collect();
    let failing: Vec<&str> = failing.iter().map(String::as_str).collect();
    let mut scene = Scene::new(|service| service.limits.breaker.percent = 100);
    scene.fails(&failing);
    let order = scene.order(1, "web-1");
    scene.give(&order);
    assert_eq!(scene.broken(), [9]);
}

#[test]
fn a_mass_failure_stops_disruption_whatever_the_breaker_says() {
    let failing = ["web-1", "web-3", "web-5", "web-7", "web-9"];
    let mut scene = Scene::new(|_| ());
    scene.fails(&failing);
    let order = scene.order(1, "web-1");
    scene.give(&order);
    assert_eq!(scene.broken(), [10]);

    let scope = Scope::Service(name("web"));
    let mut scene = Scene::new(|_| ());
    scene.fails(&failing);
    scene.person(None, PersonAct::Resume { scope });
    let order = scene.order(1, "web-1");
    scene.give(&order);
    assert_eq!(scene.broken(), NOTHING, "a person took it upon them");
}

#[test]
fn a_tripped_breaker_is_told_of_holds_and_is_released_by_whom_it_says() {
    let mut scene = Scene::new(|service| service.limits.breaker.release = Release::Manual);
    scene.fails(&["web-1"]);
    let scope = Scope::Service(name("web"));
    let trip = Fact::BreakerTripped {
        scope: scope.clone(),
        failing: 5,
        of: 12,
    };
    scene.recorded(None, trip);
    assert_eq!(scene.broken(), [10], "nobody was told");
    let order = scene.order(1, "web-1");
    scene.give(&order);
    assert_eq!(scene.broken(), [10], "it is open");
    scene.recorded(None, Fact::BreakerReleased { scope, by: None });
    assert_eq!(scene.broken(), [10], "only a person may release it");
}

#[test]
fn the_fleet_brake_and_the_rate_hold() {
    let one_by_one = |scene: &mut Scene, count: u64| {
        for id in 1..=count {
            let target = format!("web-{id}");
            scene.fails(&[&target]);
            let order = scene.order(id, &target);
            scene
                .give(&order)
                .outcome(id, OutcomeKind::Failed)
                .rounds(2);
        }
    };
    let mut scene = Scene::new(|_| ());
    one_by_one(&mut scene, 3);
    assert_eq!(scene.broken(), NOTHING);
    one_by_one(&mut scene, 0);
    scene.fails(&["web-4"]);
    let order = scene.order(4, "web-4");
    scene.give(&order);
    assert_eq!(scene.broken(), [11], "three in an hour over everything");

    let mut scene = Scene::new(|service| service.limits.rate.count = 1);
    one_by_one(&mut scene, 1);
    scene.fails(&["web-2"]);
    let order = scene.order(2, "web-2");
    scene.give(&order);
    assert_eq!(scene.broken(), [11], "one in an hour in this service");
}

#[test]
fn a_stale_order_does_not_leave() {
    type Spoil = fn(&mut Scene, &mut Order);
    let spoils: [Spoil; 4] = [
        |scene, _| {
            scene.event(Event::Targets {
                upserted: Vec::new(),
                removed: vec![name("web-1")],
            });
        },
        |_, order| order.service = Some(name("shop")),
        |scene, order| {
            let ending = Ending::SelfRecovered;
            let why = String::new();
            scene.recorded(Some(order), Fact::Closed { ending, why });
        },
        |scene, order| {
            let mut earlier = order.clone();
            (earlier.id, earlier.operation) = (OrderId(9), name("operation-9"));
            earlier.fence = 2;
            scene.decide(&earlier);
            scene.outcome(9, OutcomeKind::Failed);
        },
    ];
    for spoil in spoils {
        let mut scene = Scene::new(|_| ());
        scene.fails(&["web-1"]);
        let mut order = scene.order(1, "web-1");
        spoil(&mut scene, &mut order);
        scene.give(&order);
        assert!(scene.broken().contains(&12));
    }
    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1"]);
    let order = scene.order(1, "web-1");
    let effects = scene.decide(&order);
    scene.auditor.committed(&effects);
    scene.now = scene.now + SECOND * 60;
    scene.auditor.left(scene.now, &order);
    assert_eq!(scene.broken(), [12], "expired on its way");
}

#[test]
fn only_tests_that_somebody_saw_pass_verify() {
    let verified = |observers: &[&str]| Fact::Verified {
        passed: true,
        observers: observers.iter().map(|observer| name(observer)).collect(),
        detail: String::new(),
    };
    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1"]);
    let order = scene.order(1, "web-1");
    scene.give(&order).recorded(Some(&order), verified(&["o1"]));
    assert_eq!(scene.broken(), [13], "before its outcome");

    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1"]);
    let order = scene.order(1, "web-1");
    scene.give(&order).outcome(1, OutcomeKind::Done);
    scene.recorded(Some(&order), verified(&["o1"]));
    assert_eq!(scene.broken(), [13], "the actuator's word alone");
    scene.rounds(2).recorded(Some(&order), verified(&[]));
    assert_eq!(scene.broken(), [13], "by nobody");
}

#[test]
fn what_a_person_has_in_hand_is_left_alone() {
    type Spoil = fn(&mut Scene, &Order);
    let spoils: [Spoil; 5] = [
        |scene, _| {
            let until = scene.now + SECOND * 600;
            let (target, why) = (name("web-1"), "disk".to_owned());
            scene.person(None, PersonAct::Hold { target, until, why });
        },
        |scene, _| {
            let (scope, why) = (Scope::Service(name("web")), "release".to_owned());
            scene.person(None, PersonAct::Pause { scope, why });
        },
        |scene, _| {
            let scope = Scope::Domain {
                service: name("web"),
                label: "zone".to_owned(),
                value: "b".to_owned(),
            };
            let why = "release".to_owned();
            scene.person(None, PersonAct::Pause { scope, why });
        },
        |scene, order| {
            let mut stop = order.clone();
            stop.id = OrderId(7);
            let (target, why) = (name("web-1"), "retired".to_owned());
            let action = Action::Stop;
            scene.person(
                Some(&stop),
                PersonAct::Order {
                    target,
                    action,
                    why,
                },
            );
        },
        |scene, order| {
            scene.person(None, PersonAct::Deny { order: order.id });
        },
    ];
    for spoil in spoils {
        let mut scene = Scene::new(|_| ());
        scene.fails(&["web-1"]);
        let order = scene.order(1, "web-1");
        spoil(&mut scene, &order);
        scene.give(&order);
        assert!(scene.broken().contains(&14));
    }
}

#[test]
fn a_person_decides_how_freely_a_service_is_repaired() {
    type Adjust = fn(&mut Service);
    let adjusts: [Adjust; 3] = [
        |service| service.autonomy = Autonomy::Propose,
        |service| service.autonomy = Autonomy::Approve,
        |service| {
            service.windows.push(Window {
                name: "freeze".to_owned(),
                from: Timestamp::from_millis(START),
                to: Timestamp::from_millis(START + 3_600_000),
                autonomy: Autonomy::Observe,
            });
        },
    ];
    for adjust in adjusts {
        let mut scene = Scene::new(adjust);
        scene.fails(&["web-1"]);
        let order = scene.order(1, "web-1");
        scene.give(&order);
        assert_eq!(scene.broken(), [14]);
    }
    let mut scene = Scene::new(|service| service.autonomy = Autonomy::Approve);
    scene.fails(&["web-1"]);
    let mut order = scene.order(1, "web-1");
    order.authority = Authority::Approval {
        by: "op".to_owned(),
    };
    scene.give(&order).outcome(1, OutcomeKind::Failed);
    assert_eq!(scene.broken(), [14], "nobody approved it");
    scene.fails(&["web-1"]);
    let mut order = scene.order(2, "web-1");
    order.authority = Authority::Approval {
        by: "op".to_owned(),
    };
    let digest = order.digest.clone();
    scene.person(
        None,
        PersonAct::Approve {
            order: order.id,
            digest,
        },
    );
    scene.give(&order);
    assert_eq!(scene.broken(), NOTHING);
}

#[test]
fn escalation_ends_at_a_person() {
    type Spoil = fn(&mut Scene, &mut Order);
    let spoils: [Spoil; 4] = [
        |_, order| order.attempt = 3,
        |_, order| order.repair = Some(name("another")),
        // The same rung again.
        |scene, order| {
            scene
                .give(&order.clone())
                .outcome(order.id.0, OutcomeKind::Failed);
            (order.id, order.operation) = (OrderId(2), name("operation-2"));
        },
        |scene, order| {
            let (to, why) = (Vec::new(), "2 orders did not help".to_owned());
            scene.recorded(Some(order), Fact::HandedOver { to, why });
            assert_eq!(scene.broken(), [15], "and nobody was told");
        },
    ];
    for spoil in spoils {
        let mut scene = Scene::new(|_| ());
        scene.fails(&["web-1"]);
        let mut order = scene.order(1, "web-1");
        spoil(&mut scene, &mut order);
        scene.give(&order);
        assert!(scene.broken().contains(&15));
    }
}

#[test]
fn a_lemon_is_a_persons_and_a_repaired_target_rests() {
    let case_of_before = |scene: &mut Scene, case: u64, with_order: bool| {
        scene.fails(&["web-1"]);
        let mut order = scene.order(case, "web-1");
        order.case = Some(CaseId(case));
        let findings = Vec::new();
        scene.recorded(Some(&order), Fact::Confirmed { findings });
        if with_order {
            scene.give(&order).outcome(case, OutcomeKind::Failed);
        }
        let (ending, why) = (Ending::Cured, String::new());
        scene.recorded(Some(&order), Fact::Closed { ending, why });
    };
    let mut scene = Scene::new(|_| ());
    case_of_before(&mut scene, 1, false);
    case_of_before(&mut scene, 2, false);
    scene.fails(&["web-1"]);
    let order = scene.order(3, "web-1");
    scene.give(&order);
    assert_eq!(scene.broken(), [15], "the third case within a week");

    let mut scene = Scene::new(|_| ());
    case_of_before(&mut scene, 1, true);
    scene.fails(&["web-1"]);
    let order = scene.order(2, "web-1");
    scene.give(&order);
    assert_eq!(scene.broken(), [15], "within its cooldown");
}

#[test]
fn a_cooldown_begins_when_the_case_is_closed_and_not_when_the_ledger_has_it() {
    let mut scene = Scene::new(|_| ());
    scene.fails(&["web-1"]);
    let order = scene.order(1, "web-1");
    scene.give(&order).outcome(1, OutcomeKind::Failed);
    let (ending, why) = (Ending::HandedOver, String::new());
    let closed = Effect::Record(scene.record(Some(&order), Fact::Closed { ending, why }));
    let at = scene.now;
    scene.auditor.effects(at, std::slice::from_ref(&closed));
    scene.now = at + SECOND;
    scene.auditor.committed(&[closed]);
    scene.now = at + SECOND * 600;
    scene.fails(&["web-1"]);
    let order = scene.order(2, "web-1");
    scene.give(&order);
    assert_eq!(scene.broken(), [0; 0], "ten minutes after it");
}

#[test]
fn what_goes_on_passing_is_known_to_pass() {
    let mut scene = Scene::new(|service| service.limits.max_unavailable = Count::Targets(1));
    scene.now = scene.now + SECOND * 600;
    for observer in ["o1", "o2", "o3"] {
        scene.event(Event::Unchanged {
            observer: name(observer),
            at: scene.now,
        });
    }
    let mut order = scene.order(1, "web-1");
    let (by, why) = ("op".to_owned(), "because".to_owned());
    order.authority = Authority::Person { by, why };
    let (target, action, why) = (name("web-1"), Action::Restart, String::new());
    scene.person(
        Some(&order),
        PersonAct::Order {
            target,
            action,
            why,
        },
    );
    scene.give(&order);
    assert_eq!(scene.broken(), NOTHING);

    // Without those words all of them are unknown, which is unavailable.
    scene.outcome(1, OutcomeKind::Failed);
    scene.now = scene.now + SECOND * 600;
    let mut order = scene.order(2, "web-2");
    let (by, why) = ("op".to_owned(), "because".to_owned());
    order.authority = Authority::Person { by, why };
    let (target, action, why) = (name("web-2"), Action::Restart, String::new());
    scene.person(
        Some(&order),
        PersonAct::Order {
            target,
            action,
            why,
        },
    );
    scene.give(&order);
    assert_eq!(scene.broken(), [4]);
}
