//! Random faults, people and restarts: nothing unsafe is ever ordered, and once the faults stop, all is healed.

#![expect(
    clippy::unwrap_used,
    reason = "a broken test world should stop the test"
)]

mod world;

use std::time::Duration;

use pitcrew_model::*;
use proptest::prelude::*;
use world::{Cure, Truth, World, name};

#[derive(Clone, Debug)]
enum Step {
    Break(usize),
    Mend(usize),
    Silence(usize),
    OrdersDo(Cure),
    Run(u64),
    Pause,
    Resume,
    Hold(usize),
    Order(usize),
    Restart,
    Sleep(u64),
}

const TARGETS: usize = 12;

fn step() -> impl Strategy<Value = Step> {
    let target = 1..=TARGETS;
    prop_oneof![
        4 => target.clone().prop_map(Step::Break),
        2 => target.clone().prop_map(Step::Mend),
        1 => target.clone().prop_map(Step::Silence),
        1 => prop_oneof![Just(Cure::Cures), Just(Cure::DoesNotHelp), Just(Cure::Fails), Just(Cure::Vanishes)].prop_map(Step::OrdersDo),
        8 => (1..60u64).prop_map(Step::Run),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => target.clone().prop_map(Step::Hold),
        1 => target.prop_map(Step::Order),
        1 => Just(Step::Restart),
        1 => (10..4_000u64).prop_map(Step::Sleep),
    ]
}

fn target(number: usize) -> String {
    format!("web-{number}")
}

/// Since when each target is as it is: an order on one that has been up for this long was wrong.
struct Truths {
    truth: [(Truth, Timestamp); TARGETS + 1],
}

impl Truths {
    fn set(&mut self, world: &mut World, number: usize, truth: Truth) {
        if self.truth[number].0 != truth {
            self.truth[number] = (truth, world.now);
        }
        world.set(&[&target(number)], truth);
    }
}

fn play(world: &mut World, truths: &mut Truths, step: &Step) {
    match step {
        Step::Break(number) => truths.set(world, *number, Truth::Down),
        Step::Mend(number) => truths.set(world, *number, Truth::Up),
        Step::Silence(number) => truths.set(world, *number, Truth::Silent),
        Step::OrdersDo(cure) => {
            world.orders_do(*cure);
        }
        Step::Run(seconds) => {
            world.run(*seconds);
        }
        Step::Pause => world
            .person(PersonAct::Pause {
                scope: Scope::Fleet,
                why: "p".to_owned(),
            })
            .unwrap(),
        Step::Resume => {
            world
                .person(PersonAct::Resume {
                    scope: Scope::Fleet,
                })
                .ok();
        }
        Step::Hold(number) => {
            let until = world.now + Duration::from_secs(100);
            let hold = PersonAct::Hold {
                target: name(&target(*number)),
                until,
                why: "h".to_owned(),
            };
            world.person(hold).unwrap();
        }
        Step::Order(number) => {
            let order = PersonAct::Order {
                target: name(&target(*number)),
                action: Action::Restart,
                why: "w".to_owned(),
            };
            world.person(order).ok();
        }
        Step::Restart => world.restart(),
        Step::Sleep(seconds) => {
            let paused_for = Duration::from_secs(*seconds);
            world.now = world.now + paused_for;
            world.tell(Event::Woke { paused_for });
        }
    }
    // What an order cured counts as up from now on at the latest.
    for number in 1..=TARGETS {
        let truth = world.truth_of(&target(number));
        if truths.truth[number].0 != truth {
            truths.truth[number] = (truth, world.now);
        }
    }
}

/// Orders that policy gave on a target that had been up all the while its failure was believed.
fn wrong_targets(world: &World, truths: &Truths, checked: usize) -> Vec<String> {
    world.given[checked..]
        .iter()
        .filter(|order| order.authority == Authority::Policy)
        .filter(|order| {
            let number: usize = order.target.id.as_str()["web-".len()..].parse().unwrap();
            let (truth, since) = truths.truth[number];
            truth == Truth::Up && order.given_at.since(since) > Duration::from_secs(15)
        })
        .map(|order| format!("{} on {}", order.id, order.target.id))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn nothing_unsafe_is_ordered_and_all_is_healed_in_the_end(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new(TARGETS, |service| {
            service.limits.cooldown = Duration::from_secs(30);
            service.limits.probation = Duration::from_secs(30);
            service.limits.lemon.cases = 1_000;
            service.limits.rate.count = 1_000;
        });
        let mut truths = Truths { truth: [(Truth::Up, world.now); TARGETS + 1] };
        let mut checked = 0;
        for step in &steps {
            play(&mut world, &mut truths, step);
            let wrong = wrong_targets(&world, &truths, checked);
            prop_assert!(wrong.is_empty(), "wrong targets: {:?}", wrong);
            checked = world.given.len();
            prop_assert!(world.engine.orders_in_flight().len() <= 1, "more than max_in_flight");
        }
        // Mass failure the interlock counts from the first failed round, so it may refuse a little earlier.
        let vetoes: Vec<&String> = world
            .story
            .iter()
            .filter(|line| line.contains("interlock") && !line.contains("newly failing"))
            .collect();
        prop_assert!(vetoes.is_empty(), "the engine wanted what the interlock refuses: {:?}", vetoes);

        world.person(PersonAct::Resume { scope: Scope::Fleet }).ok();
        world.orders_do(Cure::Cures);
        for number in 1..=TARGETS {
            if world.truth_of(&target(number)) == Truth::Silent {
                world.set(&[&target(number)], Truth::Up);
            }
        }
        for _ in 0..4 {
            world.run(2_000);
            world.person(PersonAct::Resume { scope: Scope::Fleet }).ok();
        }
        let open: Vec<String> = world
            .engine
            .cases()
            .filter(|case| case.is_open() && case.handed_over.is_none())
            .map(|case| format!("{} {} {:?}", case.id, case.target, case.phase))
            .collect();
        prop_assert!(open.is_empty(), "not healed: {:?}", open);
    }
}
