//! Who gets the next permit: the queues for it, and the share that hung targets can't have.
//!
//! A target that answers holds its permit for milliseconds, a hung one for its whole timeout. In one
//! queue, as many hung targets as there are permits make every other wait for that long, again and
//! again. So jobs whose last round ran out of time wait in a lane of their own, and all of them
//! together never hold the last quarter of the permits. What was rejected: serving those that answer
//! first, because then, with too few permits, nobody would ever see a hung target come back.
//!
//! A job that has not been asked yet counts as prompt. So targets that all hang at once, or from their
//! first round on, still cost the others what it takes to let each of them run out of time once.

use std::collections::VecDeque;

use super::roster::Ticket;

/// How a job's last round ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// With an answer in time, whatever it was; or there was none yet.
    #[default]
    Prompt,
    /// At its deadline.
    Hung,
}

pub(super) struct Permits {
    concurrency: usize,
    hung_max: usize,
    prompt: Lane,
    hung: Lane,
}

/// Rounds of one pace: those that wait, in order of becoming due, and how many are under way.
#[derive(Default)]
struct Lane {
    regular: VecDeque<(Ticket, u64)>,
    /// Asked for by someone who waits: goes first.
    urgent: VecDeque<(Ticket, u64)>,
    in_flight: usize,
}

/// What is at the front of a queue, and not before when.
#[derive(Clone, Copy)]
pub(super) struct Front {
    pub(super) ticket: Ticket,
    pub(super) at_ms: u64,
    pub(super) urgent: bool,
    pub(super) pace: Pace,
}

impl Permits {
    pub(super) fn new(concurrency: usize) -> Self {
        let concurrency = concurrency.max(1);
        Self {
            concurrency,
            hung_max: concurrency - concurrency / 4,
            prompt: Lane::default(),
            hung: Lane::default(),
        }
    }

    pub(super) fn queue(&mut self, pace: Pace, ticket: Ticket, due_ms: u64) {
        self.lane(pace).regular.push_back((ticket, due_ms));
    }

    pub(super) fn urge(&mut self, pace: Pace, ticket: Ticket, not_before_ms: u64) {
        self.lane(pace).urgent.push_back((ticket, not_before_ms));
    }

    /// Takes out of its queue what may have a permit at `now_ms`; [`Permits::take`] takes the permit.
    pub(super) fn next(&mut self, now_ms: u64) -> Option<Front> {
        let first = self
            .fronts()
            .filter(|front| !front.urgent || front.at_ms <= now_ms)
            .min_by_key(|front| (!front.urgent, front.at_ms))?;
        let lane = self.lane(first.pace);
        match first.urgent {
            true => lane.urgent.pop_front(),
            false => lane.regular.pop_front(),
        };
        Some(first)
    }

    /// When an urgent round that waits for its time, not for a permit, can start.
    pub(super) fn wake_at(&self) -> Option<u64> {
        let urgent = self.fronts().filter(|front| front.urgent);
        urgent.map(|front| front.at_ms).min()
    }

    pub(super) fn take(&mut self, pace: Pace) {
        self.lane(pace).in_flight += 1;
    }

    pub(super) fn give_back(&mut self, pace: Pace) {
        self.lane(pace).in_flight -= 1;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.prompt.in_flight + self.hung.in_flight
    }

    pub(super) fn queued(&self) -> usize {
        let lanes = [&self.prompt, &self.hung].into_iter();
        lanes
            .map(|lane| lane.regular.len() + lane.urgent.len())
            .sum()
    }

    pub(super) fn clear(&mut self) {
        for lane in [&mut self.prompt, &mut self.hung] {
            lane.regular.clear();
            lane.urgent.clear();
        }
    }

    /// The front of each queue whose lane may have a permit now.
    fn fronts(&self) -> impl Iterator<Item = Front> {
        let some_left = self.in_flight() < self.concurrency;
        let hung_may = some_left && self.hung.in_flight < self.hung_max;
        [
            (&self.prompt.urgent, true, Pace::Prompt, some_left),
            (&self.prompt.regular, false, Pace::Prompt, some_left),
            (&self.hung.urgent, true, Pace::Hung, hung_may),
            (&self.hung.regular, false, Pace::Hung, hung_may),
        ]
        .into_iter()
        .filter(|(.., open)| *open)
        .filter_map(|(queue, urgent, pace, _)| {
            let (ticket, at_ms) = *queue.front()?;
            Some(Front {
                ticket,
                at_ms,
                urgent,
                pace,
            })
        })
    }

    fn lane(&mut self, pace: Pace) -> &mut Lane {
        match pace {
            Pace::Prompt => &mut self.prompt,
            Pace::Hung => &mut self.hung,
        }
    }
}
