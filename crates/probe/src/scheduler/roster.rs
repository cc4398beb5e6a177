//! Who is asked when: all jobs, their rhythm, and the queue for permits.
//!
//! Pure: `now` is told, nothing waits, spawns or asks. The shell calls [`Roster::advance`] when
//! [`Roster::wake_at`] has come, starts what [`Roster::start`] yields, and reports each end to
//! [`Roster::finish`].
//!
//! A job has at most one round under way, so a hung target costs one permit and its own next rounds,
//! which are counted as missed and never pile up. Its regular rounds fall on the instants
//! `phase + n × interval` of the clock, with a phase that is a hash of its name: the same after every
//! restart, and spread evenly over all jobs.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use pitcrew_model::{Observation, Runner, Target, TargetId, Test, TestKind, TestName};
use tokio::{sync::mpsc::UnboundedSender, task::AbortHandle};

use super::statistics::Counters;
use crate::wheel::Wheel;

/// First rounds after a watch are spread over this, or over a millisecond for each ten jobs.
const FIRST_SPREAD_MS: u64 = 1_000;
const FIRST_JOBS_PER_MS: u64 = 10;

/// One test of one target.
#[derive(Debug, PartialEq)]
pub(super) struct Job {
    pub(super) target: Arc<Target>,
    pub(super) runner: Option<Arc<Runner>>,
    pub(super) test: Arc<Test>,
}

/// Names one round under way. A job that was replaced meanwhile has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    slot: u32,
    generation: u64,
}

/// A round to start now.
pub(super) struct Round {
    pub(super) ticket: Ticket,
    pub(super) job: Arc<Job>,
}

pub(super) struct Roster {
    concurrency: usize,
    wheel: Wheel,
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_target: HashMap<TargetId, Vec<u32>>,
    /// Due, waiting for a permit; in order of becoming due.
    queue: VecDeque<Ticket>,
    /// Asked for by someone who waits: goes first.
    urgent: VecDeque<(Ticket, u64)>,
    in_flight: usize,
    generations: u64,
    stopped: bool,
    pub(super) counters: Counters,
}

struct Entry {
    job: Arc<Job>,
    generation: u64,
    phase_ms: u64,
    /// When its last regular round was due.
    due_ms: u64,
    queued: bool,
    /// Wants an extra round, not before this.
    wanted_at_ms: Option<u64>,
    asking: Option<Asking>,
    /// Who gets the answer of the extra round.
    waiters: Vec<UnboundedSender<Observation>>,
}

#[derive(Default)]
struct Asking {
    /// Not a regular round: it stands in for one that falls due under way.
    extra: bool,
    /// The target changed under way: the answer is about something that is no more.
    void: bool,
    waiters: Vec<UnboundedSender<Observation>>,
    task: Option<AbortHandle>,
}

impl Roster {
    pub(super) fn new(now_ms: u64, concurrency: usize) -> Self {
        Self {
            concurrency: concurrency.max(1),
            wheel: Wheel::new(now_ms),
            slots: Vec::new(),
            free: Vec::new(),
            by_target: HashMap::new(),
            queue: VecDeque::new(),
            urgent: VecDeque::new(),
            in_flight: 0,
            generations: 0,
            stopped: false,
            counters: Counters::default(),
        }
    }

    /// Replaces all jobs of that target. A test that is unchanged keeps its rhythm; a round under way
    /// about a target that changed is void and asked again.
    pub(super) fn watch(
        &mut self,
        now_ms: u64,
        target: &Arc<Target>,
        runner: Option<Arc<Runner>>,
        tests: Vec<Arc<Test>>,
    ) {
        if self.stopped {
            return;
        }
        let before = self.by_target.remove(&target.id).unwrap_or_default();
        let mut kept = Vec::with_capacity(tests.len());
        for test in tests {
            if test.kind == TestKind::Push || self.has(&kept, &test.name) {
                continue;
            }
            let job = Job {
                target: Arc::clone(target),
                runner: runner.clone(),
                test,
            };
            let same = before.iter().copied().find(|slot| {
                self.entry(*slot)
                    .is_some_and(|entry| entry.job.test == job.test)
            });
            kept.push(match same {
                Some(slot) => {
                    self.renew(now_ms, slot, job);
                    slot
                }
                None => self.add(now_ms, job),
            });
        }
        for slot in before.into_iter().filter(|slot| !kept.contains(slot)) {
            self.remove(slot);
        }
        if !kept.is_empty() {
            self.by_target.insert(target.id.clone(), kept);
        }
    }

    pub(super) fn unwatch(&mut self, target: &TargetId) {
        for slot in self.by_target.remove(target).unwrap_or_default() {
            self.remove(slot);
        }
    }

    /// Wants an extra round of that target's tests (or of one), asked after `now_ms` and in front of
    /// the queue; `waiter` gets its answers.
    pub(super) fn want(
        &mut self,
        now_ms: u64,
        target: &TargetId,
        test: Option<&TestName>,
        waiter: Option<&UnboundedSender<Observation>>,
    ) {
        for slot in self.by_target.get(target).cloned().unwrap_or_default() {
            let Some(entry) = self.slots[slot as usize].as_mut() else {
                continue;
            };
            if test.is_some_and(|name| *name != entry.job.test.name) {
                continue;
            }
            entry.waiters.extend(waiter.cloned());
            self.urge(slot, now_ms + 1);
        }
    }

    fn urge(&mut self, slot: u32, not_before_ms: u64) {
        if let Some(entry) = self.slots[slot as usize].as_mut() {
            let already_queued = entry.wanted_at_ms.is_some() && entry.asking.is_none();
            entry.wanted_at_ms = Some(not_before_ms);
            if entry.asking.is_none() && !already_queued {
                let ticket = entry.ticket(slot);
                self.urgent.push_back((ticket, not_before_ms));
            }
        }
    }

    /// When there is something to do again, if nothing else happens. Without a permit, rounds that
    /// wait for one are no reason to wake: `finish` brings it back.
    pub(super) fn wake_at(&self) -> Option<u64> {
        let urgent = self.urgent.front().map(|(_, not_before_ms)| *not_before_ms);
        let urgent = urgent.filter(|_| self.in_flight < self.concurrency);
        [self.wheel.wake_at(), urgent].into_iter().flatten().min()
    }

    /// Puts what has become due into the queue and sets its next time.
    pub(super) fn advance(&mut self, now_ms: u64) {
        let mut due = Vec::new();
        self.wheel
            .advance(now_ms, |slot, due_ms| due.push((slot, due_ms)));
        for (slot, due_ms) in due {
            let Some(entry) = self.slots[slot as usize].as_mut() else {
                continue;
            };
            let interval_ms = entry.interval_ms();
            let next_ms = entry.regular_after(now_ms.max(due_ms + interval_ms / 2));
            // Instants that passed while nobody looked (a pause of the machine) are missed as well.
            let mut missed = (now_ms - due_ms.min(now_ms)) / interval_ms;
            if entry.queued || entry.asking.as_ref().is_some_and(|asking| !asking.extra) {
                missed += 1;
            } else if entry.asking.is_none() {
                entry.queued = true;
                entry.due_ms = due_ms;
                let ticket = entry.ticket(slot);
                self.queue.push_back(ticket);
            }
            self.counters.missed_rounds += missed;
            self.wheel.set(slot, next_ms);
        }
    }

    /// The next round to start, while there are permits and work.
    pub(super) fn start(&mut self, now_ms: u64) -> Option<Round> {
        while !self.stopped && self.in_flight < self.concurrency {
            let (ticket, urgent) = self.next_ticket(now_ms)?;
            let Some(entry) = self.current(ticket) else {
                continue;
            };
            if entry.asking.is_some() {
                continue;
            }
            match entry.wanted_at_ms {
                // Wanted again while it was in the queue, later than that place in it is worth.
                Some(at_ms) if urgent && at_ms > now_ms => {
                    self.urgent.push_back((ticket, at_ms));
                    continue;
                }
                None if urgent => continue,
                // The extra round will do for the regular one.
                Some(_) if !urgent => {
                    entry.queued = false;
                    continue;
                }
                None if !entry.queued => continue,
                Some(_) | None => {}
            }
            entry.queued = false;
            entry.wanted_at_ms = None;
            entry.asking = Some(Asking {
                extra: urgent,
                waiters: std::mem::take(&mut entry.waiters),
                ..Asking::default()
            });
            let (job, due_ms) = (Arc::clone(&entry.job), entry.due_ms);
            if !urgent {
                self.counters.lateness.add(now_ms.saturating_sub(due_ms));
            }
            self.in_flight += 1;
            return Some(Round { ticket, job });
        }
        None
    }

    fn next_ticket(&mut self, now_ms: u64) -> Option<(Ticket, bool)> {
        if let Some((ticket, not_before_ms)) = self.urgent.front().copied()
            && not_before_ms <= now_ms
        {
            self.urgent.pop_front();
            return Some((ticket, true));
        }
        self.queue.pop_front().map(|ticket| (ticket, false))
    }

    /// Remembers the task of a round, so that stopping can end it.
    pub(super) fn started(&mut self, ticket: Ticket, task: AbortHandle) {
        if let Some(Entry {
            asking: Some(asking),
            ..
        }) = self.current(ticket)
        {
            asking.task = Some(task);
        }
    }

    /// A round has ended; gives the observation back when it still counts.
    pub(super) fn finish(
        &mut self,
        ticket: Ticket,
        observation: Observation,
    ) -> Option<Observation> {
        self.in_flight -= 1;
        let entry = self.current(ticket)?;
        let asking = entry.asking.take()?;
        let kind = entry.job.test.kind.name();
        if let Some(not_before_ms) = entry.wanted_at_ms {
            self.urgent.push_back((ticket, not_before_ms));
        }
        if asking.void {
            let entry = self.current(ticket)?;
            entry.waiters.extend(asking.waiters);
            return None;
        }
        self.counters.count(kind, observation.verdict);
        for waiter in asking.waiters {
            // A waiter that went away needs no answer.
            waiter.send(observation.clone()).ok();
        }
        Some(observation)
    }

    /// Starts nothing more, and ends what is under way.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.by_target.clear();
        self.free.clear();
        self.queue.clear();
        self.urgent.clear();
        self.wheel = Wheel::new(0);
        for entry in self.slots.drain(..).flatten() {
            if let Some(task) = entry.asking.and_then(|asking| asking.task) {
                task.abort();
            }
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn jobs(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len() + self.urgent.len()
    }

    fn has(&self, slots: &[u32], test: &TestName) -> bool {
        slots.iter().any(|slot| {
            self.entry(*slot)
                .is_some_and(|entry| entry.job.test.name == *test)
        })
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn current(&mut self, ticket: Ticket) -> Option<&mut Entry> {
        self.slots
            .get_mut(ticket.slot as usize)?
            .as_mut()
            .filter(|entry| entry.generation == ticket.generation)
    }

    fn add(&mut self, now_ms: u64, job: Job) -> u32 {
        let hash = stable_hash(&job.target.id, &job.test.name);
        self.generations += 1;
        let entry = Entry {
            generation: self.generations,
            phase_ms: hash % millis(job.test.interval),
            due_ms: now_ms,
            job: Arc::new(job),
            queued: false,
            wanted_at_ms: None,
            asking: None,
            waiters: Vec::new(),
        };
        let spread_ms = FIRST_SPREAD_MS
            .max(self.jobs() as u64 / FIRST_JOBS_PER_MS)
            .min(entry.interval_ms());
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 jobs fit in memory")
            }
        };
        self.slots[slot as usize] = Some(entry);
        // The high bits, so that the first round's place says nothing about the phase.
        self.wheel.set(slot, now_ms + (hash >> 32) % spread_ms);
        slot
    }

    fn renew(&mut self, now_ms: u64, slot: u32, job: Job) {
        let Some(entry) = self.slots[slot as usize].as_mut() else {
            return;
        };
        if *entry.job == job {
            return;
        }
        entry.job = Arc::new(job);
        if let Some(asking) = &mut entry.asking {
            asking.void = true;
            self.urge(slot, now_ms + 1);
        }
    }

    fn remove(&mut self, slot: u32) {
        self.wheel.cancel(slot);
        self.slots[slot as usize] = None;
        self.free.push(slot);
    }
}

impl Entry {
    fn ticket(&self, slot: u32) -> Ticket {
        Ticket {
            slot,
            generation: self.generation,
        }
    }

    fn interval_ms(&self) -> u64 {
        millis(self.job.test.interval)
    }

    /// The first instant of this job's rhythm after `ms`.
    fn regular_after(&self, ms: u64) -> u64 {
        let interval_ms = self.interval_ms();
        let behind_ms = (ms + interval_ms - self.phase_ms) % interval_ms;
        ms + interval_ms - behind_ms
    }
}

fn millis(interval: Duration) -> u64 {
    u64::try_from(interval.as_millis())
        .unwrap_or(u64::MAX)
        .clamp(1, u64::from(u32::MAX) * 1_000)
}

/// FNV-1a with the finalizer of SplitMix64; written out, because it must be the same in every release.
fn stable_hash(target: &TargetId, test: &TestName) -> u64 {
    let bytes = target.as_str().bytes().chain([0xff]);
    let mut hash = bytes
        .chain(test.as_str().bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
