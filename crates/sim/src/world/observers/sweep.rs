//! The first round of a run of the server, in which everything is reported once, and the word that stands for all
//! that is at rest from then on.

use pitcrew_model::Event;

use super::{BATCH, ROUNDS, World};
use crate::{Link, Sick, world::queue::Happening};

/// The first round is spread over an interval in so many slices.
const SLICES: u32 = 100;

impl World<'_> {
    /// The first round of a run of the server.
    pub(in crate::world) fn begin_sweeps(&mut self) {
        let run = self.server.run();
        for observer in 0..self.observers.count() {
            let observer = u16::try_from(observer).unwrap_or(u16::MAX);
            let sweep = Happening::Sweep {
                observer,
                run,
                slice: 0,
            };
            self.queue.push(self.now + 1, sweep);
        }
    }

    pub(in crate::world) fn sweep(&mut self, observer: u16, run: u64, slice: u32) {
        if run != self.server.run() {
            return;
        }
        let at = usize::from(observer);
        let away = self.weather.is_cut(Link::ObserverToServer(at))
            || self.observers.list[at].sickness() == Some(Sick::Silent);
        if away || !self.server.listens() {
            let sweep = Happening::Sweep {
                observer,
                run,
                slice,
            };
            self.queue.push(self.now + 1_000, sweep);
            return;
        }
        let part = |slice: u32| {
            let targets = u64::from(self.fleet.len()) * u64::from(slice) / u64::from(SLICES);
            u32::try_from(targets).unwrap_or(u32::MAX)
        };
        for target in part(slice)..part(slice + 1) {
            if !self.observers.watched[target as usize] {
                continue;
            }
            for test in 0..u16::try_from(self.tests_of(target).len()).unwrap_or(u16::MAX) {
                if !self.look_and_tell(observer, target, test, true) {
                    self.watch_test_closely(at, target, test, ROUNDS);
                }
            }
        }
        if slice + 1 < SLICES {
            let next = self.now + (self.observers.shortest / u64::from(SLICES)).max(1);
            self.queue.push(
                next,
                Happening::Sweep {
                    observer,
                    run,
                    slice: slice + 1,
                },
            );
        } else {
            self.observers.list[at].swept = run;
            self.queue
                .push(self.now + BATCH, Happening::Unchanged { observer });
        }
    }

    /// One word for all that is at rest.
    pub(in crate::world) fn say_unchanged(&mut self, observer: u16) {
        let at = usize::from(observer);
        if self.observers.list[at].swept != self.server.run() {
            return;
        }
        self.queue.push(
            self.now + self.observers.shortest,
            Happening::Unchanged { observer },
        );
        if self.observers.list[at].sickness() == Some(Sick::Silent) {
            return;
        }
        let (observer, now) = (self.observers.list[at].name.clone(), self.stamp(self.now));
        let event = Event::Unchanged { observer, at: now };
        self.send_to_server(Link::ObserverToServer(at), event, false);
    }
}
