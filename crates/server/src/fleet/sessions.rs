//! Who is connected, and who was told to ask what. Level-triggered: what each host should ask is computed from what is
//! watched and who is there, and only the difference to what it was told is sent.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use pitcrew_model::{
    Observation, OperationId, Outcome, Runner, Service, Target, TargetId, Test, TestName, Timestamp,
};
use pitcrew_wire::{Hello, HostName, Outgoing, ToAgent, ToWrite, outgoing};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot, watch,
};

use super::{
    LEASE,
    assignment::{self, Ring},
};
use crate::api::HostStatus;

/// Assignments that wait for one host. What finds no room counts as not told, and is told when who asks what is
/// settled again.
pub(crate) const ASSIGNMENTS_MAX: usize = 1_024;
/// Beats, orders and certificates that wait for one host.
const FIRST_MAX: usize = 64;

pub(crate) struct Sessions {
    by_host: BTreeMap<HostName, Session>,
    ring: Ring,
    observers: usize,
    watched: HashMap<TargetId, Watched>,
    /// Orders that wait for their outcome, and whose they are.
    waiting: HashMap<OperationId, Waiting>,
    /// Agents that were refused because another has their name.
    claims: BTreeMap<HostName, Claim>,
    next_serial: u64,
    /// Hosts that have been connected since this server began.
    seen: HashSet<HostName>,
    is_closed: bool,
}

/// What a host says of an order. The error: it refuses it as forged, certainly without effect, and why.
pub(crate) type Answer = Result<Outcome, String>;

struct Waiting {
    host: HostName,
    /// Which of several questions about one operation.
    ticket: u64,
    answer: oneshot::Sender<Answer>,
}

/// Of however many instances: who copies a host may start it anew again and again.
struct Claim {
    /// The session that is in the place.
    incumbent: u64,
    since: Timestamp,
    is_reported: bool,
}

/// Why somebody can't have a place.
pub(crate) struct Taken {
    pub(crate) reason: String,
    /// Now it is certain that there are two: the first has been there for longer than a dead one would be.
    pub(crate) are_two: bool,
}

struct Session {
    serial: u64,
    hello: Hello,
    since: Timestamp,
    outgoing: Outgoing<ToAgent>,
    end: watch::Sender<bool>,
    /// It has said what it is and can be told what to ask.
    is_settled: bool,
    told: HashMap<TargetId, Told>,
}

struct Told {
    target: Arc<Target>,
    runner: Option<Runner>,
    tests: Vec<Arc<Test>>,
}

struct Watched {
    target: Arc<Target>,
    service: Arc<Service>,
    /// That it is or is on.
    host: HostName,
    askers: Vec<HostName>,
}

/// A place in the fleet, taken.
pub(crate) struct Joined {
    pub(crate) serial: u64,
    pub(crate) outgoing: Outgoing<ToAgent>,
    pub(crate) to_write: ToWrite<ToAgent>,
    pub(crate) ended: watch::Receiver<bool>,
}

/// The way to a connected host.
pub(crate) struct Line {
    pub(crate) boot_id: String,
    pub(crate) first: mpsc::Sender<ToAgent>,
    pub(crate) ended: watch::Receiver<bool>,
}

impl Session {
    /// Whether there was room for it.
    fn say(&self, message: ToAgent) -> bool {
        let said = self.outgoing.rest.try_send(message);
        if matches!(said, Err(TrySendError::Closed(_))) {
            self.end.send_replace(true);
        }
        said.is_ok()
    }

    /// Whether it knows now; the same again is not said again.
    fn tell(
        &mut self,
        target: &Arc<Target>,
        runner: Option<Runner>,
        tests: Vec<Arc<Test>>,
    ) -> bool {
        let told = self.told.get(&target.id);
        if told.is_some_and(|told| {
            told.target == *target && told.runner == runner && told.tests == tests
        }) {
            return true;
        }
        let is_said = self.say(ToAgent::Watch {
            target: Arc::clone(target),
            runner: runner.clone(),
            tests: tests.clone(),
        });
        if is_said {
            let told = Told {
                target: Arc::clone(target),
                runner,
                tests,
            };
            self.told.insert(target.id.clone(), told);
        }
        is_said
    }

    /// Whether it knows now.
    fn untell(&mut self, target: &TargetId) -> bool {
        if !self.told.contains_key(target) {
            return true;
        }
        let is_said = self.say(ToAgent::Unwatch {
            target: target.clone(),
        });
        if is_said {
            self.told.remove(target);
        }
        is_said
    }
}

impl Sessions {
    pub(crate) fn new(observers: usize) -> Self {
        Self {
            by_host: BTreeMap::new(),
            ring: Ring::default(),
            observers,
            watched: HashMap::new(),
            waiting: HashMap::new(),
            claims: BTreeMap::new(),
            next_serial: 0,
            seen: HashSet::new(),
            is_closed: false,
        }
    }

    /// For good: every connection ends, and no other is taken.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        for session in self.by_host.values() {
            session.end.send_replace(true);
        }
    }

    /// Connected over the network.
    pub(crate) fn len(&self) -> usize {
        let hosts = self.by_host.keys();
        hosts.filter(|host| !host.is_local()).count()
    }

    /// One identity, one connection. The same agent coming back takes its own place; another is refused, and the
    /// error says who is there.
    pub(crate) fn join(
        &mut self,
        host: &HostName,
        hello: Hello,
        now: Timestamp,
    ) -> Result<Joined, Taken> {
        if self.is_closed {
            return Err(Taken {
                reason: "this server does not lead any more".to_owned(),
                are_two: false,
            });
        }
        if let Some(there) = self.by_host.get(host)
            && there.hello.instance != hello.instance
            && !*there.end.borrow()
        {
            let since = there.since;
            let incumbent = there.serial;
            return Err(self.taken(host, incumbent, since, now));
        }
        self.claims.remove(host);
        if let Some(before) = self.by_host.remove(host) {
            before.end.send_replace(true);
        }
        self.next_serial += 1;
        let (outgoing, to_write) = outgoing(FIRST_MAX, ASSIGNMENTS_MAX);
        let (end, ended) = watch::channel(false);
        let session = Session {
            serial: self.next_serial,
            hello,
            since: now,
            outgoing: outgoing.clone(),
            end,
            is_settled: false,
            told: HashMap::new(),
        };
        self.by_host.insert(host.clone(), session);
        Ok(Joined {
            serial: self.next_serial,
            outgoing,
            to_write,
            ended,
        })
    }

    /// A host that was restarted meets its own former connection for a moment, until that is given up.
    fn taken(
        &mut self,
        host: &HostName,
        incumbent: u64,
        there: Timestamp,
        now: Timestamp,
    ) -> Taken {
        let reason = format!("another agent is connected as {host} since {there}");
        let known = self.claims.get_mut(host);
        let Some(claim) = known.filter(|claim| claim.incumbent == incumbent) else {
            let claim = Claim {
                incumbent,
                since: now,
                is_reported: false,
            };
            self.claims.insert(host.clone(), claim);
            return Taken {
                reason,
                are_two: false,
            };
        };
        let are_two = !claim.is_reported && now.since(claim.since) > LEASE;
        claim.is_reported |= are_two;
        Taken { reason, are_two }
    }

    /// A later session of the same host stays.
    pub(crate) fn leave(&mut self, host: &HostName, serial: u64) {
        if self
            .by_host
            .get(host)
            .is_none_or(|session| session.serial != serial)
        {
            return;
        }
        if let Some(session) = self.by_host.remove(host) {
            session.end.send_replace(true);
        }
        self.ring.remove(host);
    }

    /// Whoever is there under this name has lost it.
    pub(crate) fn end(&mut self, host: &HostName) {
        if let Some(session) = self.by_host.get(host) {
            session.end.send_replace(true);
        }
    }

    /// It has said what it is: from now on it asks and is ordered.
    pub(crate) fn settled(&mut self, host: &HostName, serial: u64) {
        if let Some(session) = self.by_host.get_mut(host)
            && session.serial == serial
        {
            session.is_settled = true;
            self.seen.insert(host.clone());
            // The server is an observer already.
            if !host.is_local() {
                self.ring.insert(host);
            }
        }
    }

    pub(crate) fn has_seen(&self, host: &HostName) -> bool {
        self.seen.contains(host)
    }

    pub(crate) fn line(&self, host: &HostName) -> Option<Line> {
        let session = self.by_host.get(host);
        let session = session.filter(|session| session.is_settled && !*session.end.borrow())?;
        Some(Line {
            boot_id: session.hello.boot_id.clone(),
            first: session.outgoing.first.clone(),
            ended: session.end.subscribe(),
        })
    }

    pub(crate) fn status(&self, host: &HostName, targets: usize) -> HostStatus {
        let session = self.by_host.get(host);
        HostStatus {
            host: host.to_string(),
            connected_since: session.map(|session| session.since),
            version: session.map(|session| session.hello.version.clone()),
            boot_id: session.map(|session| session.hello.boot_id.clone()),
            targets,
            is_refused: false,
        }
    }

    /// Whether everybody could be told.
    pub(crate) fn watch(
        &mut self,
        target: &Arc<Target>,
        service: &Arc<Service>,
        host: HostName,
    ) -> bool {
        let askers = self
            .watched
            .remove(&target.id)
            .map(|watched| watched.askers);
        let watched = Watched {
            target: Arc::clone(target),
            service: Arc::clone(service),
            host,
            askers: askers.unwrap_or_default(),
        };
        self.watched.insert(target.id.clone(), watched);
        self.settle(std::slice::from_ref(&target.id))
    }

    /// A host that can't be told now goes on asking until its next connection; nobody hears the answers.
    pub(crate) fn unwatch(&mut self, target: &TargetId) {
        let Some(watched) = self.watched.remove(target) else {
            return;
        };
        for host in watched.askers {
            if let Some(session) = self.by_host.get_mut(&host) {
                session.untell(target);
                session.told.remove(target);
            }
        }
    }

    pub(crate) fn watched(&self) -> Vec<TargetId> {
        self.watched.keys().cloned().collect()
    }

    pub(crate) fn watched_as(&self, target: &TargetId) -> Option<(Arc<Target>, Arc<Service>)> {
        let watched = self.watched.get(target)?;
        Some((Arc::clone(&watched.target), Arc::clone(&watched.service)))
    }

    /// Tells whoever should ask these targets what, and whoever should no longer, so. Whether all of them could be
    /// told: if not, it must be called again.
    pub(crate) fn settle(&mut self, targets: &[TargetId]) -> bool {
        let mut all_told = true;
        for id in targets {
            let Some(watched) = self.watched.get_mut(id) else {
                continue;
            };
            let tests = &watched.service.tests;
            let own = &watched.host;
            let mut asking = vec![(own, assignment::by_own_host(own, tests))];
            let shared = assignment::by_observer(tests);
            let observers = self.ring.observers(id, Some(own), self.observers);
            asking.extend(observers.map(|host| (host, shared.clone())));
            let is_asking = |host: &HostName| asking.iter().any(|(one, _)| *one == host);
            // Who could not be told to stop is still an asker, and told the next time.
            let mut askers = Vec::new();
            for gone in watched.askers.iter().filter(|host| !is_asking(host)) {
                let session = self.by_host.get_mut(gone);
                if session.is_some_and(|session| !session.untell(id)) {
                    askers.push(gone.clone());
                    all_told = false;
                }
            }
            for (host, tests) in asking {
                let session = self.by_host.get_mut(host);
                if let Some(session) = session.filter(|session| session.is_settled) {
                    askers.push(host.clone());
                    // Others know by themselves what runs there.
                    let runner = host
                        .is_local()
                        .then(|| watched.service.runner_for(&watched.target));
                    all_told &= match tests.is_empty() {
                        true => session.untell(id),
                        false => session.tell(&watched.target, runner.flatten(), tests),
                    };
                }
            }
            watched.askers = askers;
        }
        all_told
    }

    pub(crate) fn probe(&self, target: &TargetId, test: &TestName) {
        let Some(watched) = self.watched.get(target) else {
            return;
        };
        for host in &watched.askers {
            let session = self.by_host.get(host);
            let told = session.and_then(|session| Some((session, session.told.get(target)?)));
            if let Some((session, told)) = told
                && told.tests.iter().any(|told| told.name == *test)
            {
                let probe = ToAgent::Probe {
                    target: target.clone(),
                    test: test.clone(),
                };
                // The next round is soon enough for a host that has more to read than it can.
                session.say(probe);
            }
        }
    }

    /// Those of its answers that it was told to give, and how many it was not.
    pub(crate) fn assigned(
        &self,
        host: &HostName,
        observations: Vec<Observation>,
    ) -> (Vec<Observation>, usize) {
        let Some(session) = self.by_host.get(host) else {
            return (Vec::new(), observations.len());
        };
        let before = observations.len();
        let mut kept = observations;
        kept.retain(|seen| {
            let told = session.told.get(&seen.target);
            told.is_some_and(|told| told.tests.iter().any(|test| test.name == seen.test))
        });
        let refused = before - kept.len();
        (kept, refused)
    }

    pub(crate) fn wait_for(
        &mut self,
        host: &HostName,
        operation: &OperationId,
    ) -> (u64, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        self.next_serial += 1;
        let waiting = Waiting {
            host: host.clone(),
            ticket: self.next_serial,
            answer,
        };
        self.waiting.insert(operation.clone(), waiting);
        (self.next_serial, answered)
    }

    /// Nobody waits for this question's answer any more.
    pub(crate) fn give_up(&mut self, operation: &OperationId, ticket: u64) {
        let waiting = self.waiting.get(operation);
        if waiting.is_some_and(|waiting| waiting.ticket == ticket) {
            self.waiting.remove(operation);
        }
    }

    #[cfg(test)]
    pub(crate) fn awaits_anything(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether somebody waited for this, from this host.
    pub(crate) fn answer(
        &mut self,
        host: &HostName,
        operation: &OperationId,
        answer: Answer,
    ) -> bool {
        let waiting = self.waiting.get(operation);
        if waiting.is_none_or(|waiting| waiting.host != *host) {
            return false;
        }
        let waiting = self.waiting.remove(operation);
        waiting.is_some_and(|waiting| waiting.answer.send(answer).is_ok())
    }
}

#[cfg(test)]
mod tests;
