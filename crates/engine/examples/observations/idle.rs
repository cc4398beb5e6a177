//! An hour in which nothing happens, and one with a thousand changes: observers say once an interval that nothing
//! changed, and report what did.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pitcrew_model::{Effect, Event, Outcome, OutcomeKind, Timestamp, Verdict};

use crate::{
    Failure, MILLION, cpu,
    fleet::{Asked, INTERVAL, Pair, START, even, production, targets},
    say,
};

const ROUNDS: usize = 360;
const CHANGES: usize = 1_000;
/// Rounds after a failure of which each is reported.
const REPORTED_AFTER: usize = 32;

struct Hour<'a> {
    pair: Pair,
    asked: Asked,
    targets: &'a [Arc<pitcrew_model::Target>],
    now: Timestamp,
    spent: Duration,
    /// By position, targets that are down and until which round each answer of theirs is reported.
    reported: BTreeMap<usize, (Verdict, usize)>,
    cured: u32,
}

pub(crate) fn measure() -> Result<(), Failure> {
    let sizes = even(MILLION);
    let targets = targets(&sizes)?;
    let mut hour = Hour {
        pair: Pair::new(),
        asked: Asked::new()?,
        targets: &targets,
        now: START,
        spent: Duration::ZERO,
        reported: BTreeMap::new(),
        cured: 0,
    };
    hour.tell(Event::Production(Arc::new(production(sizes.len())?)));
    hour.tell(Event::Targets {
        upserted: targets.clone(),
        removed: Vec::new(),
    });
    for chunk in targets.chunks(1_000) {
        let all = chunk.iter().flat_map(|target| {
            [0, 1].map(|test| hour.asked.answer(START, &target.id, test, Verdict::Pass))
        });
        let all = all.collect();
        hour.tell(Event::Observations(all));
    }
    let idle = hour.pass(0);
    say(
        "an idle hour of a million targets",
        idle.as_secs_f64() * 1e3,
        "ms of one core",
        "what its changes cost",
    );
    let busy = hour.pass(CHANGES);
    say(
        "an hour with 1000 failures, each repaired",
        busy.as_secs_f64() * 1e3,
        &format!("ms of one core, {} repaired", hour.cured),
        "",
    );
    Ok(())
}

impl Hour<'_> {
    fn tell(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let started = cpu();
            let effects = self.pair.tell(self.now, event);
            self.spent += cpu() - started;
            for effect in effects {
                events.extend(self.answer(effect));
            }
        }
    }

    /// Orders cure at once; what is asked for is answered at once.
    fn answer(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Give(order) => {
                let at = self.position(&order.target.id)?;
                let (verdict, _) = self.reported.get_mut(&at)?;
                *verdict = Verdict::Pass;
                self.cured += 1;
                Some(Event::Outcome(Outcome {
                    order: order.id,
                    kind: OutcomeKind::Done,
                    at: self.now,
                    detail: "restarted".to_owned(),
                }))
            }
            Effect::Probe { target, test } => {
                let at = self.position(&target)?;
                let (verdict, _) = self.reported.get(&at)?;
                let test = self.asked.tests.iter().position(|name| *name == test)?;
                let answer = self.asked.answer(self.now, &target, test, *verdict);
                Some(Event::Observations(vec![answer]))
            }
            _ => None,
        }
    }

    fn position(&self, id: &pitcrew_model::TargetId) -> Option<usize> {
        let mut down = self.reported.keys().copied();
        down.find(|at| self.targets[*at].id == *id)
    }

    /// An hour in which `changes` targets fail, one after the other.
    fn pass(&mut self, changes: usize) -> Duration {
        self.spent = Duration::ZERO;
        let mut failed = 0;
        for round in 0..ROUNDS {
            self.now = self.now + INTERVAL;
            while failed * ROUNDS < changes * (round + 1) {
                // Far apart, and in a service's time one at a time.
                let at = failed * 997 % self.targets.len();
                self.reported
                    .insert(at, (Verdict::Fail, round + REPORTED_AFTER));
                failed += 1;
            }
            self.reported.retain(|_, (_, until)| round < *until);
            let seen: Vec<_> = self
                .reported
                .iter()
                .flat_map(|(at, (verdict, _))| {
                    let id = &self.targets[*at].id;
                    [0, 1].map(|test| self.asked.answer(self.now, id, test, *verdict))
                })
                .collect();
            if !seen.is_empty() {
                self.tell(Event::Observations(seen));
            }
            let (observer, at) = (self.asked.observer.clone(), self.now);
            self.tell(Event::Unchanged { observer, at });
            while self
                .pair
                .engine
                .next_tick()
                .is_some_and(|due| due <= self.now)
            {
                self.tell(Event::Tick);
            }
        }
        self.spent
    }
}
