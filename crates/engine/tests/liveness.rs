//! Nothing waits for ever: whatever happens beside an order, a case goes on, or a person has it.

#![expect(
    clippy::unwrap_used,
    reason = "a broken test world should stop the test"
)]

mod world;

use std::time::Duration;

use pitcrew_model::*;
use world::{Cure, Truth, World, name};

/// web-1 is down, restarted and being verified; the restart did not help.
fn verifying(count: usize) -> World {
    let mut world = World::new(count, |service| service.limits.breaker.count = 100);
    world
        .orders_do(Cure::DoesNotHelp)
        .set(&["web-1"], Truth::Down)
        .run(20);
    assert_eq!(world.case_of("web-1").phase.name(), "verifying");
    world
}

#[test]
fn a_target_that_goes_while_its_order_is_verified_does_not_block_its_service() {
    let mut world = verifying(4);
    world.gone("web-1");
    world.orders_do(Cure::Cures).set(&["web-2"], Truth::Down);
    world.run(120);
    assert!(world.tells("web-2 verified"), "{:#?}", world.story);
    assert_eq!(world.engine.orders_in_flight().len(), 0);
}

#[test]
fn an_outcome_of_a_clock_that_is_ahead_is_verified_all_the_same() {
    let mut world = World::new(4, |_| ());
    world
        .orders_do(Cure::Vanishes)
        .set(&["web-1"], Truth::Down)
        .run(20);
    let order = world.given[0].id;
    world.set(&["web-1"], Truth::Up);
    let at = world.now + Duration::from_secs(3_600);
    world.tell(Event::Outcome(Outcome {
        order,
        kind: OutcomeKind::Done,
        at,
        detail: "done".to_owned(),
    }));
    world.run(20);
    assert!(world.tells("web-1 verified"), "{:#?}", world.story);
    assert_eq!(world.case_of("web-1").phase.name(), "probation");
}

#[test]
fn a_service_that_is_renamed_while_an_order_is_verified_goes_on_under_its_limits() {
    let mut world = verifying(4);
    world.set(&["web-2"], Truth::Down);
    world.reload(|services| services[0].name = name("shop"));
    world.judged = false;
    world.run(18);
    assert!(
        world.tells("web-2 held: max_in_flight 1: 1 in flight"),
        "{:#?}",
        world.story
    );
    world.orders_do(Cure::Cures).run(120);
    assert!(world.tells("web-2 verified"), "{:#?}", world.story);
}

#[test]
fn an_outcome_before_its_target_is_found_again_leaves_no_case_behind() {
    for kind in [OutcomeKind::Unknown, OutcomeKind::Failed] {
        let mut world = World::new(4, |_| ());
        world
            .orders_do(Cure::Vanishes)
            .set(&["web-1"], Truth::Down)
            .run(20);
        let target = world.given[0].target.clone();
        world.gone_at_restart("web-1");
        world.restart();
        world.outcome(world.given[0].id, kind);
        world.run(100);
        world.orders_do(Cure::Cures).found(vec![target]);
        world.run(200);
        assert!(
            world.tells("web-1 order: restart (try 2)"),
            "{:#?}",
            world.story
        );
        assert_eq!(world.case_of("web-1").phase.name(), "probation");
    }
}

#[test]
fn an_order_on_a_target_not_yet_found_again_still_counts() {
    let mut world = World::new(12, |_| ());
    world
        .orders_do(Cure::Vanishes)
        .set(&["web-1"], Truth::Down)
        .run(20);
    world.gone_at_restart("web-1");
    world.restart();
    world.judged = false;
    world.set(&["web-2"], Truth::Down).run(60);
    assert!(
        world.tells("web-2 held: max_in_flight 1: 1 in flight already"),
        "{:#?}",
        world.story
    );
}

#[test]
fn a_persons_order_that_fails_leaves_the_case_with_the_person() {
    let mut world = World::new(4, |service| service.repairs.clear());
    world.set(&["web-1"], Truth::Down).run(30);
    assert!(world.tells("handed over"));
    world.orders_do(Cure::Fails);
    world.order("web-1", Action::Restart).unwrap();
    world.run(5);
    assert!(matches!(
        world.case_of("web-1").phase,
        Phase::Held(Hold::HandedOver { .. })
    ));
    world.restart();
    world.set(&["web-1"], Truth::Up).run(60);
    assert!(
        world.tells("web-1 closed: handed over"),
        "{:#?}",
        world.story
    );
}

#[test]
fn a_denied_order_is_not_asked_for_again_when_other_orders_end() {
    let mut world = World::new(8, |service| service.autonomy = Autonomy::Approve);
    world.set(&["web-1"], Truth::Down).run(30);
    world.person(PersonAct::Deny { order: OrderId(1) }).unwrap();
    world.order("web-2", Action::Restart).unwrap();
    world.run(120);
    world.restart();
    world.run(120);
    assert!(matches!(
        world.case_of("web-1").phase,
        Phase::Held(Hold::Denied { .. })
    ));
    assert_eq!(world.notices.len(), 1);
}

#[test]
fn an_approval_is_asked_for_once_however_often_something_else_holds_it() {
    let mut world = World::new(8, |service| service.autonomy = Autonomy::Approve);
    world.set(&["web-1"], Truth::Down).run(30);
    for _ in 0..3 {
        let (scope, why) = (Scope::Fleet, "deploy".to_owned());
        let pause = PersonAct::Pause {
            scope: scope.clone(),
            why,
        };
        world.person(pause).unwrap();
        world.reload(|_| ());
        world.run(20);
        assert!(matches!(
            world.case_of("web-1").phase,
            Phase::Held(Hold::Paused { .. })
        ));
        world.person(PersonAct::Resume { scope }).unwrap();
        world.run(20);
    }
    let pending: Vec<OrderId> = world.engine.orders().map(|state| state.order.id).collect();
    assert_eq!(pending, [OrderId(1)]);
}

#[test]
fn an_approval_outlives_a_restart() {
    let mut world = World::new(8, |service| service.autonomy = Autonomy::Approve);
    world.order("web-2", Action::Restart).unwrap();
    world.set(&["web-1"], Truth::Down).run(30);
    let pending = world.engine.orders().last().unwrap().order.clone();
    world.order("web-3", Action::Restart).ok();
    let (order, digest) = (pending.id, pending.digest);
    world.person(PersonAct::Approve { order, digest }).unwrap();
    assert!(
        world.tells("web-1 held: max_in_flight"),
        "{:#?}",
        world.story
    );
    world.restart();
    world.run(200);
    assert!(
        world.tells("web-1 order: restart (try 1)"),
        "{:#?}",
        world.story
    );
    let saved = world.saved.values().filter(|row| !row.is_spent());
    let left = saved.filter(|row| matches!(row, Saved::Order(_))).count();
    assert_eq!(left, 0, "no order waits for anybody any more");
}

#[test]
fn a_step_of_the_clock_by_years_does_not_hold_a_probation_for_years() {
    let mut world = World::new(4, |_| ());
    world.set(&["web-1"], Truth::Down).run(60);
    assert_eq!(world.case_of("web-1").phase.name(), "probation");
    let paused_for = Duration::from_secs(50 * 365 * 86_400);
    world.now = world.now + paused_for;
    world.tell(Event::Woke { paused_for });
    world.run(1_900);
    assert!(world.tells("web-1 closed: cured"), "{:#?}", world.story);
}

#[test]
fn an_observer_that_goes_away_while_it_sees_a_failure_keeps_nothing_up() {
    let mut world = World::new(2, |service| service.autonomy = Autonomy::Observe);
    world.observers(&["local", "elsewhere"]);
    world.set(&["web-1"], Truth::Down).run(40);
    assert!(world.tells("web-1 confirmed"));
    world.observers(&["local"]);
    world.set(&["web-1"], Truth::Up).run(60);
    assert!(
        world.tells("web-1 closed: self-recovered"),
        "{:#?}",
        world.story
    );
    let status = world.engine.service(world.now, &name("web")).unwrap();
    assert_eq!(status.healthy, 2);
}

#[test]
fn a_host_that_is_released_frees_what_runs_on_it() {
    let mut world = on_a_host();
    let until = world.now + Duration::from_secs(86_400);
    let (target, why) = (name("host-1"), "disk".to_owned());
    let hold = PersonAct::Hold { target, until, why };
    world.person(hold).unwrap();
    world.set(&["web-1"], Truth::Down).run(60);
    assert!(world.tells("web-1 held: held by op"), "{:#?}", world.story);
    let target = name("host-1");
    world.person(PersonAct::Release { target }).unwrap();
    world.run(5);
    assert!(world.tells("web-1 order"), "{:#?}", world.story);
}

/// web-1 and web-2 on host-1, web-3 and web-4 on host-2.
fn on_a_host() -> World {
    let mut hosts = world::web();
    hosts.name = name("host");
    hosts.select = Selector(Labels::new([("service", "host")]).unwrap());
    let production = world::production(vec![world::web(), hosts]);
    let mut targets = world::targets("host", 2, &["a", "b"]);
    for (at, target) in world::targets("web", 4, &["a", "b", "c", "d"])
        .into_iter()
        .enumerate()
    {
        let mut target = (*target).clone();
        target.run_on = Some(name(if at < 2 { "host-1" } else { "host-2" }));
        targets.push(target.into());
    }
    let mut world = World::of(production, targets);
    world.run(20);
    world
}

#[test]
fn an_observer_under_suspicion_suspects_on_and_forgets_nothing() {
    let mut world = World::new(4, |_| ());
    world.set(&["web-1"], Truth::Down).run(6);
    world.tell(Event::Observer {
        observer: name("local"),
        trouble: Some("its own page is refused".to_owned()),
    });
    world.run(60);
    assert!(
        !world.tells("closed: false alarm"),
        "no trusted answer said that it passes: {:#?}",
        world.story
    );
}

#[test]
fn one_flapping_observer_of_three_does_not_take_the_repair_away() {
    let mut world = World::new(4, |_| ());
    world.observers(&["a", "b"]);
    for round in 0..12 {
        world.set(&["web-1"], Truth::Up).run(5);
        let truth = if round % 2 == 0 {
            Truth::Down
        } else {
            Truth::Up
        };
        world.set(&["web-1"], truth).observers(&["c"]);
        let seen = world.ask(&name("web-1"), &name("answers"));
        world.tell(Event::Observations(seen));
        world.observers(&["a", "b"]);
    }
    world.observers(&["a", "b", "c"]);
    world.set(&["web-1"], Truth::Down).run(25);
    assert!(world.tells("web-1 order: restart"), "{:#?}", world.story);
}

#[test]
fn what_failed_everywhere_long_ago_is_not_new_any_more() {
    let mut world = World::new(9, |service| {
        service.limits.breaker.percent = 100;
        service.limits.rate.count = 100;
    });
    // The fleet's own breaker has the default rule: only the suspicion of the observer is looked at.
    let mut others = world::targets("other", 60, &["z"]);
    world.found(std::mem::take(&mut others));
    world
        .set(
            &["web-1", "web-2", "web-3", "web-4", "web-5", "web-6"],
            Truth::Down,
        )
        .run(60);
    assert!(
        world.tells("most targets of web fail in every zone at once"),
        "{:#?}",
        world.story
    );
    world.run(1_800);
    assert!(!world.given.is_empty(), "{:#?}", world.story);
}

#[test]
fn what_no_limit_counts_any_more_is_forgotten() {
    let mut world = World::new(4, |service| {
        service.limits.lemon.within = Duration::from_secs(3_600);
        service.limits.probation = Duration::from_secs(10);
    });
    world.set(&["web-1"], Truth::Down).run(100);
    let kept = |world: &World| {
        let rows = world.saved.values().filter(|row| !row.is_spent());
        rows.filter(|row| matches!(row, Saved::Memory { .. }))
            .count()
    };
    assert_eq!(kept(&world), 1);
    world.gone("web-1");
    world.run(8 * 3_600);
    world.set(&["web-2"], Truth::Down).run(100);
    assert_eq!(kept(&world), 1, "web-2 only");
}
