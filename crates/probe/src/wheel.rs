//! A hierarchical timer wheel: when each of many jobs is next due, at a cost per job that does not grow
//! with their number.
//!
//! Six rings of 64 slots; a slot of ring r is 64^r milliseconds wide. A timer waits in the widest ring
//! whose slot it can't yet be told apart in, and falls one ring inwards each time the hand reaches its
//! slot, so it is touched at most six times. A heap would do `log n` comparisons and cache misses for
//! each of them. Rings are chains through one array indexed by timer, so setting allocates nothing.
//!
//! Pure: it never reads a clock, `now` is told to it and must not go back (an earlier `now` is ignored).

const RINGS: usize = 6;
const OUTERMOST: u32 = 5;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Timers further away (2.1 years) wait in the outermost ring's furthest slot and are hung again from
/// there. One slot less than the whole ring: the slot under the hand must mean now, never a turn later.
const REACH_MS: u64 = (SLOTS as u64 - 1) << (SLOT_BITS * OUTERMOST);
const NONE: u32 = u32::MAX;

/// Timers are small numbers that the caller gives; each is set at most once at a time.
pub(crate) struct Wheel {
    now_ms: u64,
    /// First timer of each slot's chain.
    heads: [[u32; SLOTS]; RINGS],
    /// Bit per slot: whether its chain has a timer.
    occupied: [u64; RINGS],
    timers: Vec<Timer>,
    set: usize,
}

#[derive(Clone, Copy)]
struct Timer {
    due_ms: u64,
    previous: u32,
    next: u32,
    /// Where it hangs; `None` while it is not set.
    place: Option<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    ring: u8,
    slot: u8,
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            now_ms,
            heads: [[NONE; SLOTS]; RINGS],
            occupied: [0; RINGS],
            timers: Vec::new(),
            set: 0,
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.set
    }

    /// Sets `timer`, or moves it when it is set already. What is due in the past is due at once.
    pub(crate) fn set(&mut self, timer: u32, due_ms: u64) {
        self.cancel(timer);
        let index = timer as usize;
        if index >= self.timers.len() {
            self.timers.resize(index + 1, Timer::UNSET);
        }
        self.timers[index].due_ms = due_ms;
        self.hang(timer);
        self.set += 1;
    }

    pub(crate) fn cancel(&mut self, timer: u32) {
        let Some(Timer {
            place: Some(place),
            previous,
            next,
            ..
        }) = self.timers.get(timer as usize).copied()
        else {
            return;
        };
        let (ring, slot) = (usize::from(place.ring), usize::from(place.slot));
        if previous == NONE {
            self.heads[ring][slot] = next;
            if next == NONE {
                self.occupied[ring] &= !(1 << slot);
            }
        } else {
            self.timers[previous as usize].next = next;
        }
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
        self.timers[timer as usize].place = None;
        self.set -= 1;
    }

    /// A time at which to call [`Wheel::advance`]: no timer is due before it.
    pub(crate) fn wake_at(&self) -> Option<u64> {
        self.next_slot()
            .map(|(_, opens_ms)| opens_ms.max(self.now_ms))
    }

    /// Moves the hand to `now_ms` and yields what has become due, earliest first.
    pub(crate) fn advance(&mut self, now_ms: u64, mut due: impl FnMut(u32, u64)) {
        while let Some((place, opens_ms)) = self.next_slot()
            && opens_ms <= now_ms
        {
            self.now_ms = self.now_ms.max(opens_ms);
            let mut timer = self.take_chain(place);
            while timer != NONE {
                let Timer { next, due_ms, .. } = self.timers[timer as usize];
                self.timers[timer as usize].place = None;
                if due_ms <= self.now_ms {
                    self.set -= 1;
                    due(timer, due_ms);
                } else {
                    self.hang(timer);
                }
                timer = next;
            }
        }
        self.now_ms = self.now_ms.max(now_ms);
    }

    fn take_chain(&mut self, place: Place) -> u32 {
        let (ring, slot) = (usize::from(place.ring), usize::from(place.slot));
        self.occupied[ring] &= !(1 << slot);
        std::mem::replace(&mut self.heads[ring][slot], NONE)
    }

    fn hang(&mut self, timer: u32) {
        let place = self.place_of(self.timers[timer as usize].due_ms);
        let (ring, slot) = (usize::from(place.ring), usize::from(place.slot));
        let next = std::mem::replace(&mut self.heads[ring][slot], timer);
        if next != NONE {
            self.timers[next as usize].previous = timer;
        }
        self.occupied[ring] |= 1 << slot;
        let entry = &mut self.timers[timer as usize];
        (entry.previous, entry.next, entry.place) = (NONE, next, Some(place));
    }

    /// The highest bit in which `due` differs from now names the ring, its group of bits the slot.
    fn place_of(&self, due_ms: u64) -> Place {
        let due_ms = due_ms.clamp(self.now_ms, self.now_ms.saturating_add(REACH_MS));
        let differing = (self.now_ms ^ due_ms) | (SLOTS as u64 - 1);
        let ring = ((63 - differing.leading_zeros()) / SLOT_BITS).min(OUTERMOST);
        let slot = (due_ms >> (ring * SLOT_BITS)) % SLOTS as u64;
        Place {
            ring: u8::try_from(ring).expect("six rings"),
            slot: u8::try_from(slot).expect("64 slots"),
        }
    }

    /// The occupied slot that opens first, and when. An inner ring's slots all open before the next
    /// slot of any outer ring does, so the innermost occupied ring has it.
    fn next_slot(&self) -> Option<(Place, u64)> {
        let ring = self.occupied.iter().position(|slots| *slots != 0)?;
        let ring_bits = u32::try_from(ring).expect("six rings") * SLOT_BITS;
        let hand = (self.now_ms >> ring_bits) % SLOTS as u64;
        let ahead = self.occupied[ring]
            .rotate_right(u32::try_from(hand).expect("64 slots"))
            .trailing_zeros();
        let opens_ms = ((self.now_ms >> ring_bits) + u64::from(ahead)) << ring_bits;
        let slot = (hand + u64::from(ahead)) % SLOTS as u64;
        let place = Place {
            ring: u8::try_from(ring).expect("six rings"),
            slot: u8::try_from(slot).expect("64 slots"),
        };
        Some((place, opens_ms))
    }
}

impl Timer {
    const UNSET: Self = Self {
        due_ms: 0,
        previous: NONE,
        next: NONE,
        place: None,
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, u64),
        Cancel(u32),
        Advance(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Distances of every ring, and beyond the outermost.
        let distance = (0u32..40, 0u64..1 << 20).prop_map(|(shift, bits)| bits << shift >> 19);
        proptest::collection::vec(
            prop_oneof![
                4 => (0u32..24, distance.clone()).prop_map(|(timer, after)| Step::Set(timer, after)),
                1 => (0u32..24).prop_map(Step::Cancel),
                3 => distance.prop_map(Step::Advance),
            ],
            1..120,
        )
    }

    fn expired(wheel: &mut Wheel, now_ms: u64) -> Vec<(u64, u32)> {
        let mut due = Vec::new();
        wheel.advance(now_ms, |timer, due_ms| due.push((due_ms, timer)));
        due
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_map_does(start in 0u64..1 << 45, steps in steps()) {
            let (mut wheel, mut model, mut now) = (Wheel::new(start), BTreeMap::new(), start);
            for step in steps {
                match step {
                    Step::Set(timer, after) => {
                        wheel.set(timer, now + after);
                        model.insert(timer, now + after);
                    }
                    Step::Cancel(timer) => {
                        wheel.cancel(timer);
                        model.remove(&timer);
                    }
                    Step::Advance(by) => {
                        now += by;
                        let mut wanted: Vec<(u64, u32)> = model
                            .extract_if(.., |_, due_ms| *due_ms <= now)
                            .map(|(timer, due_ms)| (due_ms, timer))
                            .collect();
                        let mut got = expired(&mut wheel, now);
                        prop_assert!(got.is_sorted_by_key(|(due_ms, _)| *due_ms), "{got:?}");
                        wanted.sort_unstable();
                        got.sort_unstable();
                        prop_assert_eq!(got, wanted);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let first = model.values().min().copied();
                prop_assert_eq!(wheel.wake_at().is_some(), first.is_some());
                if let (Some(wake), Some(first)) = (wheel.wake_at(), first) {
                    prop_assert!(now <= wake && wake <= first.max(now), "{now} {wake} {first}");
                }
            }
        }

        #[test]
        fn sleeping_until_it_says_so_reaches_every_timer_on_time(
            start in 0u64..1 << 40, distances in proptest::collection::vec(0u64..1 << 30, 1..40)
        ) {
            let mut wheel = Wheel::new(start);
            for (timer, distance) in distances.iter().enumerate() {
                wheel.set(u32::try_from(timer).unwrap(), start + distance);
            }
            let mut reached = 0;
            while let Some(wake) = wheel.wake_at() {
                for (due_ms, _) in expired(&mut wheel, wake) {
                    prop_assert_eq!(due_ms, wake);
                    reached += 1;
                }
            }
            prop_assert_eq!(reached, distances.len());
        }
    }

    #[test]
    fn what_is_already_due_comes_at_the_next_advance() {
        let mut wheel = Wheel::new(1_000);
        wheel.set(0, 3);
        assert_eq!(wheel.wake_at(), Some(1_000));
        assert_eq!(expired(&mut wheel, 1_000), [(3, 0)]);
    }
}
