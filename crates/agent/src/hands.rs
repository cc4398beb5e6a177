//! Who carries orders out: this very process, or a privileged one beside it that has no network.
//!
//! Apart, the process that talks to the network has no privileges: it passes on the bytes that the server signed, and
//! what became of them. It is believed nothing but what time it is: the privileged one checks signature, address, boot,
//! fence and limits by itself ([`serve`]), against the server that it met first.

mod message;
mod pinned;
mod seen;
mod serve;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pitcrew_model::{OperationId, Outcome, OutcomeKind, TargetId};
use pitcrew_wire::{FRAME_BYTES_MAX, OrderKey, SignedOrder, WireError};
use tokio::{net::UnixStream, time::timeout};

use self::message::{FromHands, Request, State, ToHands};
pub use self::serve::{HandsOptions, hands};
pub(crate) use self::{pinned::Principal, seen::Seen};
use crate::{
    clock::{ServerTime, boot_ms, wall_now},
    orders::Orders,
};

/// What the privileged process answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) enum Hands {
    Here(Arc<Orders>),
    Apart(Arc<Apart>),
}

impl Hands {
    /// What became of it; the error says why nobody has begun it.
    pub(crate) async fn carry_out(
        &self,
        signed: SignedOrder,
    ) -> Result<(OperationId, Outcome), String> {
        match self {
            Self::Here(orders) => orders.carry_out(&signed).await.map_err(told),
            Self::Apart(apart) => apart.order(signed, Request::CarryOut).await,
        }
    }

    pub(crate) async fn reconcile(
        &self,
        signed: SignedOrder,
    ) -> Result<(OperationId, Outcome), String> {
        match self {
            Self::Here(orders) => orders.reconcile(&signed).await.map_err(told),
            Self::Apart(apart) => apart.order(signed, Request::Reconcile).await,
        }
    }

    pub(crate) fn replace_key(&self, key: OrderKey) {
        match self {
            Self::Here(orders) => orders.replace_key(key),
            Self::Apart(apart) => apart.lock().order_key = key.to_text(),
        }
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The way to the privileged process: a connection for each question.
pub(crate) struct Apart {
    socket: PathBuf,
    principal: Mutex<Principal>,
    time: Arc<ServerTime>,
}

/// Why there is no answer.
enum Unanswered {
    /// It has certainly not been asked.
    NotAsked(String),
    Lost(String),
}

impl From<WireError> for Unanswered {
    fn from(error: WireError) -> Self {
        Self::Lost(error.to_string())
    }
}

impl Apart {
    pub(crate) fn new(socket: PathBuf, principal: Principal, time: Arc<ServerTime>) -> Self {
        Self {
            socket,
            principal: Mutex::new(principal),
            time,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Principal> {
        self.principal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn order(
        &self,
        signed: SignedOrder,
        request: fn(SignedOrder) -> Request,
    ) -> Result<(OperationId, Outcome), String> {
        // Nothing depends on this: it says of which order nothing is known when the answer is lost.
        let key = self.lock().order_key().map_err(told)?;
        let order = key.verify(&signed).map_err(told)?.order;
        match self.ask(request(signed)).await {
            Ok(FromHands::Ended { operation, outcome }) => Ok((operation, outcome)),
            Ok(FromHands::Refused { reason }) => Err(reason),
            Err(Unanswered::NotAsked(why)) => Err(format!(
                "the privileged part of this agent can't be asked: {why}"
            )),
            Ok(FromHands::States { .. }) => {
                Ok(self.unknown(&order, "it answered another question"))
            }
            Err(Unanswered::Lost(why)) => Ok(self.unknown(&order, &why)),
        }
    }

    fn unknown(&self, order: &pitcrew_model::Order, why: &str) -> (OperationId, Outcome) {
        let outcome = Outcome {
            order: order.id,
            kind: OutcomeKind::Unknown,
            at: self.time.latest(boot_ms()).unwrap_or_else(wall_now),
            detail: format!("the privileged part of this agent gave no answer: {why}"),
        };
        (order.operation.clone(), outcome)
    }

    /// Of the processes that it supervises.
    async fn states(&self) -> Result<Vec<(TargetId, State)>, String> {
        let asked = timeout(PATIENCE, self.ask(Request::States)).await;
        match asked {
            Ok(Ok(FromHands::States { states })) => Ok(states),
            Ok(Ok(FromHands::Refused { reason })) => Err(reason),
            Ok(Ok(FromHands::Ended { .. })) => Err("it answered another question".to_owned()),
            Ok(Err(Unanswered::NotAsked(why) | Unanswered::Lost(why))) => Err(why),
            Err(_elapsed) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }

    /// However long it takes: an actuator has limits of its own.
    async fn ask(&self, request: Request) -> Result<FromHands, Unanswered> {
        let not_asked =
            |error: io::Error| Unanswered::NotAsked(format!("{}: {error}", self.socket.display()));
        let mut stream = UnixStream::connect(&self.socket).await.map_err(not_asked)?;
        let question = ToHands {
            principal: self.lock().clone(),
            time: self.time.exchange(),
            request,
        };
        pitcrew_wire::write(&mut stream, &question).await?;
        Ok(pitcrew_wire::read(&mut stream, FRAME_BYTES_MAX).await?)
    }
}

#[cfg(test)]
mod tests;
