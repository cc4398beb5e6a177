use pitcrew_model::{Labels, SourceKind};
use proptest::prelude::*;

use super::*;

fn source(name: &str) -> Source {
    Source {
        name: SourceName::new(name).unwrap(),
        kind: SourceKind::Static {
            targets: Vec::new(),
        },
        labels: Labels::default(),
        runs_as: None,
    }
}

fn target(source: &str, id: &str, zone: &str) -> Target {
    Target {
        id: TargetId::new(id).unwrap(),
        address: None,
        labels: Labels::new([("zone", zone)]).unwrap(),
        run_on: None,
        runner: None,
        source: SourceName::new(source).unwrap(),
    }
}

fn targets(source: &str, ids: impl IntoIterator<Item = u32>) -> Answer {
    Answer {
        targets: ids
            .into_iter()
            .map(|id| target(source, &format!("t{id}"), "a"))
            .collect(),
        ..Answer::default()
    }
}

/// A roll with sources `a` and `b`, in this order, and what it tells, in short.
struct Trial(Roll);

impl Trial {
    fn new() -> Self {
        let mut roll = Roll::new();
        assert_eq!(roll.set(&[source("a"), source("b")]), Change::default());
        Self(roll)
    }

    fn answer(&mut self, name: &str, answer: Result<Answer, String>) -> Vec<String> {
        told(&self.0.answer(&SourceName::new(name).unwrap(), answer))
    }

    fn gives(&mut self, name: &str, ids: impl IntoIterator<Item = u32>) -> Vec<String> {
        self.answer(name, Ok(targets(name, ids)))
    }
}

fn told(change: &Change) -> Vec<String> {
    change
        .events
        .iter()
        .map(|event| match event {
            Event::Targets { upserted, removed } => {
                let new = upserted
                    .iter()
                    .map(|target| format!("+{}@{}", target.id, target.source));
                let gone = removed.iter().map(|id| format!("-{id}"));
                new.chain(gone).collect::<Vec<_>>().join(" ")
            }
            Event::Source {
                source,
                trouble: Some(trouble),
            } => format!("{source}: {trouble}"),
            Event::Source {
                source,
                trouble: None,
            } => format!("{source}: fine"),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn the_same_answer_again_changes_nothing() {
    let mut roll = Trial::new();
    assert_eq!(roll.gives("a", [2, 1]), ["+t2@a +t1@a"]);
    assert_eq!(roll.gives("a", [1, 2]), [""; 0]);
    assert_eq!(roll.gives("a", [1, 2]), [""; 0]);
}

#[test]
fn only_what_changed_is_told() {
    let mut roll = Trial::new();
    roll.gives("a", [1, 2, 3]);
    let mut answer = targets("a", [1, 3, 4]);
    answer.targets[0] = target("a", "t1", "b");
    assert_eq!(roll.answer("a", Ok(answer)), ["+t1@a +t4@a -t2"]);
}

#[test]
fn a_failing_source_keeps_its_targets_and_says_so_once() {
    let mut roll = Trial::new();
    roll.gives("a", [1, 2]);
    assert_eq!(roll.answer("a", Err("down".into())), ["a: down"]);
    assert_eq!(roll.answer("a", Err("down".into())), [""; 0]);
    assert_eq!(roll.answer("a", Err("gone".into())), ["a: gone"]);
    assert_eq!(roll.gives("a", [1, 2]), ["a: fine"]);
}

#[test]
fn half_may_go_and_more_than_half_may_not() {
    let mut roll = Trial::new();
    roll.gives("a", 0..10);
    assert_eq!(roll.gives("a", 0..5).len(), 1);
    roll.gives("a", 0..10);
    assert_eq!(
        roll.gives("a", 0..4),
        ["a: it shrank from 10 to 4 targets, more than half; the last answer is kept"]
    );
    assert_eq!(roll.gives("a", 0..4), [""; 0]);
    assert_eq!(roll.gives("a", 0..6), ["-t6 -t7 -t8 -t9", "a: fine"]);
}

#[test]
fn an_empty_answer_is_not_believed() {
    let mut roll = Trial::new();
    roll.gives("a", [1]);
    assert_eq!(
        roll.gives("a", []),
        ["a: it answers with no target, before 1; the last answer is kept"]
    );
    assert_eq!(roll.gives("a", [1]), ["a: fine"]);
}

#[test]
fn a_source_that_never_gave_a_target_is_reported() {
    let mut roll = Trial::new();
    assert_eq!(roll.gives("a", []).len(), 1);
    assert_eq!(roll.gives("a", []), [""; 0]);
    assert_eq!(roll.gives("a", [1]), ["+t1@a", "a: fine"]);
}

#[test]
fn a_person_may_accept_the_answer_that_was_not_believed() {
    let mut roll = Trial::new();
    let name = SourceName::new("a").unwrap();
    roll.gives("a", 0..5);
    assert_eq!(roll.0.accept(&name), Change::default());
    roll.gives("a", 0..1);
    assert_eq!(told(&roll.0.accept(&name)), ["-t1 -t2 -t3 -t4", "a: fine"]);
    assert_eq!(roll.0.accept(&name), Change::default());
    roll.gives("a", []);
    assert_eq!(told(&roll.0.accept(&name)), ["-t0", "a: fine"]);
    assert_eq!(
        roll.gives("a", []),
        [""; 0],
        "accepted as empty, it stays fine"
    );
}

#[test]
fn a_failure_takes_back_what_could_be_accepted() {
    let mut roll = Trial::new();
    roll.gives("a", 0..5);
    roll.gives("a", 0..1);
    roll.answer("a", Err("down".into()));
    assert_eq!(
        roll.0.accept(&SourceName::new("a").unwrap()),
        Change::default()
    );
}

#[test]
fn the_first_source_wins_and_the_other_says_so() {
    let mut roll = Trial::new();
    roll.gives("b", [1, 2]);
    assert_eq!(
        roll.gives("a", [1]),
        [
            "+t1@a",
            "b: 1 of its targets are also given by `a`, which comes first and counts, such as `t1`"
        ]
    );
    assert_eq!(roll.gives("b", [1, 2]), [""; 0]);
    assert_eq!(
        roll.gives("a", [3, 4]),
        ["+t3@a +t4@a +t1@b", "b: fine"],
        "what the first lets go is the other's"
    );
    roll.gives("a", [1, 3]);
    assert_eq!(roll.gives("b", [2]), ["b: fine"], "the first's stays");
}

#[test]
fn an_id_given_twice_in_one_answer_counts_once() {
    let mut roll = Trial::new();
    let mut answer = targets("a", [1, 1]);
    assert_eq!(roll.answer("a", Ok(answer.clone())), ["+t1@a"]);
    answer.targets.push(target("a", "t1", "other"));
    assert_eq!(
        roll.answer("a", Ok(answer)),
        [r#"a: `t1` is given twice, with {zone="a"} and with {zone="other"}; the first counts"#]
    );
}

#[test]
fn problems_of_an_answer_are_told_and_its_targets_count() {
    let mut roll = Trial::new();
    let mut answer = targets("a", [1]);
    answer.problems.add(|| "entry 2 is odd".to_owned());
    assert_eq!(
        roll.answer("a", Ok(answer.clone())),
        ["+t1@a", "a: entry 2 is odd"]
    );
    assert_eq!(roll.answer("a", Ok(answer)), [""; 0]);
    assert_eq!(roll.gives("a", [1]), ["a: fine"]);
}

#[test]
fn a_removed_source_takes_its_targets_with_it() {
    let mut roll = Trial::new();
    roll.gives("a", [1, 2]);
    roll.gives("b", [2, 3]);
    assert_eq!(
        told(&roll.0.forget(&SourceName::new("a").unwrap())),
        ["+t2@b -t1", "b: fine"]
    );
    assert_eq!(
        roll.gives("a", [1]),
        [""; 0],
        "its late answer is not heard"
    );
}

#[test]
fn a_source_in_trouble_that_goes_is_no_trouble_any_more() {
    let mut roll = Trial::new();
    roll.gives("a", [1]);
    roll.answer("a", Err("down".into()));
    assert_eq!(told(&roll.0.set(&[source("b")])), ["a: fine", "-t1"]);
}

#[test]
fn another_order_gives_a_shared_target_to_the_other() {
    let mut roll = Trial::new();
    roll.gives("a", [1]);
    roll.gives("b", [1]);
    assert_eq!(
        told(&roll.0.set(&[source("b"), source("a")])),
        [
            "+t1@b",
            "b: fine",
            "a: 1 of its targets are also given by `b`, which comes first and counts, such as `t1`",
        ]
    );
}

#[test]
fn a_source_that_became_something_else_may_answer_with_fewer_but_not_with_none() {
    let mut roll = Trial::new();
    roll.gives("a", 0..10);
    let mut changed = source("a");
    changed.kind = SourceKind::Static {
        targets: vec!["t0".into()],
    };
    assert_eq!(told(&roll.0.set(&[changed])), [""; 0]);
    assert_eq!(roll.gives("a", []).len(), 1);
    assert_eq!(roll.gives("a", 0..1).len(), 2);
    assert_eq!(roll.gives("a", []).len(), 1);
}

#[test]
fn a_restart_forgets_neither_targets_nor_sizes() {
    let mut roll = Trial::new();
    roll.gives("a", 0..4);
    roll.gives("b", [9]);
    let text = serde_json::to_string(&roll.0.snapshot()).unwrap();
    let mut roll = Trial(Roll::restore(serde_json::from_str(&text).unwrap()));
    assert_eq!(
        told(&roll.0.set(&[source("a")])),
        ["+t0@a +t1@a +t2@a +t3@a"]
    );
    assert_eq!(
        roll.gives("a", [1]),
        ["a: it shrank from 4 to 1 targets, more than half; the last answer is kept"]
    );
    assert_eq!(roll.gives("a", 0..4), ["a: fine"]);
}

#[test]
fn a_large_source_is_remembered_by_its_size() {
    let mut roll = Trial::new();
    let many = u32::try_from(Roll::TARGETS_KEPT_MAX).unwrap() + 1;
    roll.gives("a", 0..many);
    let snapshot = roll.0.snapshot();
    assert!(snapshot.sources[0].targets.is_empty());
    let mut roll = Trial(Roll::restore(snapshot));
    roll.0.set(&[source("a")]);
    assert_eq!(
        roll.gives("a", 0..3),
        ["a: it shrank from 100001 to 3 targets, more than half; the last answer is kept"]
    );
}

/// What the engine knows when it has applied every change in turn.
#[derive(Default)]
struct Known(HashMap<TargetId, Arc<Target>>);

impl Known {
    fn apply(&mut self, change: &Change) {
        for event in &change.events {
            if let Event::Targets { upserted, removed } = event {
                for target in upserted {
                    let old = self.0.insert(target.id.clone(), Arc::clone(target));
                    assert_ne!(old.as_ref(), Some(target), "told again without a change");
                }
                for id in removed {
                    assert!(self.0.remove(id).is_some(), "removed what was not there");
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Answer(usize, Vec<(u8, bool)>),
    Fail(usize),
    Accept(usize),
    Set(Vec<usize>),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let ids = prop::collection::vec((0u8..8, any::<bool>()), 0..8);
    prop_oneof![
        6 => (0usize..3, ids).prop_map(|(source, ids)| Act::Answer(source, ids)),
        1 => (0usize..3).prop_map(Act::Fail),
        1 => (0usize..3).prop_map(Act::Accept),
        1 => prop::sample::subsequence(vec![0, 1, 2], 0..=3).prop_shuffle().prop_map(Act::Set),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #[test]
    fn whoever_applies_the_changes_knows_exactly_what_the_roll_knows(acts in prop::collection::vec(act(), 1..40)) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let mut set: Vec<Source> = NAMES.into_iter().map(source).collect();
        let (mut roll, mut known) = (Roll::new(), Known::default());
        known.apply(&roll.set(&set));
        for act in acts {
            let change = match act {
                Act::Answer(at, ids) => {
                    let targets = ids.into_iter()
                        .map(|(id, zone)| target(NAMES[at], &format!("t{id}"), if zone { "x" } else { "y" }))
                        .collect();
                    let answer = Answer { targets, ..Answer::default() };
                    roll.answer(&SourceName::new(NAMES[at]).unwrap(), Ok(answer))
                }
                Act::Fail(at) => roll.answer(&SourceName::new(NAMES[at]).unwrap(), Err("no".into())),
                Act::Accept(at) => roll.accept(&SourceName::new(NAMES[at]).unwrap()),
                Act::Set(order) => {
                    set = order.into_iter().map(|at| source(NAMES[at])).collect();
                    roll.set(&set)
                }
                Act::Restart => {
                    roll = Roll::restore(roll.snapshot());
                    known = Known::default();
                    roll.set(&set)
                }
            };
            known.apply(&change);
            prop_assert_eq!(&known.0, &roll.effective());
            let again = roll.set(&set);
            prop_assert_eq!(again, Change::default(), "the same sources again change nothing");
        }
    }
}
