//! What observers leave unsaid: a world that hears every answer and one that hears only of what changed decide the
//! same, and silence about changes never repairs anything.

mod world;

use std::time::Duration;

use pitcrew_model::*;
use proptest::prelude::*;
use world::{Cure, Truth, World, name, production, targets, test, web};

const TARGETS: usize = 9;

/// Two tests, three observers, small limits; `sparse`: observers only report what is not steady.
fn world(sparse: bool) -> World {
    let mut service = web();
    service.tests = vec![
        test("answers", Proves::Down),
        test("connects", Proves::Down),
        test("disk", Proves::Degraded),
    ];
    let mut world = World::of(
        production(vec![service]),
        targets("web", TARGETS, &["a", "b", "c"]),
    );
    world.observers(&["north", "south", "west"]);
    world.sparse = sparse;
    world.run(300);
    world
}

#[derive(Clone, Debug)]
enum Change {
    Set(usize, Truth),
    /// As one observer sees it.
    SeenBy(usize, usize, Truth),
    Disk(usize, Truth),
    OrdersDo(Cure),
    Suspect(usize),
    Trust(usize),
    Order(usize),
    Hold(usize),
    Reload,
    Run(u64),
}

fn change() -> impl Strategy<Value = Change> {
    // Silence is left out: what was vouched for was asked up to an interval earlier, so it lapses that much sooner.
    let truth = || prop_oneof![Just(Truth::Up), Just(Truth::Down)];
    let cure = prop_oneof![
        Just(Cure::Cures),
        Just(Cure::DoesNotHelp),
        Just(Cure::Fails)
    ];
    prop_oneof![
        5 => (1..=TARGETS, truth()).prop_map(|(target, truth)| Change::Set(target, truth)),
        3 => (1..=TARGETS, 0..3usize, truth()).prop_map(|(target, observer, truth)| Change::SeenBy(target, observer, truth)),
        2 => (1..=TARGETS, truth()).prop_map(|(target, truth)| Change::Disk(target, truth)),
        1 => cure.prop_map(Change::OrdersDo),
        1 => (0..3usize).prop_map(Change::Suspect),
        1 => (0..3usize).prop_map(Change::Trust),
        1 => (1..=TARGETS).prop_map(Change::Order),
        1 => (1..=TARGETS).prop_map(Change::Hold),
        1 => Just(Change::Reload),
        8 => (1..400u64).prop_map(Change::Run),
    ]
}

fn observer(number: usize) -> ObserverName {
    name(["north", "south", "west"][number])
}

fn play(world: &mut World, change: &Change) {
    let target = |number: usize| format!("web-{number}");
    match change {
        Change::Set(number, truth) => {
            world.set(&[&target(*number)], *truth);
        }
        Change::SeenBy(number, by, truth) => {
            let key = (observer(*by), name(&target(*number)));
            world.seen_by.insert(key, *truth);
        }
        Change::Disk(number, truth) => {
            let key = (name(&target(*number)), name("disk"));
            world.ailing.insert(key, *truth);
        }
        Change::OrdersDo(cure) => {
            world.orders_do(*cure);
        }
        Change::Suspect(number) => world.tell(Event::Observer {
            observer: observer(*number),
            trouble: Some("its control test fails".to_owned()),
        }),
        Change::Trust(number) => world.tell(Event::Observer {
            observer: observer(*number),
            trouble: None,
        }),
        Change::Order(number) => {
            world.order(&target(*number), Action::Restart).ok();
        }
        Change::Hold(number) => {
            let until = world.now + Duration::from_secs(120);
            world
                .person(PersonAct::Hold {
                    target: name(&target(*number)),
                    until,
                    why: "a look".to_owned(),
                })
                .ok();
        }
        Change::Reload => world.reload(|_| {}),
        Change::Run(seconds) => {
            world.run(*seconds);
        }
    }
}

/// With its times; what happens at one moment has no order.
fn told(world: &World) -> Vec<String> {
    let mut story = world.story.clone();
    story.sort_unstable();
    story
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_world_that_hears_only_of_changes_decides_as_one_that_hears_every_answer(
        changes in prop::collection::vec(change(), 1..24)
    ) {
        let (mut every, mut sparse) = (world(false), world(true));
        for change in &changes {
            play(&mut every, change);
            play(&mut sparse, change);
            prop_assert_eq!(told(&every), told(&sparse), "after {:?}", change);
        }
        every.run(4_000);
        sparse.run(4_000);
        prop_assert_eq!(told(&every), told(&sparse));
    }
}

/// One web target of three that a person restarts while it passes, or that failed and was restarted.
fn single_observer() -> World {
    let mut world = World::of(production(vec![web()]), targets("web", 3, &["a", "b", "c"]));
    world.sparse = true;
    world.run(300);
    world
}

#[test]
fn a_steady_production_stays_healthy_for_hours_on_one_word_a_round() {
    let mut world = single_observer();
    world.run(7_200);
    let status = world.engine.service(world.now, &name("web")).unwrap();
    assert_eq!((status.healthy, status.unavailable), (3, 0));
    assert!(world.story.is_empty(), "{:#?}", world.story);
}

#[test]
fn an_observer_that_falls_silent_is_unknown_after_two_intervals() {
    let mut world = single_observer();
    world.observers(&[]);
    world.run(20);
    let status = world.engine.service(world.now, &name("web")).unwrap();
    assert_eq!((status.healthy, status.unknown), (0, 3));
}

#[test]
fn nothing_before_a_pause_is_vouched_for_after_it() {
    let mut world = single_observer();
    world.tell(Event::Woke {
        paused_for: Duration::from_secs(60),
    });
    let healthy = |world: &World| {
        let status = world.engine.service(world.now, &name("web")).unwrap();
        status.healthy
    };
    let at = world.now;
    world.tell(Event::Unchanged {
        observer: name("local"),
        at,
    });
    assert_eq!(
        healthy(&world),
        0,
        "it may have been asked before the pause"
    );
    world.run(20);
    assert_eq!(healthy(&world), 3);
}

#[test]
fn a_clock_that_runs_ahead_vouches_for_no_time_to_come() {
    let mut world = single_observer();
    let at = world.now + Duration::from_secs(86_400);
    world.tell(Event::Unchanged {
        observer: name("local"),
        at,
    });
    world.observers(&[]);
    world.run(20);
    let status = world.engine.service(world.now, &name("web")).unwrap();
    assert_eq!(status.unknown, 3);
}

#[test]
fn a_repair_is_proven_by_passes_that_were_reported_and_never_by_silence() {
    let mut world = single_observer();
    world.orders_do(Cure::DoesNotHelp);
    world.set(&["web-1"], Truth::Down).run(16);
    assert!(world.tells("order: restart"), "{:#?}", world.story);
    // It passes once, as the order's own extra round sees it, and then its observer only says: unchanged.
    world.set(&["web-1"], Truth::Up);
    world.observers(&[]);
    world.run(1);
    let seen = [Observation {
        target: name("web-1"),
        test: name("answers"),
        observer: name("local"),
        asked_at: world.now,
        answered_at: world.now,
        took: Duration::ZERO,
        verdict: Verdict::Pass,
        evidence: Evidence::new(""),
    }];
    world.tell(Event::Observations(seen.to_vec()));
    for _ in 0..5 {
        world.run(5);
        let at = world.now;
        world.tell(Event::Unchanged {
            observer: name("local"),
            at,
        });
    }
    assert!(!world.tells("web-1 verified"), "{:#?}", world.story);
}

#[test]
fn a_failure_that_was_on_its_way_is_not_late_beside_a_word_that_nothing_changed() {
    let mut world = single_observer();
    let asked_at = world.now;
    world.run(11);
    let seen = [Observation {
        target: name("web-1"),
        test: name("answers"),
        observer: name("local"),
        asked_at,
        answered_at: asked_at,
        took: Duration::ZERO,
        verdict: Verdict::Fail,
        evidence: Evidence::new("connection refused"),
    }];
    world.tell(Event::Observations(seen.to_vec()));
    assert_eq!(world.case_of("web-1").phase, Phase::Suspected);
}
