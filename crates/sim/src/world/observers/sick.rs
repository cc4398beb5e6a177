//! What is wrong with observers: rounds that fail for nothing, silence, lies, stale news, zones that they can't see,
//! and control tests that say so.

use pitcrew_model::Event;

use super::World;
use crate::{
    Link, Sick, TargetIndex,
    world::{
        fleet::Level,
        queue::{Happening, Millis},
        truth::millis,
    },
};

/// Two failed control tests, five seconds apart, until it is told.
const CONTROL: Millis = 10_000;

impl World<'_> {
    pub(in crate::world) fn blip(&mut self, target: TargetIndex, test: usize) {
        let tests = self.tests_of(target);
        if tests.is_empty() || !self.observers.watched[target as usize] {
            return;
        }
        let test = test % tests.len();
        let until = self.now + millis(tests[test].interval);
        let number = u16::try_from(test).unwrap_or(u16::MAX);
        let now = self.now;
        self.observers.blips.retain(|_, until| now < *until);
        self.observers.blips.insert((target, number), until);
        for observer in 0..self.observers.count() {
            self.watch_test_closely(observer, target, number, 1);
        }
    }

    pub(in crate::world) fn fall_sick(&mut self, mishap: usize, observer: usize, how: Sick) {
        let at = observer % self.observers.count();
        self.observers.list[at].sick.push((mishap, how));
        match how {
            Sick::LiesFailing => self.look_at_shard(at, None),
            Sick::KnowsIt => {
                self.look_at_shard(at, None);
                self.push_control(at, true, CONTROL);
            }
            Sick::Silent | Sick::LiesPassing | Sick::Stale(_) => {}
        }
    }

    pub(in crate::world) fn recover(&mut self, mishap: usize) {
        for at in 0..self.observers.count() {
            let sick = &mut self.observers.list[at].sick;
            let knew = sick
                .iter()
                .any(|(which, how)| *which == mishap && *how == Sick::KnowsIt);
            sick.retain(|(which, _)| *which != mishap);
            if knew {
                self.push_control(at, false, CONTROL / 2);
            }
        }
    }

    /// An observer sees what is not there, in one zone or everywhere.
    pub(in crate::world) fn look_at_shard(&mut self, observer: usize, zone: Option<usize>) {
        for target in 0..self.fleet.len() {
            let inside =
                zone.is_none_or(|zone| self.fleet.group_of(Level::Zone, target) as usize == zone);
            if inside && self.is_in_shard(target) {
                self.watch_closely_by(observer, target, 1);
            }
        }
    }

    fn push_control(&mut self, observer: usize, trouble: bool, after: Millis) {
        let observer = u16::try_from(observer).unwrap_or(u16::MAX);
        self.queue
            .push(self.now + after, Happening::Control { observer, trouble });
    }

    /// Said again until it is heard, or no longer true.
    pub(in crate::world) fn tell_control(&mut self, observer: u16, trouble: bool) {
        let at = usize::from(observer);
        let knows = |(_, how): &(usize, Sick)| *how == Sick::KnowsIt;
        if self.observers.list[at].sick.iter().any(knows) != trouble {
            return;
        }
        let link = Link::ObserverToServer(at);
        if self.weather.is_cut(link) || !self.server.listens() {
            return self.push_control(at, trouble, CONTROL / 2);
        }
        let event = Event::Observer {
            observer: self.observers.list[at].name.clone(),
            trouble: trouble.then(|| "it can't reach its own control target".to_owned()),
        };
        self.send_to_server(link, event, true);
    }

    /// A new run of the server knows nothing of it.
    pub(in crate::world) fn repeat_control(&mut self) {
        for at in 0..self.observers.count() {
            let knows = |(_, how): &(usize, Sick)| *how == Sick::KnowsIt;
            if self.observers.list[at].sick.iter().any(knows) {
                self.push_control(at, true, CONTROL);
            }
        }
    }
}
