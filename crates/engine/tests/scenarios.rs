//! Incidents as stories: what happens, and all that must be decided about it.

mod world;

use std::time::Duration;

use pitcrew_model::*;
use world::{Cure, Truth, World, name};

#[test]
fn a_killed_target_is_restarted_verified_and_cured() {
    let mut world = World::new(4, |_| ());
    world.set(&["web-1"], Truth::Down).run(40);
    assert_eq!(
        world.told(),
        [
            "web-1 confirmed",
            "web-1 order: restart (try 1)",
            "web-1 done",
            "web-1 verified",
            "web-1 on probation",
        ]
    );
    world.run(1_900);
    assert_eq!(world.told(), ["web-1 closed: cured"]);
    assert_eq!(world.given.len(), 1);
}

#[test]
fn a_single_blip_is_a_false_alarm_and_nothing_is_touched() {
    let mut world = World::new(4, |_| ());
    world.set(&["web-1"], Truth::Down).run(5);
    world.set(&["web-1"], Truth::Up).run(20);
    assert_eq!(world.told(), ["web-1 closed: false alarm"]);
    assert!(world.given.is_empty());
}

#[test]
fn two_failed_rounds_are_not_believed() {
    let mut world = World::new(4, |_| ());
    world.set(&["web-1"], Truth::Down).run(10);
    world.set(&["web-1"], Truth::Up).run(20);
    assert_eq!(world.told(), ["web-1 closed: false alarm"]);
}

#[test]
fn what_recovers_in_the_extra_round_is_not_confirmed() {
    let mut world = World::new(4, |_| ());
    world.set(&["web-1"], Truth::Down).run(10);
    // The third failed round asks again at once; the target is back by then.
    let seen = world.ask(&name("web-1"), &name("answers"));
    world.set(&["web-1"], Truth::Up);
    world.now = world.now + Duration::from_secs(1);
    world.tell(Event::Observations(
        seen.into_iter()
            .map(|seen| Observation {
                asked_at: world.now,
                answered_at: world.now,
                ..seen
            })
            .collect(),
    ));
    world.run(20);
    assert_eq!(world.told(), ["web-1 closed: false alarm"]);
}

#[test]
fn unknown_is_neither_healthy_nor_dead() {
    let mut world = World::new(4, |_| ());
    world.set(&["web-1"], Truth::Silent).run(120);
    assert!(world.told().is_empty());
    let status = world.engine.service(world.now, &name("web")).unwrap();
    assert_eq!((status.healthy, status.unknown), (3, 1));
}

#[test]
fn a_repair_that_does_not_help_climbs_to_a_person_and_stops() {
    let mut world = World::new(4, |_| ());
    world
        .orders_do(Cure::DoesNotHelp)
        .set(&["web-1"], Truth::Down)
        .run(600);
    assert_eq!(
        world.told(),
        [
            "web-1 confirmed",
            "web-1 order: restart (try 1)",
            "web-1 done",
            "web-1 not verified",
            "web-1 order: restart (try 2)",
            "web-1 done",
            "web-1 not verified",
            "web-1 handed over to [\"oncall\"]: 2 orders did not help",
        ]
    );
    assert_eq!(world.notices.len(), 1);
    assert!(
        world.notices[0]
            .evidence
            .iter()
            .any(|line| line.contains("connection refused"))
    );
    world.set(&["web-1"], Truth::Up).run(20);
    assert_eq!(world.told(), ["web-1 closed: handed over"]);
}

#[test]
fn an_actuator_that_fails_without_effect_uses_up_its_tries() {
    let mut world = World::new(4, |_| ());
    world
        .orders_do(Cure::Fails)
        .set(&["web-1"], Truth::Down)
        .run(60);
    let told = world.told();
    assert_eq!(
        told.iter()
            .filter(|line| line.contains("failed, no effect"))
            .count(),
        2
    );
    assert!(told.last().unwrap().contains("handed over"), "{told:?}");
}

#[test]
fn a_silent_actuator_counts_as_may_have_taken_effect() {
    let mut world = World::new(4, |_| ());
    world
        .orders_do(Cure::Vanishes)
        .set(&["web-1"], Truth::Down)
        .run(1_000);
    assert_eq!(
        world.told()[..4],
        [
            "web-1 confirmed",
            "web-1 order: restart (try 1)",
            "web-1 may have taken effect",
            "web-1 not verified"
        ]
    );
}

#[test]
fn a_relapse_on_probation_is_the_next_try_of_the_same_case() {
    let mut world = World::new(4, |_| ());
    world.set(&["web-1"], Truth::Down).run(60);
    world.told();
    world.set(&["web-1"], Truth::Down).run(40);
    assert_eq!(
        world.told()[..2],
        ["web-1 relapsed", "web-1 order: restart (try 2)"]
    );
}

#[test]
fn what_recovers_while_it_is_held_is_self_recovered() {
    let mut world = World::new(4, |service| service.autonomy = Autonomy::Observe);
    world.set(&["web-1"], Truth::Down).run(30);
    assert_eq!(
        world.told(),
        ["web-1 confirmed", "web-1 held: autonomy is `observe`"]
    );
    world.set(&["web-1"], Truth::Up).run(20);
    assert_eq!(world.told(), ["web-1 closed: self-recovered"]);
    assert!(world.given.is_empty() && world.notices.is_empty());
}

#[test]
fn propose_tells_a_person_and_touches_nothing() {
    let mut world = World::new(4, |service| service.autonomy = Autonomy::Propose);
    world.set(&["web-1"], Truth::Down).run(100);
    assert_eq!((world.given.len(), world.notices.len()), (0, 1));
    assert!(
        world.notices[0].summary.contains("proposes to restart"),
        "{:?}",
        world.notices[0]
    );
}

#[test]
fn an_approved_order_is_given_and_only_with_its_own_digest() {
    let mut world = World::new(4, |service| service.autonomy = Autonomy::Approve);
    world.set(&["web-1"], Truth::Down).run(60);
    assert_eq!(
        world.told(),
        [
            "web-1 confirmed",
            "web-1 held: waits for approval: `pitcrew approve order-1`"
        ]
    );
    let digest = world.engine.order(OrderId(1)).unwrap().order.digest.clone();
    let wrong = world.person(PersonAct::Approve {
        order: OrderId(1),
        digest: "0".repeat(16),
    });
    assert!(wrong.unwrap_err().contains("look at it again"));
    assert!(world.given.is_empty());
    world
        .person(PersonAct::Approve {
            order: OrderId(1),
            digest,
        })
        .unwrap();
    assert_eq!(
        world.given[0].authority,
        Authority::Approval {
            by: "op".to_owned()
        }
    );
    world.run(40);
    assert!(world.told().contains(&"web-1 verified".to_owned()));
}

#[test]
fn a_denied_order_is_not_given_until_the_target_recovers() {
    let mut world = World::new(4, |service| service.autonomy = Autonomy::Approve);
    world.set(&["web-1"], Truth::Down).run(60);
    world.person(PersonAct::Deny { order: OrderId(1) }).unwrap();
    world.run(300);
    assert!(world.given.is_empty());
    assert_eq!(world.phase(1), "held");
}

#[test]
fn one_order_at_a_time_in_a_service() {
    let mut world = World::new(12, |_| ());
    world.set(&["web-1", "web-2", "web-4"], Truth::Down).run(90);
    let told = world.told();
    let line = |text: &str| {
        told.iter()
            .position(|line| line.contains(text))
            .expect(text)
    };
    assert!(line("web-2 held: max_in_flight 1: 1 in flight already") < line("web-1 verified"));
    assert!(
        line("web-1 verified") < line("web-2 order")
            && line("web-2 verified") < line("web-4 order"),
        "{told:?}"
    );
}

#[test]
fn two_orders_in_one_zone_wait_for_each_other_though_the_service_has_room() {
    let mut world = World::new(12, |service| service.limits.max_in_flight = 3);
    world.set(&["web-1", "web-4", "web-2"], Truth::Down).run(90);
    let told = world.told();
    let line = |text: &str| {
        told.iter()
            .position(|line| line.contains(text))
            .expect(text)
    };
    line("web-4 held: per_domain zone 1: 1 in flight in zone=a");
    assert!(
        line("web-2 order") < line("web-1 verified")
            && line("web-1 verified") < line("web-4 order"),
        "{told:?}"
    );
}

#[test]
fn a_zone_that_fails_at_once_trips_the_breaker_and_nothing_is_restarted() {
    let mut world = World::new(15, |_| ());
    let zone: Vec<String> = (0..5).map(|n| format!("web-{}", 1 + 3 * n)).collect();
    world
        .set(
            &zone.iter().map(String::as_str).collect::<Vec<_>>(),
            Truth::Down,
        )
        .run(300);
    let told = world.told();
    assert!(
        told.iter()
            .any(|line| line == "breaker of web in zone=a trips: 5 of 5"),
        "{told:?}"
    );
    assert!(world.given.is_empty());
    assert!(
        world
            .notices
            .iter()
            .any(|notice| notice.summary.contains("web in zone=a: 5 of 5"))
    );
    // The breaker calms once what fails is no longer new; then repair goes on one by one.
    world.run(1_500);
    assert!(
        world
            .told()
            .iter()
            .any(|line| line.contains("breaker of web in zone=a releases"))
    );
    assert!(!world.given.is_empty());
}

#[test]
fn recovery_is_seen_while_a_breaker_is_open() {
    let mut world = World::new(15, |_| ());
    world
        .set(
            &["web-1", "web-4", "web-7", "web-10", "web-13"],
            Truth::Down,
        )
        .run(60);
    world.told();
    world
        .set(&["web-1", "web-4", "web-7", "web-10", "web-13"], Truth::Up)
        .run(30);
    assert_eq!(
        world
            .told()
            .iter()
            .filter(|line| line.contains("closed: self-recovered"))
            .count(),
        5
    );
}

#[test]
fn a_person_resumes_what_a_breaker_stopped() {
    let mut world = World::new(15, |service| {
        service.limits.breaker.release = Release::Manual
    });
    world
        .set(
            &["web-1", "web-4", "web-7", "web-10", "web-13"],
            Truth::Down,
        )
        .run(2_000);
    assert!(
        world.given.is_empty(),
        "a manual breaker waits for a person"
    );
    world
        .person(PersonAct::Resume {
            scope: Scope::Fleet,
        })
        .unwrap();
    world.run(3);
    assert_eq!(world.given.len(), 1);
}

#[test]
fn when_every_zone_fails_the_observer_is_suspect() {
    let mut world = World::new(6, |service| service.limits.breaker.percent = 100);
    let all: Vec<String> = (1..=6).map(|n| format!("web-{n}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    world.set(&all, Truth::Down).run(60);
    assert!(world.given.is_empty());
    assert!(
        world
            .told()
            .iter()
            .any(|line| line.contains("the observer is suspect") || line.contains("breaker of"))
    );
}

#[test]
fn an_observer_that_fails_its_control_test_justifies_nothing() {
    let mut world = World::new(4, |_| ());
    world.tell(Event::Observer {
        observer: name("local"),
        trouble: Some("its own page is refused".to_owned()),
    });
    world.set(&["web-1"], Truth::Down).run(120);
    assert!(world.given.is_empty());
    world.tell(Event::Observer {
        observer: name("local"),
        trouble: None,
    });
    world.run(30);
    assert_eq!(world.given.len(), 1);
}

#[test]
fn one_of_three_observers_alone_is_not_believed() {
    let mut world = World::new(4, |_| ());
    world.observers(&["a", "b"]);
    world.run(30);
    world.set(&["web-1"], Truth::Down);
    world.observers(&["c"]);
    // Only c sees it down; a and b go on reporting it up.
    for _ in 0..8 {
        world.run(5);
        let (truth, down) = (Truth::Up, Truth::Down);
        world.observers(&["a", "b"]);
        world.set(&["web-1"], truth);
        let seen = world.ask(&name("web-1"), &name("answers"));
        world.tell(Event::Observations(seen));
        world.observers(&["c"]);
        world.set(&["web-1"], down);
    }
    assert!(world.given.is_empty(), "{:?}", world.told());
}

#[test]
fn a_flapping_target_is_a_persons_business() {
    let mut world = World::new(4, |_| ());
    for _ in 0..12 {
        world.set(&["web-1"], Truth::Down).run(5);
        world.set(&["web-1"], Truth::Up).run(5);
    }
    let told = world.told();
    assert!(
        told.iter()
            .any(|line| line.contains("web-1 handed over") && line.contains("flaps")),
        "{told:?}"
    );
    assert!(world.given.is_empty());
    world.run(300);
    assert_eq!(world.told(), ["web-1 closed: handed over"]);
}

#[test]
fn a_target_rests_after_a_case_and_longer_each_time() {
    let mut world = World::new(8, |service| {
        service.limits.probation = Duration::from_secs(20);
        service.limits.lemon.cases = 10;
    });
    world.set(&["web-1"], Truth::Down).run(100);
    assert_eq!(world.told().last().unwrap(), "web-1 closed: cured");
    world.set(&["web-1"], Truth::Down).run(60);
    assert!(
        world
            .told()
            .iter()
            .any(|line| line.contains("held: cooldown"))
    );
    assert_eq!(world.given.len(), 1);
    world.run(600);
    assert_eq!(world.given.len(), 2);
}

#[test]
fn the_third_case_in_a_week_makes_a_lemon() {
    let mut world = World::new(8, |service| {
        service.limits.probation = Duration::from_secs(20);
        service.limits.cooldown = Duration::ZERO;
    });
    for _ in 0..2 {
        world.set(&["web-1"], Truth::Down).run(200);
    }
    assert_eq!(world.given.len(), 2);
    world.told();
    world.set(&["web-1"], Truth::Down).run(200);
    assert!(
        world
            .told()
            .iter()
            .any(|line| line.contains("handed over") && line.contains("lemon: 3 cases"))
    );
    assert_eq!(world.given.len(), 2);
}

#[test]
fn a_degraded_last_one_is_never_restarted() {
    let mut world = World::new(2, |service| {
        service.tests.push(world::test("lag", Proves::Degraded));
        service.repairs[0].when.push(name("lag"));
    });
    world.set(&["web-2"], Truth::Down);
    world.orders_do(Cure::DoesNotHelp);
    world
        .ailing
        .insert((name("web-1"), name("lag")), Truth::Down);
    world.run(300);
    let told = world.told();
    assert!(
        world
            .given
            .iter()
            .all(|order| order.target.id.as_str() == "web-2"),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|line| line.contains("web-1 held: never the last one: 0 of 2")),
        "{told:?}"
    );
}

#[test]
fn repairing_what_is_down_costs_nothing_even_when_it_is_the_only_one() {
    let mut world = World::new(1, |_| ());
    world.set(&["web-1"], Truth::Down).run(40);
    assert!(world.told().contains(&"web-1 verified".to_owned()));
}

#[test]
fn a_degraded_target_waits_for_room_in_max_unavailable() {
    let mut world = World::new(4, |service| {
        service.tests.push(world::test("lag", Proves::Degraded));
        service.repairs[0].when.push(name("lag"));
        service.limits.max_in_flight = 4;
        service.limits.per_domain = vec![("zone".to_owned(), 4)];
    });
    world.orders_do(Cure::DoesNotHelp);
    world.set(&["web-2"], Truth::Down);
    world
        .ailing
        .insert((name("web-1"), name("lag")), Truth::Down);
    world.run(30);
    let told = world.told();
    assert!(
        told.iter()
            .any(|line| line.contains("web-1 held: max_unavailable 1: 2 of 4")),
        "{told:?}"
    );
}

#[test]
fn the_rate_of_a_service_holds() {
    let mut world = World::new(40, |service| {
        service.limits.rate.count = 2;
        service.limits.breaker.count = 100;
    });
    world
        .set(&["web-1", "web-2", "web-3"], Truth::Down)
        .run(300);
    assert_eq!(world.given.len(), 2);
    assert!(
        world
            .told()
            .iter()
            .any(|line| line.contains("web-3 held: rate 2/h is used up until"))
    );
    world.run(3_600);
    assert_eq!(world.given.len(), 3);
}

#[test]
fn the_fleet_brake_stays_on_until_a_person_releases_it() {
    let mut production = world::production(vec![world::web()]);
    production.limits.fleet_rate = Rate {
        count: 1,
        per: Duration::from_secs(60),
    };
    let mut world = World::of(production, world::targets("web", 8, &["a", "b", "c"]));
    world.run(20);
    world.set(&["web-1", "web-2"], Truth::Down).run(600);
    assert_eq!(world.given.len(), 1);
    assert!(
        world
            .told()
            .iter()
            .any(|line| line.contains("web-2 held: fleet brake"))
    );
    world
        .person(PersonAct::Resume {
            scope: Scope::Fleet,
        })
        .unwrap();
    world.run(10);
    assert_eq!(world.given.len(), 2);
}

#[test]
fn a_pause_stops_new_orders_and_nothing_else() {
    let mut world = World::new(4, |_| ());
    let why = "deploy".to_owned();
    world
        .person(PersonAct::Pause {
            scope: Scope::Service(name("web")),
            why,
        })
        .unwrap();
    world.set(&["web-1"], Truth::Down).run(60);
    assert_eq!(
        world.told(),
        ["web-1 confirmed", "web-1 held: web is paused by op: deploy"]
    );
    world
        .person(PersonAct::Resume {
            scope: Scope::Service(name("web")),
        })
        .unwrap();
    world.run(40);
    assert!(world.told().contains(&"web-1 verified".to_owned()));
}

#[test]
fn a_held_target_is_left_alone_until_the_hold_expires() {
    let mut world = World::new(4, |_| ());
    let until = world.now + Duration::from_secs(120);
    world
        .person(PersonAct::Hold {
            target: name("web-1"),
            until,
            why: "debugging".to_owned(),
        })
        .unwrap();
    world.set(&["web-1"], Truth::Down).run(100);
    assert!(world.given.is_empty());
    world.run(60);
    assert_eq!(world.given.len(), 1);
}

#[test]
fn a_window_makes_autonomy_more_careful_and_ends() {
    let mut world = World::new(4, |service| {
        service.windows.push(Window {
            name: "freeze".to_owned(),
            from: Timestamp::from_millis(world::START),
            to: Timestamp::from_millis(world::START + 100_000),
            autonomy: Autonomy::Observe,
        });
    });
    world.set(&["web-1"], Truth::Down).run(60);
    assert_eq!(
        world.told(),
        [
            "web-1 confirmed",
            "web-1 held: autonomy is `observe` in window `freeze`"
        ]
    );
    world.run(60);
    assert_eq!(world.given.len(), 1);
}

#[test]
fn a_persons_order_goes_through_the_same_limits() {
    let mut world = World::new(1, |_| ());
    let order = || PersonAct::Order {
        target: name("web-1"),
        action: Action::Restart,
        why: "leak".to_owned(),
    };
    assert!(
        world
            .person(order())
            .unwrap_err()
            .contains("never the last one")
    );
    let mut world = World::new(4, |_| ());
    world.person(order()).unwrap();
    assert!(
        world
            .person(order())
            .unwrap_err()
            .contains("one order at a time")
    );
    world.run(90);
    assert!(world.told().iter().all(|line| !line.contains("confirmed")));
    world.person(order()).unwrap();
}

#[test]
fn an_operators_stop_is_respected_until_it_is_started() {
    let mut world = World::new(4, |_| ());
    world
        .person(PersonAct::Order {
            target: name("web-1"),
            action: Action::Stop,
            why: "maintenance".to_owned(),
        })
        .unwrap();
    world
        .orders_do(Cure::DoesNotHelp)
        .set(&["web-1"], Truth::Down)
        .run(600);
    assert_eq!(world.given.len(), 1, "{:?}", world.told());
    world.restart();
    world.run(300);
    assert_eq!(world.given.len(), 1);
    world.orders_do(Cure::Cures);
    world
        .person(PersonAct::Order {
            target: name("web-1"),
            action: Action::Start,
            why: String::new(),
        })
        .unwrap();
    world.run(100);
    let health = world.engine.target(world.now, &name("web-1")).unwrap();
    assert!(health.hold.is_none());
}

#[test]
fn without_a_ledger_nothing_is_given_and_testing_goes_on() {
    let mut world = World::new(4, |_| ());
    world.ledger_works = false;
    world.set(&["web-1"], Truth::Down).run(60);
    assert!(world.given.is_empty());
    world.ledger_works = true;
    world.tell(Event::LedgerRecovered);
    world.run(40);
    assert_eq!(world.given.len(), 1);
    assert_eq!(
        world.given[0].attempt, 1,
        "an order that never left is no try"
    );
}

#[test]
fn after_kill_9_an_order_without_outcome_is_found_out_about_and_not_repeated() {
    let mut world = World::new(4, |_| ());
    world
        .orders_do(Cure::Vanishes)
        .set(&["web-1"], Truth::Down)
        .run(20);
    assert_eq!(world.given.len(), 1);
    world.restart();
    let lost = world.engine.orders_in_flight();
    assert_eq!(lost.len(), 1);
    world.run(60);
    assert_eq!(
        world.given.len(),
        1,
        "nothing is repeated while the outcome is unknown"
    );
    world.set(&["web-1"], Truth::Up);
    let outcome = Outcome {
        order: lost[0].id,
        kind: OutcomeKind::Unknown,
        at: world.now,
        detail: "restarted".to_owned(),
    };
    world.tell(Event::Outcome(outcome));
    world.run(30);
    assert!(world.told().contains(&"web-1 verified".to_owned()));
    assert_eq!(world.given.len(), 1);
}

#[test]
fn a_restart_keeps_cases_holds_pauses_rates_and_cooldowns() {
    let mut world = World::new(8, |service| service.limits.rate.count = 1);
    world.set(&["web-1"], Truth::Down).run(60);
    let until = world.now + Duration::from_secs(7_200);
    world
        .person(PersonAct::Hold {
            target: name("web-2"),
            until,
            why: "mine".to_owned(),
        })
        .unwrap();
    world.restart();
    world.run(30);
    world.told();
    world.set(&["web-2", "web-3"], Truth::Down).run(100);
    let told = world.told();
    assert!(
        told.iter()
            .any(|line| line.contains("web-2 held: held by op")),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|line| line.contains("web-3 held: rate 1/h")),
        "{told:?}"
    );
    assert_eq!(world.given.len(), 1);
    assert_eq!(world.phase(1), "probation");
}

#[test]
fn nothing_is_concluded_from_answers_before_a_pause() {
    let mut world = World::new(4, |_| ());
    world.set(&["web-1"], Truth::Down).run(10);
    world.now = world.now + Duration::from_secs(3_600);
    world.tell(Event::Woke {
        paused_for: Duration::from_secs(3_600),
    });
    world.set(&["web-1"], Truth::Up).run(30);
    assert!(world.given.is_empty());
}

#[test]
fn a_reload_never_forgets_an_open_case() {
    let mut world = World::new(4, |service| service.autonomy = Autonomy::Observe);
    world.set(&["web-1"], Truth::Down).run(30);
    world.told();
    let mut production = world.production.clone();
    let mut service = (*production.services[0]).clone();
    service.autonomy = Autonomy::Act;
    production.services = vec![service.into()];
    world.tell(Event::Production(production.into()));
    world.run(5);
    assert_eq!(world.told()[0], "web-1 order: restart (try 1)");
}

#[test]
fn a_target_that_leaves_its_service_has_its_case_superseded() {
    let mut world = World::new(4, |service| service.autonomy = Autonomy::Observe);
    world.set(&["web-1"], Truth::Down).run(30);
    world.told();
    world.gone("web-1");
    assert_eq!(world.told(), ["web-1 closed: superseded"]);
}

#[test]
fn the_same_input_again_changes_nothing() {
    let mut world = World::new(4, |service| service.autonomy = Autonomy::Observe);
    world.set(&["web-1"], Truth::Down).run(30);
    world.told();
    let production = world.production.clone();
    let saved = world.saved.clone();
    world.tell(Event::Production(production.into()));
    let all = world::targets("web", 4, &["a", "b", "c"]);
    world.tell(Event::Targets {
        upserted: all,
        removed: Vec::new(),
    });
    world.run(30);
    assert!(world.told().is_empty());
    assert_eq!(world.saved, saved);
}
