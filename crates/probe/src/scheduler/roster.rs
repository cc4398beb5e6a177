//! Who is asked when: all jobs and their rhythm. Who then has a permit is [`Permits`]' to say.
//!
//! Pure: `now` is told, nothing waits, spawns or asks. The shell calls [`Roster::advance`] when
//! [`Roster::wake_at`] has come, starts what [`Roster::start`] yields, and reports each end to
//! [`Roster::finish`].
//!
//! A job has at most one round under way, so a hung target costs one permit and its own next rounds,
//! which are counted as missed and never pile up. Its regular rounds fall on the instants
//! `phase + n × interval` of the clock, with a phase that is a hash of its name: the same after every
//! restart, and spread evenly over all jobs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use pitcrew_model::{Observation, Runner, Target, TargetId, Test, TestKind, TestName};
use tokio::{sync::mpsc::UnboundedSender, task::AbortHandle};

use super::{
    permits::{Front, Pace, Permits},
    statistics::Counters,
};
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
    /// Which of its regular rounds it is; `None` of an extra one.
    pub(super) number: Option<u64>,
}

pub(super) struct Roster {
    wheel: Wheel,
    permits: Permits,
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_target: HashMap<TargetId, Vec<u32>>,
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
    /// Changes only when a round ends: while it waits, its place is in that lane.
    pace: Pace,
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
    waiters: Vec<UnboundedSender<Observation>>,
    task: Option<AbortHandle>,
}

impl Roster {
    pub(super) fn new(now_ms: u64, concurrency: usize) -> Self {
        Self {
            wheel: Wheel::new(now_ms),
            permits: Permits::new(concurrency),
            slots: Vec::new(),
            free: Vec::new(),
            by_target: HashMap::new(),
            generations: 0,
            stopped: false,
            counters: Counters::default(),
        }
    }

    /// Replaces all jobs of that target. A test that is unchanged keeps its rhythm; a round under way
    /// about a target that changed is ended and asked again.
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
                self.permits.urge(entry.pace, ticket, not_before_ms);
            }
        }
    }

    /// When there is something to do again, if nothing else happens. Without a permit, rounds that
    /// wait for one are no reason to wake: `finish` brings it back.
    pub(super) fn wake_at(&self) -> Option<u64> {
        let urgent = self.permits.wake_at();
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
                self.permits.queue(entry.pace, ticket, due_ms);
            }
            self.counters.missed_rounds += missed;
            self.wheel.set(slot, next_ms);
        }
    }

    /// The next round to start, while there are permits and work.
    pub(super) fn start(&mut self, now_ms: u64) -> Option<Round> {
        while !self.stopped {
            let Front {
                ticket,
                urgent,
                pace,
                ..
            } = self.permits.next(now_ms)?;
            let Some(entry) = self.current(ticket) else {
                continue;
            };
            // In another lane it is what an extra round left behind there.
            if entry.asking.is_some() || entry.pace != pace {
                continue;
            }
            match entry.wanted_at_ms {
                // Wanted again while it was in the queue, later than that place in it is worth.
                Some(at_ms) if urgent && at_ms > now_ms => {
                    self.permits.urge(pace, ticket, at_ms);
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
            self.permits.take(pace);
            let number = (!urgent).then(|| due_ms / millis(job.test.interval));
            return Some(Round {
                ticket,
                job,
                number,
            });
        }
        None
    }

    /// Remembers the task of a round, so that it can be ended before its deadline.
    pub(super) fn started(&mut self, ticket: Ticket, task: AbortHandle) {
        if let Some(Entry {
            asking: Some(asking),
            ..
        }) = self.current(ticket)
        {
            asking.task = Some(task);
        }
    }

    /// A round has ended; gives the observation back when it still counts. An answer that comes after
    /// its round was ended from here is about something that is no more, and holds no permit.
    pub(super) fn finish(
        &mut self,
        ticket: Ticket,
        observation: Observation,
    ) -> Option<Observation> {
        let entry = self.current(ticket)?;
        let asking = entry.asking.take()?;
        let kind = entry.job.test.kind.name();
        let pace_before = entry.pace;
        entry.pace = match observation.took < entry.job.test.timeout {
            true => Pace::Prompt,
            false => Pace::Hung,
        };
        let (pace, wanted_at_ms) = (entry.pace, entry.wanted_at_ms);
        self.permits.give_back(pace_before);
        if let Some(not_before_ms) = wanted_at_ms {
            self.permits.urge(pace, ticket, not_before_ms);
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
        self.permits.clear();
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
        self.permits.in_flight()
    }

    pub(super) fn queued(&self) -> usize {
        self.permits.queued()
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
            pace: Pace::default(),
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
        if let Some(asking) = self.end_round(slot) {
            if let Some(entry) = self.slots[slot as usize].as_mut() {
                entry.waiters.extend(asking.waiters);
                // What was wanted under way has no place in the queue yet, and gets this one.
                entry.wanted_at_ms = None;
            }
            self.urge(slot, now_ms + 1);
        }
    }

    /// Ends the round under way without its answer. Its permit is back at once: a hung target that
    /// nobody asks about any more must not keep it until its deadline.
    fn end_round(&mut self, slot: u32) -> Option<Asking> {
        let entry = self.slots[slot as usize].as_mut()?;
        let asking = entry.asking.take()?;
        if let Some(task) = &asking.task {
            task.abort();
        }
        // The task may be past its question already: its answer must find nothing. A job that is being
        // asked is in no queue, so no ticket of this generation is missed.
        self.generations += 1;
        entry.generation = self.generations;
        self.permits.give_back(entry.pace);
        Some(asking)
    }

    fn remove(&mut self, slot: u32) {
        self.end_round(slot);
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use pitcrew_model::{
        Address, Evidence, Labels, ObserverName, Place, Proves, SourceName, TcpTest, Verdict,
    };

    use super::*;

    const START_MS: u64 = 1_795_374_919_042;

    fn target(id: &str, address: &str) -> Arc<Target> {
        Arc::new(Target {
            id: TargetId::new(id).unwrap(),
            address: Some(Address(address.into())),
            labels: Labels::default(),
            run_on: None,
            runner: None,
            source: SourceName::new("tests").unwrap(),
        })
    }

    fn test(name: &str, interval_ms: u64) -> Arc<Test> {
        Arc::new(Test {
            name: TestName::new(name).unwrap(),
            kind: TestKind::Tcp(TcpTest {
                port: None,
                send: None,
                expect: None,
            }),
            interval: Duration::from_millis(interval_ms),
            timeout: Duration::from_millis(interval_ms),
            failure_threshold: 3,
            success_threshold: 2,
            proves: Proves::Down,
            place: Place::Server,
        })
    }

    fn observation(round: &Round, asked_ms: u64) -> Observation {
        Observation {
            target: round.job.target.id.clone(),
            test: round.job.test.name.clone(),
            observer: ObserverName::new("local").unwrap(),
            asked_at: pitcrew_model::Timestamp::from_millis(asked_ms),
            answered_at: pitcrew_model::Timestamp::from_millis(asked_ms),
            took: Duration::ZERO,
            verdict: Verdict::Pass,
            evidence: Evidence::new("ok"),
        }
    }

    /// A roster with its clock; rounds end when told to.
    struct World {
        roster: Roster,
        now_ms: u64,
    }

    impl World {
        fn new(concurrency: usize) -> Self {
            Self {
                roster: Roster::new(START_MS, concurrency),
                now_ms: START_MS,
            }
        }

        fn watch(&mut self, target: &Arc<Target>, tests: &[&Arc<Test>]) {
            let tests = tests.iter().map(|test| Arc::clone(test)).collect();
            self.roster.watch(self.now_ms, target, None, tests);
        }

        fn want(&mut self, target: &Arc<Target>) {
            self.roster.want(self.now_ms, &target.id, None, None);
        }

        /// Every round that starts until `until_ms` (after the start), and when.
        fn run(&mut self, until_ms: u64) -> Vec<(u64, Round)> {
            let (until_ms, mut started) = (START_MS + until_ms, Vec::new());
            loop {
                self.roster.advance(self.now_ms);
                while let Some(round) = self.roster.start(self.now_ms) {
                    started.push((self.now_ms - START_MS, round));
                }
                match self.roster.wake_at() {
                    Some(wake_ms) if wake_ms <= until_ms => self.now_ms = wake_ms,
                    _ => break,
                }
            }
            self.now_ms = until_ms;
            started
        }

        /// As `run`, with every round ending at once.
        fn run_answered(&mut self, until_ms: u64) -> Vec<(u64, String)> {
            let until_ms = START_MS + until_ms;
            let mut ended = Vec::new();
            while self.now_ms < until_ms {
                let next_ms = self
                    .roster
                    .wake_at()
                    .map_or(until_ms, |ms| ms.min(until_ms));
                for (at_ms, round) in self.run(next_ms - START_MS) {
                    ended.push((at_ms, round.job.target.id.to_string()));
                    self.finish(&round);
                }
                self.now_ms = next_ms.max(self.now_ms);
                if self.roster.wake_at().is_none_or(|ms| ms > until_ms) {
                    break;
                }
            }
            self.now_ms = until_ms;
            ended
        }

        fn finish(&mut self, round: &Round) -> Option<Observation> {
            let observation = observation(round, self.now_ms);
            self.roster.finish(round.ticket, observation)
        }
    }

    #[test]
    fn the_first_round_is_soon_and_the_rhythm_is_the_same_after_a_restart() {
        let (target, test) = (target("web-1", "10.0.0.1:80"), test("answers", 5_000));
        let rounds = |from_ms: u64| {
            let mut world = World::new(8);
            world.now_ms += from_ms;
            world.watch(&target, &[&test]);
            let rounds = world.run_answered(60_000 + from_ms);
            rounds
                .into_iter()
                .map(|(at_ms, _)| at_ms)
                .collect::<Vec<_>>()
        };
        let (first, restarted) = (rounds(0), rounds(17_123));
        assert!(first[0] <= 1_000, "{first:?}");
        assert!(restarted[0] <= 18_123, "{restarted:?}");
        assert!(first[1..].windows(2).all(|two| two[1] - two[0] == 5_000));
        assert_eq!(first[2] % 5_000, restarted[2] % 5_000);
    }

    #[test]
    fn phases_of_many_jobs_are_spread_over_the_interval() {
        let mut world = World::new(10_000);
        let test = test("answers", 10_000);
        for number in 0..10_000 {
            world.watch(&target(&format!("web-{number}"), "10.0.0.1:80"), &[&test]);
        }
        world.run_answered(20_000);
        let rounds = world.run_answered(30_000);
        assert_eq!(rounds.len(), 10_000);
        for second in 20..30 {
            let within = rounds.iter().filter(|(ms, _)| ms / 1_000 == second).count();
            assert!((850..1_150).contains(&within), "{second}: {within}");
        }
    }

    #[test]
    fn a_hung_target_misses_its_own_rounds_and_delays_no_other() {
        let mut world = World::new(2);
        let test = test("answers", 1_000);
        let (hung, well) = (target("hung", "10.0.0.1:80"), target("well", "10.0.0.2:80"));
        world.watch(&hung, &[&test]);
        let rounds = world.run(1_000);
        assert_eq!(rounds.len(), 1);
        world.watch(&well, &[&test]);
        let well_rounds = world.run_answered(11_000);
        assert!(well_rounds.iter().all(|(_, id)| id == "well"));
        assert!((10..=11).contains(&well_rounds.len()), "{well_rounds:?}");
        assert!((9..=11).contains(&world.roster.counters.missed_rounds));
        assert_eq!(world.roster.queued(), 0);
    }

    /// A fleet of which `hung` targets answer nothing and 40 answer at once, for `until_ms`; the longest
    /// that a round of one that answers had to wait, after `from_ms`, and how many rounds the hung had.
    fn latest_ms(concurrency: usize, hung: usize, from_ms: u64, until_ms: u64) -> (u64, usize) {
        let mut world = World::new(concurrency);
        let test = test("answers", 10_000);
        for number in 0..40 {
            world.watch(&target(&format!("well-{number}"), "10.0.0.1:80"), &[&test]);
        }
        for number in 0..hung {
            world.watch(&target(&format!("hung-{number}"), "10.0.0.2:80"), &[&test]);
        }
        let mut deadlines: VecDeque<(u64, Round)> = VecDeque::new();
        let (mut latest_ms, mut hung_rounds) = (0, 0);
        for now_ms in 0..until_ms {
            if now_ms == from_ms {
                world.roster.counters = Counters::default();
            }
            world.now_ms = START_MS + now_ms;
            while deadlines.front().is_some_and(|(at_ms, _)| *at_ms <= now_ms) {
                let (_, round) = deadlines.pop_front().unwrap();
                let mut observation = observation(&round, world.now_ms);
                observation.took = round.job.test.timeout;
                world.roster.finish(round.ticket, observation);
            }
            world.roster.advance(world.now_ms);
            while let Some(round) = world.roster.start(world.now_ms) {
                if round.job.target.id.as_str().starts_with("hung") {
                    deadlines.push_back((now_ms + 10_000, round));
                    hung_rounds += usize::from(now_ms >= from_ms);
                    continue;
                }
                let slot = round.ticket.slot;
                let due_ms = world.roster.entry(slot).unwrap().due_ms;
                if now_ms >= from_ms {
                    latest_ms = latest_ms.max(world.now_ms - due_ms);
                }
                world.finish(&round);
            }
        }
        (latest_ms, hung_rounds)
    }

    #[test]
    fn as_many_hung_targets_as_there_are_permits_delay_none_that_answers() {
        // From when each has run out of time once.
        let (latest_ms, hung_rounds) = latest_ms(8, 8, 30_000, 120_000);
        assert_eq!(latest_ms, 0);
        assert!(hung_rounds >= 5 * 8, "they are asked: {hung_rounds}");
    }

    #[test]
    fn ten_times_as_many_delay_none_either_and_are_still_asked_in_turn() {
        let (latest_ms, hung_rounds) = latest_ms(8, 80, 200_000, 600_000);
        assert_eq!(latest_ms, 0);
        assert!(
            hung_rounds >= 40 * 6 - 6,
            "six permits are theirs: {hung_rounds}"
        );
    }

    #[test]
    fn a_hung_target_that_answers_again_is_prompt_again() {
        let mut world = World::new(4);
        let test = test("answers", 10_000);
        let targets: Vec<_> = (0..4)
            .map(|number| target(&format!("web-{number}"), "10.0.0.1:80"))
            .collect();
        for target in &targets {
            world.watch(target, &[&test]);
        }
        for (_, round) in world.run(1_000) {
            let mut observation = observation(&round, world.now_ms);
            observation.took = round.job.test.timeout;
            world.roster.finish(round.ticket, observation);
        }
        for target in &targets {
            world.want(target);
        }
        let rounds = world.run(1_010);
        assert_eq!((rounds.len(), world.roster.queued()), (3, 1));
        world.finish(&rounds[0].1);
        assert_eq!(world.run(1_011).len(), 1, "the fourth in its place");
        world.want(&rounds[0].1.job.target);
        let again = world.run(1_020);
        assert_eq!(again.len(), 1, "with the permit of those that answer");
    }

    #[test]
    fn without_permits_rounds_wait_in_turn_and_nothing_spins() {
        let mut world = World::new(1);
        let test = test("answers", 60_000);
        let targets = ["a", "b", "c"].map(|id| target(id, "10.0.0.1:80"));
        for target in &targets {
            world.watch(target, &[&test]);
        }
        let first = world.run(1_000);
        assert_eq!((first.len(), world.roster.queued()), (1, 2));
        world.want(&targets[2]);
        let wake_ms = world.roster.wake_at().unwrap();
        assert!(
            wake_ms > world.now_ms + 1,
            "nothing can start before a permit is back"
        );
        world.now_ms += 1;
        world.finish(&first[0].1);
        let next = world.roster.start(world.now_ms).unwrap();
        assert_eq!(
            next.job.target.id, targets[2].id,
            "what someone waits for goes first"
        );
    }

    #[test]
    fn an_extra_round_is_asked_after_the_call_even_when_one_is_under_way() {
        let mut world = World::new(4);
        let (web, test) = (target("web", "10.0.0.1:80"), test("answers", 60_000));
        world.watch(&web, &[&test]);
        let under_way = world.run(1_000).remove(0).1;
        world.want(&web);
        world.want(&web);
        assert!(world.run(1_500).is_empty(), "one round of a job at a time");
        assert!(world.finish(&under_way).is_some());
        let extra = world.run(1_600);
        assert_eq!(extra.len(), 1, "two calls before it are answered by one");
        assert!(world.finish(&extra[0].1).is_some());
        let called_ms = world.now_ms - START_MS;
        world.want(&web);
        let asked = world.run(2_000);
        assert_eq!(asked[0].0, called_ms + 1, "at once, but after the call");
    }

    #[test]
    fn watching_again_unchanged_keeps_everything() {
        let mut world = World::new(4);
        let (web, tests) = (
            target("web", "10.0.0.1:80"),
            [test("a", 9_000), test("b", 7_000)],
        );
        world.watch(&web, &[&tests[0], &tests[1]]);
        world.run_answered(30_000);
        let due = world.roster.wake_at();
        let same = [test("a", 9_000), test("b", 7_000)];
        world.watch(&target("web", "10.0.0.1:80"), &[&same[1], &same[0]]);
        assert_eq!((world.roster.wake_at(), world.roster.jobs()), (due, 2));
    }

    #[test]
    fn a_round_about_a_target_that_changed_is_ended_and_asked_again() {
        let mut world = World::new(1);
        let test = test("answers", 60_000);
        world.watch(&target("web", "10.0.0.1:80"), &[&test]);
        let old = world.run(1_000).remove(0).1;
        world.want(&old.job.target);
        world.watch(&target("web", "10.0.0.2:80"), &[&test]);
        let again = world.run(1_010);
        assert_eq!(again.len(), 1, "the permit is back at once");
        assert_eq!(
            again[0].1.job.target.address,
            Some(Address("10.0.0.2:80".into()))
        );
        assert!(world.finish(&old).is_none(), "an answer that comes late");
        assert_eq!(world.roster.in_flight(), 1);
        assert!(world.finish(&again[0].1).is_some());
        assert_eq!((world.roster.in_flight(), world.roster.queued()), (0, 0));
    }

    #[test]
    fn what_is_unwatched_is_forgotten_and_its_round_under_way_gives_its_permit_back() {
        let mut world = World::new(1);
        let (web, other) = (target("web", "10.0.0.1:80"), target("other", "10.0.0.2:80"));
        let test = test("answers", 5_000);
        world.watch(&web, &[&test]);
        let round = world.run(1_000).remove(0).1;
        world.roster.unwatch(&web.id);
        assert_eq!(
            (world.roster.wake_at(), world.roster.in_flight()),
            (None, 0)
        );
        world.watch(&other, &[&test]);
        let next = world.run(2_500);
        assert_eq!(next[0].1.job.target.id, other.id);
        assert!(
            world.finish(&round).is_none(),
            "the slot's new owner is not confused"
        );
        assert_eq!(world.roster.in_flight(), 1);
        assert!(world.finish(&next[0].1).is_some());
    }

    #[test]
    fn rounds_during_a_pause_of_the_machine_are_missed_not_made_up_for() {
        let mut world = World::new(4);
        world.watch(&target("web", "10.0.0.1:80"), &[&test("answers", 1_000)]);
        world.run_answered(10_000);
        let missed_before = world.roster.counters.missed_rounds;
        world.now_ms += 60_000;
        world.roster.advance(world.now_ms);
        assert!(world.roster.start(world.now_ms).is_some());
        assert!(world.roster.start(world.now_ms).is_none());
        let missed = world.roster.counters.missed_rounds - missed_before;
        assert!((59..=60).contains(&missed), "{missed}");
    }

    #[test]
    fn pushed_tests_are_not_scheduled() {
        let mut world = World::new(4);
        let pushed = Test {
            kind: TestKind::Push,
            ..(*test("cron", 1_000)).clone()
        };
        world.watch(&target("web", "10.0.0.1:80"), &[&Arc::new(pushed)]);
        assert_eq!((world.roster.jobs(), world.roster.wake_at()), (0, None));
    }
}
