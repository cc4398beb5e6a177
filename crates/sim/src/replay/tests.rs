//! A small production that breaks while it is recorded; then the record through the same policy, and through others.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pitcrew_model::{
    Address, Autonomy, Event, Evidence, Labels, Observation, Outcome, OutcomeKind, PersonAct,
    Production, Request, Runner, Target, TargetId, Timestamp, Verdict,
};
use proptest::prelude::*;

use super::{comparison::Difference, *};
use crate::{
    Ledger,
    record::{Reader, Start, Writer},
};

const POLICY: &str = "
services:
  - name: web
    select: { service: web }
    runs_as: { unit: web.service }
    autonomy: act
    tests:
      - { name: answers, tcp: {}, interval: 1s, timeout: 500ms, failure_threshold: 2, success_threshold: 2 }
    repairs:
      - name: restart-then-person
        when: [answers]
        steps:
          - { restart: {}, tries: 2, settle: 10s }
          - { hand_over: {} }
    limits: { max_in_flight: 1, max_unavailable: 100%, cooldown: 1s, probation: 5s, rate: 100/h }
notify:
  - { name: oncall, command: [/bin/true] }
";

fn policy(yaml: &str) -> Arc<Production> {
    let files = [("production.yaml".into(), yaml.to_owned())];
    let loaded = pitcrew_config::parse(&files, &|_| None);
    Arc::new(loaded.expect("the test's policy is right").production)
}

fn changed(from: &str, to: &str) -> Arc<Production> {
    assert!(POLICY.contains(from));
    policy(&POLICY.replace(from, to))
}

fn id(index: usize) -> TargetId {
    format!("web-{index}").parse().unwrap()
}

/// Targets that fail until they are restarted, recorded as a server records.
struct World {
    policy: Arc<Production>,
    now: u64,
    brain: Brain,
    writer: Writer,
    bytes: Vec<u8>,
    ledger: Ledger,
    targets: usize,
    sick: BTreeMap<TargetId, Sick>,
    outcomes: Vec<(u64, Outcome, TargetId)>,
    draining: bool,
    records: Vec<Record>,
}

#[derive(Clone, Copy, PartialEq)]
enum Sick {
    UntilRestarted,
    /// So many answers more.
    For(u32),
    ForEver,
}

impl World {
    fn new(policy: &Arc<Production>, targets: usize) -> Self {
        let mut ledger = Ledger::default();
        let start = start(&mut ledger, 1_795_000_000_000);
        let mut world = Self {
            policy: Arc::clone(policy),
            now: start.at.as_millis(),
            brain: Brain::start(start.at, start.birth(), Vec::new()),
            writer: Writer::start(0, &start).unwrap(),
            bytes: Writer::preamble(),
            ledger,
            targets,
            sick: BTreeMap::new(),
            outcomes: Vec::new(),
            draining: false,
            records: Vec::new(),
        };
        world.greet();
        world
    }

    fn greet(&mut self) {
        self.tell(Event::Production(Arc::clone(&self.policy)));
        let upserted = (0..self.targets).map(|index| {
            Arc::new(Target {
                id: id(index),
                address: Some(Address(format!("10.0.0.{index}:80").into())),
                labels: Labels::new([("service".to_owned(), "web".to_owned())]).unwrap(),
                run_on: None,
                runner: Some(Runner::Supervised),
                source: "static".parse().unwrap(),
            })
        });
        let upserted = upserted.collect();
        self.tell(Event::Targets {
            upserted,
            removed: Vec::new(),
        });
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        let now = Timestamp::from_millis(self.now);
        self.writer.event(now, self.draining, &event).unwrap();
        if let Event::LedgerFailed { not_given, .. } = &event {
            self.outcomes
                .retain(|(_, outcome, _)| !not_given.contains(&outcome.order));
        }
        let effects = tell(&mut self.brain, now, self.draining, event);
        self.ledger.commit(&effects);
        let (records, notices) = made(&effects);
        if !records.is_empty() {
            self.writer
                .records(&records.iter().map(|one| (*one).clone()).collect::<Vec<_>>())
                .unwrap();
        }
        if !notices.is_empty() {
            self.writer
                .notices(&notices.iter().map(|one| (*one).clone()).collect::<Vec<_>>())
                .unwrap();
        }
        self.records.extend(records.into_iter().cloned());
        for effect in &effects {
            if let Effect::Give(order) = effect {
                let outcome = Outcome {
                    order: order.id,
                    kind: OutcomeKind::Done,
                    at: now + Duration::from_secs(3),
                    detail: "restarted".to_owned(),
                };
                self.outcomes
                    .push((self.now + 3_000, outcome, order.target.id.clone()));
            }
        }
        effects
    }

    fn person(&mut self, act: PersonAct) {
        let by = "ann".to_owned();
        self.tell(Event::Person(Request { by, act }));
    }

    /// Rounds of answers, one a second; what is due between them, on time.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let end = self.now + 1_000;
            self.wait_until(end);
            let answers = (0..self.targets).map(|index| self.answer(index)).collect();
            self.tell(Event::Observations(answers));
        }
    }

    fn wait_until(&mut self, end: u64) {
        loop {
            let tick = self.brain.engine.next_tick().map(Timestamp::as_millis);
            let back = self.outcomes.iter().map(|(at, ..)| *at).min();
            let next = [tick, back].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next < end) else {
                self.now = end;
                return;
            };
            // A server wakes a little late.
            self.now = self.now.max(next + 1);
            if back == Some(next) {
                let at = self
                    .outcomes
                    .iter()
                    .position(|(at, ..)| *at == next)
                    .unwrap();
                let (_, outcome, target) = self.outcomes.remove(at);
                if self.sick.get(&target) == Some(&Sick::UntilRestarted) {
                    self.sick.remove(&target);
                }
                self.tell(Event::Outcome(outcome));
            } else {
                self.tell(Event::Tick);
            }
        }
    }

    fn answer(&mut self, index: usize) -> Observation {
        let target = id(index);
        let is_sick = match self.sick.get_mut(&target) {
            None | Some(Sick::For(0)) => false,
            Some(Sick::For(left)) => {
                *left -= 1;
                true
            }
            Some(Sick::UntilRestarted | Sick::ForEver) => true,
        };
        Observation {
            target,
            test: "answers".parse().unwrap(),
            observer: "local".parse().unwrap(),
            asked_at: Timestamp::from_millis(self.now - 5),
            answered_at: Timestamp::from_millis(self.now),
            took: Duration::from_micros(4_321),
            verdict: if is_sick {
                Verdict::Fail
            } else {
                Verdict::Pass
            },
            evidence: Evidence::new(if is_sick {
                "connection refused"
            } else {
                "connected"
            }),
        }
    }

    /// The server is killed and starts again.
    fn restart(&mut self) {
        self.bytes.extend(self.writer.take());
        self.now += 2_000;
        let start = start(&mut self.ledger, self.now);
        self.writer = Writer::start(self.writer.frames(), &start).unwrap();
        self.brain = Brain::start(start.at, start.birth(), start.rows);
        self.draining = false;
        self.greet();
    }

    fn end(mut self) -> Recorded {
        self.writer.end();
        self.bytes.extend(self.writer.take());
        Recorded {
            bytes: self.bytes,
            records: self.records,
        }
    }
}

fn start(ledger: &mut Ledger, at: u64) -> Start {
    let birth = ledger.birth("0011");
    Start {
        pitcrew: "0.1.0".to_owned(),
        at: Timestamp::from_millis(at),
        installation: birth.installation,
        fence: birth.fence,
        last_case: birth.last_case,
        last_order: birth.last_order,
        rows: ledger.rows(),
    }
}

struct Recorded {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

impl Recorded {
    fn reproduced(&self) -> (Reproduction, Vec<Decisions>) {
        let mut runs = Vec::new();
        let mut reader = Reader::new(&self.bytes[..]).unwrap();
        let outcome = reproduce(&mut reader, &mut |run| runs.push(run)).unwrap();
        (outcome, runs)
    }

    fn through(&self, policy: &Arc<Production>) -> Comparison {
        let past = survey(&mut Reader::new(&self.bytes[..]).unwrap()).unwrap();
        let mut reader = Reader::new(&self.bytes[..]).unwrap();
        compare(&mut reader, &past, Arc::clone(policy)).unwrap()
    }
}

/// Two fail at once, one after the other is repaired, and one more falls ill for ever.
fn incident(policy: &Arc<Production>) -> Recorded {
    let mut world = World::new(policy, 6);
    world.run(10);
    world.sick.insert(id(1), Sick::UntilRestarted);
    world.sick.insert(id(2), Sick::UntilRestarted);
    world.run(40);
    world.sick.insert(id(3), Sick::ForEver);
    world.run(60);
    world.end()
}

#[test]
fn the_same_policy_decides_the_same_to_the_last_record() {
    let recorded = incident(&policy(POLICY));
    let (outcome, runs) = recorded.reproduced();
    assert_eq!(outcome.differences, 0, "{:?}", outcome.differing);
    assert!(outcome.decisions > 20, "{}", outcome.decisions);
    assert_eq!(outcome.runs[0].end, RunEnd::Stopped);
    let of_engine = recorded.records.iter();
    let of_engine = of_engine.filter(|one| !is_servers_own(&one.fact));
    assert_eq!(runs[0].records, of_engine.cloned().collect::<Vec<_>>());
    assert_eq!(outcome.decisions, runs[0].records.len() as u64);
}

#[test]
fn a_policy_beside_itself_is_alike_over_restarts_people_and_a_failing_ledger() {
    let mut world = World::new(&policy(POLICY), 6);
    world.run(10);
    world.sick.insert(id(1), Sick::UntilRestarted);
    world.run(3);
    // Killed with the order on its way.
    world.restart();
    world.run(30);
    world.person(PersonAct::Hold {
        target: id(2),
        until: Timestamp::from_millis(world.now + 20_000),
        why: "a drill".to_owned(),
    });
    world.sick.insert(id(2), Sick::UntilRestarted);
    world.run(40);
    world.sick.insert(id(4), Sick::UntilRestarted);
    world.run(1);
    let mut given = Vec::new();
    while given.is_empty() {
        world.wait_until(world.now + 1_000);
        let answers = (0..6).map(|index| world.answer(index)).collect();
        let effects = world.tell(Event::Observations(answers));
        given.extend(effects.iter().filter_map(|effect| match effect {
            Effect::Give(order) => Some(order.id),
            _ => None,
        }));
    }
    world.tell(Event::LedgerFailed {
        not_given: given.clone(),
        error: "no space left".to_owned(),
    });
    world.run(5);
    world.tell(Event::LedgerRecovered);
    world.run(20);
    world.sick.insert(id(5), Sick::UntilRestarted);
    world.draining = true;
    world.run(5);
    world.restart();
    world.run(30);
    let recorded = world.end();

    let (outcome, runs) = recorded.reproduced();
    assert_eq!(outcome.differences, 0, "{:?}", outcome.differing);
    assert_eq!(outcome.runs.len(), 3);
    assert_eq!(outcome.runs[0].end, RunEnd::CutOff);
    let intents = runs.iter().flat_map(|run| &run.records);
    let struck = intents.filter(
        |record| matches!(&record.fact, Fact::Intent { order } if given.contains(&order.id)),
    );
    assert_eq!(
        struck.count(),
        0,
        "what the ledger could not take is not in it"
    );

    let comparison = recorded.through(&policy(POLICY));
    assert!(comparison.is_alike(), "{:#?}", comparison.differences);
    assert_eq!(comparison.then.orders, comparison.now.orders);
    assert_eq!(comparison.then.people_called, comparison.now.people_called);
    assert_eq!(comparison.summary, "4 cases, all alike");
}

/// The one difference of a comparison.
fn only(comparison: &Comparison) -> &CaseDifference {
    match &comparison.differences[..] {
        [one] => one,
        other => panic!("{}: {other:#?}", comparison.summary),
    }
}

#[test]
fn a_wider_limit_repairs_the_second_earlier_and_the_limit_is_named() {
    let recorded = incident(&policy(POLICY));
    let comparison = recorded.through(&changed("max_in_flight: 1", "max_in_flight: 2"));
    let difference = only(&comparison);
    assert!(matches!(difference.what, Difference::Earlier { by_ms } if by_ms > 3_000));
    assert_eq!(difference.because.as_deref(), Some("max_in_flight 1 → 2"));
    assert_eq!(difference.target, id(2));
    assert!(difference.conjecture_from.is_some());
    assert_eq!(
        comparison.summary,
        "of 3 cases 2 alike; 1 would have been repaired earlier (max_in_flight 1 → 2)"
    );
}

#[test]
fn a_policy_that_only_watches_would_not_have_repaired() {
    let recorded = incident(&policy(POLICY));
    let comparison = recorded.through(&changed("autonomy: act", "autonomy: observe"));
    assert_eq!(
        comparison.summary,
        "of 3 cases 0 alike; 3 would not have been repaired that were (autonomy act → observe)"
    );
    assert_eq!(comparison.now.orders, 0);

    let recorded = incident(&changed("autonomy: act", "autonomy: observe"));
    let comparison = recorded.through(&policy(POLICY));
    assert_eq!(
        comparison.summary,
        "of 3 cases 0 alike; 3 would have been repaired that were not (autonomy observe → act)"
    );
}

#[test]
fn other_thresholds_believe_other_failures() {
    let mut world = World::new(&policy(POLICY), 6);
    world.run(10);
    world.sick.insert(id(1), Sick::For(5));
    world.run(40);
    let recorded = world.end();
    let patient = changed("failure_threshold: 2", "failure_threshold: 10");
    let comparison = recorded.through(&patient);
    let difference = only(&comparison);
    assert_eq!(difference.what, Difference::ConfirmedOnlyThen);
    assert_eq!(
        difference.because.as_deref(),
        Some("failure_threshold of answers 2 → 10")
    );

    let mut world = World::new(&patient, 6);
    world.run(10);
    world.sick.insert(id(1), Sick::For(5));
    world.run(40);
    let comparison = world.end().through(&policy(POLICY));
    let difference = only(&comparison);
    assert_eq!(difference.what, Difference::ConfirmedOnlyNow);
    assert!(
        difference.conjecture_from.is_some(),
        "it would have been restarted"
    );
}

#[test]
fn a_person_would_have_been_called_where_a_ladder_is_shorter() {
    let recorded = incident(&policy(POLICY));
    let comparison = recorded.through(&changed("tries: 2", "tries: 1"));
    let difference = only(&comparison);
    assert_eq!(
        (&difference.what, &difference.target),
        (&Difference::FewerOrders, &id(3))
    );
    let now = difference.now.as_ref().unwrap();
    assert!(now.handed_over.is_some() && now.called.len() == 1);
}

#[test]
fn an_approval_counts_for_the_same_order_of_another_policy() {
    let asks = changed("autonomy: act", "autonomy: approve");
    let mut world = World::new(&asks, 6);
    world.run(10);
    world.sick.insert(id(1), Sick::UntilRestarted);
    world.run(10);
    let waits = world.records.iter().find_map(|record| match &record.fact {
        Fact::Held {
            hold: pitcrew_model::Hold::AwaitingApproval { order, digest },
            ..
        } => Some((*order, digest.clone())),
        _ => None,
    });
    let (order, digest) = waits.expect("it asks");
    world.person(PersonAct::Approve { order, digest });
    world.run(30);
    let recorded = world.end();
    assert!(recorded.through(&asks).is_alike());

    // Another probation makes them differ later only: the approval is still meant for this order.
    let longer = policy(
        &POLICY
            .replace("autonomy: act", "autonomy: approve")
            .replace("failure_threshold: 2", "failure_threshold: 3"),
    );
    let comparison = recorded.through(&longer);
    assert_eq!(comparison.now.orders, 1, "{:#?}", comparison);

    // Who never asks gets no approval, and that is said.
    let comparison = recorded.through(&policy(POLICY));
    assert!(
        comparison.notes.iter().any(|note| note.contains("ann")),
        "{:?}",
        comparison.notes
    );
    let difference = only(&comparison);
    assert!(matches!(difference.what, Difference::Earlier { .. }));
}

#[test]
fn another_decision_than_the_recorded_one_is_found_at_its_byte() {
    let (mut writer, mut bytes) = (None::<Writer>, Writer::preamble());
    let recorded = incident(&policy(POLICY));
    let mut place = 0;
    for placed in Reader::new(&recorded.bytes[..]).unwrap() {
        use crate::record::Entry;
        let entry = placed.unwrap().entry;
        if let Entry::Start(start) = &entry {
            writer = Some(Writer::start(0, start).unwrap());
        }
        let writer = writer.as_mut().expect("it begins with a start");
        match &entry {
            Entry::Event(one) => {
                bytes.extend(writer.take());
                if place == 0 {
                    writer.event(one.at, one.draining, &one.event).unwrap();
                }
            }
            Entry::Records(records) => {
                let mut records = records.clone();
                for record in &mut records {
                    if let Fact::Confirmed { findings } = &mut record.fact
                        && place == 0
                    {
                        findings[0].rounds += 1;
                        place = bytes.len();
                    }
                }
                writer.records(&records).unwrap();
            }
            Entry::Notices(notices) => writer.notices(notices).unwrap(),
            Entry::Start(_) | Entry::Gap(_) | Entry::End => {}
        }
        if place > 0 {
            break;
        }
    }
    bytes.extend(writer.unwrap().take());
    let recorded = Recorded {
        bytes,
        records: Vec::new(),
    };
    let (outcome, _) = recorded.reproduced();
    assert_eq!(outcome.differences, 1);
    let differing = &outcome.differing[0];
    assert_eq!(differing.at_byte, place as u64 + 24);
    assert!(matches!(differing.then[0].fact, Fact::Confirmed { .. }));
    assert_eq!(outcome.runs[0].end, RunEnd::CutOff);
}

#[test]
fn after_a_gap_both_policies_begin_anew_with_what_was() {
    let mut world = World::new(&policy(POLICY), 6);
    world.run(10);
    world.sick.insert(id(1), Sick::ForEver);
    world.run(20);
    world.writer.gap("the disk is full");
    // What is not recorded: a person repairs it.
    world.bytes.extend(world.writer.take());
    world.sick.clear();
    let frames = world.writer.frames();
    world.run(60);
    world.writer = Writer::start(frames, &start(&mut world.ledger.clone(), world.now)).unwrap();
    assert!(
        !world.writer.take().is_empty(),
        "its frames of the gap are thrown away"
    );
    world.writer = Writer::start(frames, &start(&mut world.ledger.clone(), world.now)).unwrap();
    world.bytes.extend(world.writer.take());
    let begun = start(&mut world.ledger, world.now);
    world.brain = Brain::start(begun.at, begun.birth(), begun.rows);
    world.greet();
    world.sick.insert(id(2), Sick::UntilRestarted);
    world.run(40);
    let recorded = world.end();
    let (outcome, _) = recorded.reproduced();
    assert_eq!(outcome.differences, 0, "{:?}", outcome.differing);
    assert!(matches!(outcome.runs[0].end, RunEnd::Gap { .. }));
    assert!(recorded.through(&policy(POLICY)).is_alike());
    let comparison = recorded.through(&changed("autonomy: act", "autonomy: observe"));
    assert_eq!(comparison.cases, comparison.differences.len() as u64);
    assert!(
        comparison
            .notes
            .iter()
            .any(|note| note.contains("the disk is full"))
    );
}

#[derive(Clone, Debug)]
enum Step {
    Run(u64),
    Fall(usize, u32),
    Break(usize),
    Restart,
    Hold(usize),
    Pause,
    Resume,
    Order(usize),
    Wake,
    Suspect,
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u64..25).prop_map(Step::Run),
        3 => (0usize..5, 1u32..12).prop_map(|(target, rounds)| Step::Fall(target, rounds)),
        4 => (0usize..5).prop_map(Step::Break),
        1 => Just(Step::Restart),
        1 => (0usize..5).prop_map(Step::Hold),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => (0usize..5).prop_map(Step::Order),
        1 => Just(Step::Wake),
        1 => Just(Step::Suspect),
        1 => Just(Step::Drain),
    ]
}

fn play(policy: &Arc<Production>, steps: &[Step]) -> Recorded {
    let mut world = World::new(policy, 5);
    for step in steps {
        match step {
            Step::Run(seconds) => world.run(*seconds),
            Step::Fall(target, rounds) => {
                world.sick.insert(id(*target), Sick::For(*rounds));
            }
            Step::Break(target) => {
                world.sick.insert(id(*target), Sick::UntilRestarted);
            }
            Step::Restart => world.restart(),
            Step::Hold(target) => world.person(PersonAct::Hold {
                target: id(*target),
                until: Timestamp::from_millis(world.now + 15_000),
                why: "a look".to_owned(),
            }),
            Step::Pause => world.person(PersonAct::Pause {
                scope: pitcrew_model::Scope::Fleet,
                why: "a release".to_owned(),
            }),
            Step::Resume => world.person(PersonAct::Resume {
                scope: pitcrew_model::Scope::Fleet,
            }),
            Step::Order(target) => world.person(PersonAct::Order {
                target: id(*target),
                action: pitcrew_model::Action::Restart,
                why: "it leaks".to_owned(),
            }),
            Step::Wake => {
                let paused_for = Duration::from_secs(7);
                world.tell(Event::Woke { paused_for });
            }
            Step::Suspect => {
                let observer: pitcrew_model::ObserverName = "local".parse().unwrap();
                for trouble in [Some("no route".to_owned()), None] {
                    let observer = observer.clone();
                    world.tell(Event::Observer { observer, trouble });
                    world.run(2);
                }
            }
            Step::Drain => {
                world.draining = true;
                world.run(3);
                world.restart();
            }
        }
    }
    world.run(20);
    world.end()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_is_decided_the_same_again(steps in proptest::collection::vec(step(), 1..25)) {
        let policy = policy(POLICY);
        let recorded = play(&policy, &steps);
        let (outcome, _) = recorded.reproduced();
        prop_assert_eq!(outcome.differences, 0, "{:?}", outcome.differing);
        let comparison = recorded.through(&policy);
        prop_assert!(comparison.is_alike(), "{}: {:#?}", comparison.summary, comparison.differences);
        prop_assert_eq!(comparison.then.orders, comparison.now.orders);
        prop_assert_eq!(comparison.then.people_called, comparison.now.people_called);
    }

    #[test]
    fn any_other_policy_comes_to_an_end_and_counts_every_case_once(
        steps in proptest::collection::vec(step(), 1..25),
        autonomy in prop_oneof![Just(Autonomy::Observe), Just(Autonomy::Propose), Just(Autonomy::Approve), Just(Autonomy::Act)],
        in_flight in 1u32..4,
        threshold in 1u8..6,
    ) {
        let recorded = play(&policy(POLICY), &steps);
        let yaml = POLICY
            .replace("autonomy: act", &format!("autonomy: {autonomy}"))
            .replace("max_in_flight: 1", &format!("max_in_flight: {in_flight}"))
            .replace("failure_threshold: 2", &format!("failure_threshold: {threshold}"));
        let comparison = recorded.through(&policy(&yaml));
        prop_assert_eq!(comparison.cases, comparison.alike + comparison.differences.len() as u64);
        prop_assert_eq!(comparison, recorded.through(&policy(&yaml)));
    }
}
