//! Orders to hosts: signed, sent once, and asked for when the connection was lost before the outcome came.

use std::time::Duration;

use pitcrew_model::{OperationId, Order, Outcome, OutcomeKind};
use pitcrew_wire::{Addressed, HostName, SignedOrder, ToAgent};
use tokio::sync::oneshot;

use super::{
    Fleet,
    sessions::{Answer, Line},
};

/// How long a host may be away before the outcome of its order is "may have taken effect".
const RETURN_GRACE: Duration = Duration::from_secs(60);

/// How long hosts may take to find a server that has just begun to lead. The longest that one waits before it tries again.
const ARRIVAL_GRACE: Duration = Duration::from_secs(30);

/// Between two questions to a host whose connection breaks at once.
const PAUSE: Duration = Duration::from_millis(200);

/// What one connection brought.
enum Told {
    Outcome(Outcome),
    /// The host refuses it as forged.
    Forged(String),
    /// It was never written to the connection.
    Unsent,
    Lost,
}

/// A question that waits for its answer; nothing waits any more when it is dropped.
struct Asked<'a> {
    fleet: &'a Fleet,
    operation: &'a OperationId,
    ticket: u64,
    answered: oneshot::Receiver<Answer>,
}

impl<'a> Asked<'a> {
    fn new(fleet: &'a Fleet, host: &HostName, operation: &'a OperationId) -> Self {
        let (ticket, answered) = fleet.sessions().wait_for(host, operation);
        Self {
            fleet,
            operation,
            ticket,
            answered,
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.fleet.sessions().give_up(self.operation, self.ticket);
    }
}

impl Fleet {
    /// Always ends in an outcome. The order leaves at most once.
    pub(crate) async fn carry_out(&self, host: &HostName, order: &Order) -> Outcome {
        let Some(line) = self.line_soon(host).await else {
            let why = format!("the agent of {host} is not connected");
            return self.outcome(order, OutcomeKind::Failed, why);
        };
        let signed = match self.sign(host, &line, order) {
            Ok(signed) => signed,
            Err(why) => return self.outcome(order, OutcomeKind::Failed, why),
        };
        let telling = self.tell(host, line, order, ToAgent::Order(signed));
        let told = tokio::time::timeout(Order::OUTCOME_OVERDUE, telling).await;
        match told.unwrap_or(Told::Lost) {
            Told::Outcome(outcome) => outcome,
            Told::Forged(why) => self.outcome(order, OutcomeKind::Failed, why),
            Told::Unsent => {
                let why = format!("the agent of {host} went before it was sent");
                self.outcome(order, OutcomeKind::Failed, why)
            }
            // It goes down, and what tells of its return is its next boot.
            Told::Lost if order.action.is_on_host() => {
                let why = format!("{host} was told to reboot, and the connection ended");
                self.outcome(order, OutcomeKind::Unknown, why)
            }
            Told::Lost => {
                tracing::warn!(order = %order.id, %host, "the connection was lost after it was sent");
                self.reconcile(host, order).await
            }
        }
    }

    /// What became of an order, asked of the host when it is there, again and again for a while.
    pub(crate) async fn reconcile(&self, host: &HostName, order: &Order) -> Outcome {
        let asking = async {
            loop {
                let line = self.next_line(host).await;
                let signed = match self.sign(host, &line, order) {
                    Ok(signed) => signed,
                    Err(why) => return self.outcome(order, OutcomeKind::Unknown, why),
                };
                let told = self.tell(host, line, order, ToAgent::Reconcile(signed));
                match told.await {
                    Told::Outcome(outcome) => return outcome,
                    // That this question is not believed says nothing of the order.
                    Told::Forged(why) => return self.outcome(order, OutcomeKind::Unknown, why),
                    Told::Unsent | Told::Lost => {}
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        // An agent that is there answers in its own time; this is for one that is away.
        let away = async {
            loop {
                tokio::time::sleep(RETURN_GRACE).await;
                if self.line(host).is_none() {
                    return;
                }
            }
        };
        tokio::select! {
            outcome = asking => outcome,
            () = away => {
                let why = format!("the agent of {host} is not connected and can't be asked what became of it");
                self.outcome(order, OutcomeKind::Unknown, why)
            }
            () = tokio::time::sleep(Order::OUTCOME_OVERDUE) => {
                let why = format!("the agent of {host} does not say what became of it");
                self.outcome(order, OutcomeKind::Unknown, why)
            }
        }
    }

    fn line(&self, host: &HostName) -> Option<Line> {
        self.sessions().line(host)
    }

    /// A host that this server has not seen yet is on its way, for a while.
    async fn line_soon(&self, host: &HostName) -> Option<Line> {
        let line = self.line(host);
        let left = ARRIVAL_GRACE.saturating_sub(self.began.elapsed());
        if line.is_some() || left.is_zero() || self.sessions().has_seen(host) {
            return line;
        }
        let line = tokio::time::timeout(left, self.next_line(host)).await;
        // Meanwhile this server may have lost its place.
        line.ok().filter(|_| self.leadership.is_sure())
    }

    async fn next_line(&self, host: &HostName) -> Line {
        let mut moved = self.moved.subscribe();
        loop {
            moved.borrow_and_update();
            if let Some(line) = self.line(host) {
                return line;
            }
            // The sender is ours: it can't be gone.
            moved.changed().await.ok();
        }
    }

    fn sign(&self, host: &HostName, line: &Line, order: &Order) -> Result<SignedOrder, String> {
        let addressed = Addressed {
            installation: self.installation.clone(),
            host: host.clone(),
            boot_id: line.boot_id.clone(),
            order: order.clone(),
        };
        let signed = match (&self.office, host.is_local()) {
            (_, true) => self.own_signer.sign(&addressed),
            (Some(office), false) => office.authority.sign(&addressed),
            (None, false) => return Err("this server has no listener for agents".to_owned()),
        };
        signed.map_err(|error| format!("it can't be signed: {error}"))
    }

    async fn tell(&self, host: &HostName, line: Line, order: &Order, message: ToAgent) -> Told {
        let Line {
            first, mut ended, ..
        } = line;
        let mut asked = Asked::new(self, host, &order.operation);
        if first.try_send(message).is_err() {
            return Told::Unsent;
        }
        drop(first);
        tokio::select! {
            biased;
            answer = &mut asked.answered => match answer {
                Ok(Err(why)) => Told::Forged(why),
                Ok(Ok(outcome)) if outcome.order == order.id => {
                    Told::Outcome(self.outcome(order, outcome.kind, outcome.detail))
                }
                Ok(Ok(_)) | Err(_) => Told::Lost,
            },
            _ = ended.wait_for(|ended| *ended) => Told::Lost,
        }
    }

    /// Dated here: only answers to questions that were put after this moment count as proof.
    fn outcome(&self, order: &Order, kind: OutcomeKind, detail: String) -> Outcome {
        Outcome {
            order: order.id,
            kind,
            at: self.clock.now(),
            detail,
        }
    }
}
