//! What lies between observers, server and actuators: messages may be lost, late, doubled or cut off, each direction
//! by itself. It never changes what a message says.

use pitcrew_model::{Event, Order};

use super::{
    World,
    chance::{Chance, For},
    queue::{Happening, Millis},
    truth::millis,
};
use crate::{Link, Network};

/// Of a message where nothing is wrong.
const DELAY_MIN: Millis = 1;
const DELAY_SPREAD: u64 = 5;

/// How long the sender of what must arrive waits before it sends it again.
const AGAIN: Millis = 1_000;

#[derive(Debug, Default)]
pub(super) struct Weather {
    /// With the numbers of the mishaps that brought them.
    storms: Vec<(usize, Network)>,
    cuts: Vec<(usize, Link)>,
    messages: u64,
}

/// When copies of one message arrive, counted from now; none: it is lost.
type Fate = [Option<Millis>; 2];

impl Weather {
    pub(super) fn storm(&mut self, mishap: usize, how: Network) {
        self.storms.push((mishap, how));
    }

    pub(super) fn cut(&mut self, mishap: usize, link: Link) {
        self.cuts.push((mishap, link));
    }

    pub(super) fn over(&mut self, mishap: usize) {
        self.storms.retain(|(which, _)| *which != mishap);
        self.cuts.retain(|(which, _)| *which != mishap);
    }

    pub(super) fn is_cut(&self, link: Link) -> bool {
        self.cuts.iter().any(|(_, cut)| *cut == link)
    }

    /// Whether an observer's messages may not arrive, so that it had better say everything again.
    pub(super) fn is_rough(&self, observer: usize) -> bool {
        !self.storms.is_empty() || self.is_cut(Link::ObserverToServer(observer))
    }

    /// Zones that an observer can't see.
    pub(super) fn blind_zones(&self, observer: usize) -> impl Iterator<Item = usize> {
        self.cuts.iter().filter_map(move |(_, link)| match link {
            Link::ObserverToTargets { observer: of, zone } if *of == observer => Some(*zone),
            _ => None,
        })
    }

    fn fate(&mut self, chance: Chance) -> Fate {
        self.messages += 1;
        let message = self.messages;
        let delay = |copy: u64, late: Millis| {
            let most = DELAY_SPREAD + late;
            DELAY_MIN + chance.below(most, For::Delay, &[message, copy])
        };
        let mut fate = [Some(delay(0, 0)), None];
        for (number, (_, how)) in (0u64..).zip(&self.storms) {
            if chance.percent(how.lost_percent.into(), For::Loss, &[message, number]) {
                return [None, None];
            }
            let late = millis(how.late_max);
            fate[0] = Some(delay(0, late));
            if chance.percent(
                how.duplicated_percent.into(),
                For::Double,
                &[message, number],
            ) {
                fate[1] = Some(delay(1, late));
            }
        }
        fate
    }
}

impl World<'_> {
    /// `sure`: it is sent again until it arrives.
    pub(super) fn send_to_server(&mut self, link: Link, event: Event, sure: bool) {
        if self.weather.is_cut(link) {
            return;
        }
        let mut fate = self.weather.fate(self.chance);
        if sure && fate == [None, None] {
            fate[0] = Some(AGAIN);
        }
        let run = self.server.run();
        if let Some(delay) = fate[1] {
            let event = Box::new(event.clone());
            self.queue
                .push(self.now + delay, Happening::Arrives { run, event });
        }
        if let Some(delay) = fate[0] {
            let event = Box::new(event);
            self.queue
                .push(self.now + delay, Happening::Arrives { run, event });
        }
    }

    pub(super) fn send_order(&mut self, order: &Order) {
        if self.weather.is_cut(Link::ServerToActuators) {
            return;
        }
        let run = self.server.run();
        for delay in self.weather.fate(self.chance).into_iter().flatten() {
            let order = Box::new(order.clone());
            self.queue
                .push(self.now + delay, Happening::OrderArrives { run, order });
        }
    }

    /// The server asks every observer to look at once.
    pub(super) fn send_probe(&mut self, target: crate::TargetIndex, test: pitcrew_model::TestName) {
        if let Some(delay) = self.weather.fate(self.chance)[0] {
            self.queue
                .push(self.now + delay, Happening::Probe { target, test });
        }
    }
}
