//! The engine's own guards, with nobody behind it: no interlock is asked in any of these.

#![expect(
    clippy::unwrap_used,
    reason = "a broken test world should stop the test"
)]

mod world;

use std::time::Duration;

use pitcrew_model::*;
use world::{Cure, Truth, World, name};

/// Four web targets on two hosts, in four zones; nobody judges.
fn alone() -> World {
    let mut hosts = world::web();
    hosts.name = name("host");
    hosts.select = Selector(Labels::new([("service", "host")]).unwrap());
    let mut web = world::web();
    web.tests.push(world::test("lag", Proves::Degraded));
    web.repairs[0].when.push(name("lag"));
    let production = world::production(vec![web, hosts]);
    let mut targets = world::targets("host", 4, &["h", "i", "j", "k"]);
    for (at, target) in world::targets("web", 4, &["a", "b", "c", "d"])
        .into_iter()
        .enumerate()
    {
        let mut target = (*target).clone();
        target.run_on = Some(name(if at < 2 { "host-1" } else { "host-2" }));
        targets.push(target.into());
    }
    let mut world = World::of(production, targets);
    world.judged = false;
    world.run(20);
    world.story.clear();
    world
}

/// After `setup`, an order on web-1, which is down, is held by the limit of that name.
fn check(expected: &str, setup: impl FnOnce(&mut World)) {
    let mut world = alone();
    setup(&mut world);
    world.set(&["web-1"], Truth::Down).run(18);
    let phase = world.case_of("web-1").phase.clone();
    let held_by = match &phase {
        Phase::Held(hold) => hold.name(),
        _ => phase.name(),
    };
    assert_eq!(held_by, expected, "{:#?}", world.story);
}

/// web-1 is not down but ill: repairing it costs its capacity.
fn ill(world: &mut World) {
    world
        .ailing
        .insert((name("web-1"), name("answers")), Truth::Up);
    world
        .ailing
        .insert((name("web-1"), name("lag")), Truth::Down);
}

fn roomy(world: &mut World) {
    world.reload(|services| {
        for service in services {
            service.limits.max_in_flight = 10;
            service.limits.per_domain = vec![("zone".to_owned(), 10)];
            service.limits.max_unavailable = Count::Percent(100);
        }
    });
}

fn held(target: &str) -> PersonAct {
    PersonAct::Hold {
        target: name(target),
        until: Timestamp::from_millis(world::START) + Duration::from_secs(600),
        why: "mine".to_owned(),
    }
}

fn paused(scope: Scope) -> PersonAct {
    let why = "deploy".to_owned();
    PersonAct::Pause { scope, why }
}

#[test]
fn nothing_holds_a_sound_order() {
    check("probation", |_| ());
}

#[test]
fn invariant_1_a_host_and_what_runs_on_it_conflict() {
    let mut world = alone();
    roomy(&mut world);
    world.order("host-1", Action::Restart).unwrap();
    let refused = world.order("web-1", Action::Start).unwrap_err();
    assert!(refused.contains("one order at a time"), "{refused}");

    let mut world = alone();
    roomy(&mut world);
    world.orders_do(Cure::Vanishes);
    world.set(&["web-1"], Truth::Down).run(18);
    let refused = world.order("host-1", Action::Start).unwrap_err();
    assert!(refused.contains("one order at a time"), "{refused}");
}

#[test]
fn invariant_2_nothing_new_without_a_ledger() {
    check("ledger_unwritable", |world| {
        world.tell(Event::LedgerFailed {
            not_given: Vec::new(),
            error: "disk full".to_owned(),
        });
    });
}

#[test]
fn invariant_3_in_flight_and_unavailable_are_counted() {
    check("max_in_flight", |world| {
        world.order("web-3", Action::Restart).unwrap();
    });
    check("per_domain", |world| {
        world.reload(|services| {
            services[0].limits.max_in_flight = 10;
            services[0].domains = vec!["service".to_owned()];
        });
        world.order("web-3", Action::Restart).unwrap();
    });
    check("max_unavailable", |world| {
        ill(world);
        world.set(&["web-3"], Truth::Silent).run(20);
    });
    check("max_unavailable", |world| {
        ill(world);
        world.person(held("web-3")).unwrap();
    });
}

#[test]
fn invariant_3_unknown_justifies_nothing() {
    let mut world = alone();
    world.set(&["web-1"], Truth::Down);
    let pause = paused(Scope::Fleet);
    world.person(pause).unwrap();
    world.run(20);
    world.set(&["web-1"], Truth::Silent).run(60);
    let scope = Scope::Fleet;
    world.person(PersonAct::Resume { scope }).unwrap();
    world.run(5);
    assert!(
        world.tells("web-1 held: quorum: 0 of 1"),
        "{:#?}",
        world.story
    );
    assert!(world.given.is_empty());
}

#[test]
fn invariant_4_never_the_last_one() {
    check("last_healthy", |world| {
        ill(world);
        world.reload(|services| services[0].limits.max_unavailable = Count::Targets(4));
        world
            .set(&["web-2", "web-3", "web-4"], Truth::Silent)
            .run(20);
    });
}

#[test]
fn invariant_6_what_may_have_taken_effect_is_not_repeated() {
    let mut world = alone();
    world.orders_do(Cure::Vanishes);
    world.set(&["web-1"], Truth::Down).run(60);
    world.restart();
    world.run(600);
    assert_eq!(world.given.len(), 1, "{:#?}", world.story);
}

#[test]
fn invariant_8_what_an_order_does_to_its_target_and_its_guests_is_no_case() {
    let mut world = alone();
    roomy(&mut world);
    world.orders_do(Cure::DoesNotHelp);
    world.order("host-1", Action::Restart).unwrap();
    world.set(&["host-1", "web-1", "web-2"], Truth::Down);
    world.run(50);
    world.set(&["host-1", "web-1", "web-2"], Truth::Up);
    world.run(100);
    assert_eq!(world.engine.cases().count(), 0, "{:#?}", world.story);
}

#[test]
fn invariant_9_and_10_breakers_and_suspect_observers() {
    check("suspected", |world| {
        world.tell(Event::Observer {
            observer: name("local"),
            trouble: Some("its own page is refused".to_owned()),
        });
        world.set(&["web-1"], Truth::Up);
        world.tell(Event::Observer {
            observer: name("local"),
            trouble: None,
        });
        world.set(&["web-1"], Truth::Down).run(6);
        world.tell(Event::Observer {
            observer: name("local"),
            trouble: Some("its own page is refused".to_owned()),
        });
    });
    check("observer_suspect", |world| {
        let pause = paused(Scope::Fleet);
        world.person(pause).unwrap();
        world.set(&["web-1"], Truth::Down).run(20);
        world.tell(Event::Observer {
            observer: name("local"),
            trouble: Some("its own page is refused".to_owned()),
        });
        let scope = Scope::Fleet;
        world.person(PersonAct::Resume { scope }).unwrap();
    });
    check("breaker", |world| {
        world.reload(|services| services[0].limits.breaker.count = 2);
        world.set(&["web-3"], Truth::Down);
    });
}

#[test]
fn invariant_10_a_mass_relapse_trips_the_breaker_as_a_mass_failure_does() {
    let mut world = World::new(40, |service| {
        service.limits.max_in_flight = 10;
        service.limits.per_domain = vec![("zone".to_owned(), 10)];
        service.limits.rate.count = 100;
        service.limits.breaker.percent = 10;
        service.limits.probation = Duration::from_secs(86_400);
        service.limits.max_unavailable = Count::Percent(90);
    });
    let ids: Vec<String> = (1..=5).map(|n| format!("web-{n}")).collect();
    for id in &ids {
        world.set(&[id], Truth::Down).run(660);
    }
    assert_eq!(world.given.len(), 5);
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.judged = false;
    world.set(&ids, Truth::Down).run(60);
    assert!(world.tells("breaker of web trips"), "{:#?}", world.story);
}

#[test]
fn invariant_11_rates_and_the_fleet_brake() {
    let one_before = |world: &mut World| {
        world.order("web-3", Action::Restart).unwrap();
        world.run(100);
    };
    check("rate", |world| {
        world.reload(|services| services[0].limits.rate.count = 1);
        one_before(world);
    });
    check("fleet_rate", |world| {
        world.production.limits.fleet_rate.count = 1;
        world.reload(|_| ());
        one_before(world);
        world.run(3_700);
    });
    check("fleet_rate", |world| {
        world.production.limits.fleet_rate.count = 1;
        world.reload(|_| ());
        one_before(world);
        world.restart();
    });
}

#[test]
fn invariant_12_an_order_expires_and_carries_the_current_fence() {
    let mut world = alone();
    world.restart();
    world.set(&["web-1"], Truth::Down).run(18);
    let order = &world.given[0];
    assert_eq!(order.fence, 2);
    assert_eq!(order.expires_at, order.given_at + Order::EXPIRY);
}

#[test]
fn invariant_14_what_a_person_has_is_left_alone() {
    let domain = |value: &str| Scope::Domain {
        service: name("web"),
        label: "zone".to_owned(),
        value: value.to_owned(),
    };
    check("held_by_person", |world| {
        world.person(held("web-1")).unwrap();
    });
    check("held_by_person", |world| {
        world.person(held("host-1")).unwrap();
    });
    check("held_by_person", |world| {
        world.order("web-1", Action::Stop).unwrap();
        world.run(100);
    });
    for scope in [Scope::Fleet, Scope::Service(name("web")), domain("a")] {
        check("paused", |world| world.person(paused(scope)).unwrap());
    }
    check("probation", |world| {
        world.person(paused(domain("b"))).unwrap();
    });
    check("autonomy", |world| {
        world.reload(|services| services[0].autonomy = Autonomy::Observe);
    });
    check("awaiting_approval", |world| {
        world.reload(|services| services[0].autonomy = Autonomy::Approve);
    });
}

#[test]
fn invariant_14_a_stop_is_not_ended_by_a_hold_nor_taken_for_one() {
    let mut world = alone();
    world.order("web-1", Action::Stop).unwrap();
    world.run(2);
    let refused = world.person(held("web-1")).unwrap_err();
    assert!(refused.contains("was stopped by op"), "{refused}");

    let mut world = alone();
    let PersonAct::Hold { target, until, .. } = held("web-1") else {
        unreachable!()
    };
    let why = "stopped the traffic to it".to_owned();
    world
        .person(PersonAct::Hold { target, until, why })
        .unwrap();
    let refused = world.order("web-1", Action::Restart).unwrap_err();
    assert!(refused.contains("held by op"), "{refused}");
}

#[test]
fn invariant_14_a_stop_that_never_left_holds_nothing() {
    let mut world = alone();
    world.ledger_works = false;
    world.order("web-1", Action::Stop).unwrap();
    world.ledger_works = true;
    world.tell(Event::LedgerRecovered);
    world.set(&["web-1"], Truth::Down).run(30);
    assert!(world.tells("web-1 verified"), "{:#?}", world.story);
}

#[test]
fn invariant_15_a_persons_lost_order_gives_no_further_try() {
    let mut world = alone();
    world.orders_do(Cure::DoesNotHelp);
    world.set(&["web-1"], Truth::Down).run(200);
    assert!(world.tells("handed over"), "{:#?}", world.story);
    let before = world.case_of("web-1").progress.clone();
    world.ledger_works = false;
    world.order("web-1", Action::Restart).unwrap();
    assert_eq!(world.case_of("web-1").progress, before);
    world.ledger_works = true;
    world.tell(Event::LedgerRecovered);
    world.run(100);
    assert_eq!(world.given.len(), 2);
}

#[test]
fn invariant_15_a_lemon_is_a_persons_business() {
    check("handed_over", |world| {
        world.reload(|services| {
            services[0].limits.lemon.cases = 2;
            services[0].limits.cooldown = Duration::ZERO;
            services[0].limits.probation = Duration::from_secs(10);
        });
        world.set(&["web-1"], Truth::Down).run(90);
    });
    check("cooldown", |world| {
        world.reload(|services| services[0].limits.probation = Duration::from_secs(10));
        world.set(&["web-1"], Truth::Down).run(90);
    });
}

#[test]
fn a_breaker_also_spares_a_person_the_calls_for_what_has_no_repair() {
    let mut world = World::new(15, |service| service.repairs.clear());
    let down = ["web-1", "web-4", "web-7", "web-10", "web-13"];
    world.set(&down, Truth::Down).run(100);
    assert!(
        world.notices.iter().all(|notice| notice.case.is_none()),
        "{:#?}",
        world.notices
    );
}

#[test]
fn invariant_13_only_answers_to_questions_put_after_the_outcome_prove_anything() {
    let mut world = alone();
    world.orders_do(Cure::Vanishes);
    world.set(&["web-1"], Truth::Down).run(18);
    let asked_at = world.now;
    world.now = world.now + Duration::from_millis(900);
    let outcome = Outcome {
        order: world.given[0].id,
        kind: OutcomeKind::Done,
        at: world.now,
        detail: String::new(),
    };
    // Straight to the engine: what it asks for now is not answered yet.
    let outcome = Event::Outcome(outcome);
    world
        .engine
        .handle(world.now, outcome, &mut |_, _| Vec::new());
    world.set(&["web-1"], Truth::Up);
    for late_ms in [100, 200, 300] {
        let mut seen = world.ask(&name("web-1"), &name("answers"));
        seen.extend(world.ask(&name("web-1"), &name("lag")));
        for seen in &mut seen {
            seen.asked_at = asked_at + Duration::from_millis(late_ms);
        }
        world.tell(Event::Observations(seen));
    }
    assert_eq!(world.case_of("web-1").phase.name(), "verifying");
}
