//! What the tests ask, what the observers answer, and when that arrives.

use std::time::Duration;

use pitcrew_model::{Event, Evidence, Observation, ObserverName, TargetId, TestName, Verdict};

use super::{
    run::{Run, TICK},
    said::Observer,
};

impl Run<'_> {
    pub(super) fn round(&mut self) {
        self.asked += 1;
        let mut asked = Vec::new();
        for (target, service) in &self.server.watched {
            for test in &service.tests {
                if self
                    .at
                    .as_millis()
                    .is_multiple_of(test.interval.as_millis().max(1))
                {
                    asked.extend(self.ask(target, &test.name));
                }
            }
        }
        let (observers, reported) = (&self.observers, &mut self.reported);
        let is_sparing =
            |name: &ObserverName| matches!(observers.get(name), Some(Observer::SaysUnchanged(_)));
        asked.retain(|answer| reported.is_due(answer) || !is_sparing(&answer.observer));
        self.hear(asked);
        for (name, is) in &self.observers {
            if let Observer::SaysUnchanged(ahead) = is {
                self.server.events.push_back(Event::Unchanged {
                    observer: name.clone(),
                    at: self.now() + *ahead,
                });
            }
        }
        self.drain();
    }

    /// What each observer that answers says now.
    pub(super) fn ask(&self, target: &TargetId, test: &TestName) -> Vec<Observation> {
        let interval = self
            .server
            .watched
            .get(target)
            .and_then(|service| service.test(test))
            .map_or(TICK, |test| test.interval);
        // No two questions take the same time: that is how a message that came twice is told from a second answer.
        let took = Duration::from_micros(1_000 + self.asked % 1_000_000);
        let mut answers = Vec::new();
        for (observer, is) in &self.observers {
            let (verdict, evidence) = match is {
                Observer::Silent => continue,
                Observer::SeesAllDown => (Verdict::Fail, "no route to host".to_owned()),
                Observer::SeesAllUp => (Verdict::Pass, String::new()),
                Observer::Works
                | Observer::Suspect(_)
                | Observer::Late(_)
                | Observer::HeardTwice
                | Observer::SaysUnchanged(_) => {
                    self.truth.answer(self.at, target, test, observer, interval)
                }
            };
            answers.push(Observation {
                target: target.clone(),
                test: test.clone(),
                observer: observer.clone(),
                asked_at: self.now(),
                answered_at: self.now(),
                took,
                verdict,
                evidence: Evidence::new(evidence),
            });
        }
        answers
    }

    pub(super) fn hear(&mut self, answers: Vec<Observation>) {
        let mut prompt = Vec::new();
        for answer in answers {
            match self.observers.get(&answer.observer) {
                Some(Observer::Late(by)) => self.late.push((self.at + *by, answer)),
                Some(Observer::HeardTwice) => prompt.extend([answer.clone(), answer]),
                Some(_) | None => prompt.push(answer),
            }
        }
        if !prompt.is_empty() {
            self.server.events.push_back(Event::Observations(prompt));
        }
    }

    pub(super) fn deliver(&mut self) {
        let (due, still): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(at, _)| *at <= self.at);
        self.late = still;
        let answers: Vec<Observation> = due.into_iter().map(|(_, answer)| answer).collect();
        if !answers.is_empty() && self.server.brain.is_some() {
            self.server.events.push_back(Event::Observations(answers));
        }
    }
}
