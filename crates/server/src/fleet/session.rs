//! One connection of one host, from hello to its end. Whatever it says that is not its to say is refused with a
//! reason and counted.

use std::{net::IpAddr, sync::Arc, time::Duration};

use pitcrew_model::{Event, Observation, OperationId, Outcome, Target, Timestamp};
use pitcrew_wire::{
    FRAME_BYTES_MAX, GREETING_BYTES_MAX, Hello, HostName, Outgoing, Protocol, ToAgent, ToServer,
    ToWrite, Welcome, WireError,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, split},
    sync::{mpsc::error::TrySendError, watch},
    time::timeout,
};

use super::{BEAT, Fleet, LEASE, inventories, sessions::Joined};
use crate::VERSION;

const PATIENCE: Duration = Duration::from_secs(10);

/// Clocks are read at two places; what lies further ahead is no time of ours.
const AHEAD_MAX: Duration = Duration::from_secs(1);

/// Whose connection it is, as its certificate says, and from where.
pub(super) struct Proven {
    pub(super) host: HostName,
    pub(super) generation: u64,
    pub(super) expires_at: Timestamp,
    pub(super) peer: IpAddr,
}

/// Why a session ended.
enum End {
    /// The connection, or the host itself.
    Gone(String),
    /// The host said what it must not: the kind, for the count, and the reason, for the host.
    Refused(&'static str, String),
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Closed | WireError::Io(_) => Self::Gone(error.to_string()),
            WireError::Oversized { .. } | WireError::Malformed(_) | WireError::OutOfBounds(_) => {
                Self::Refused(error.reason(), error.to_string())
            }
        }
    }
}

/// The other side may not listen any more; nothing is lost then.
pub(super) async fn last_words(stream: &mut (impl AsyncWrite + Unpin), message: &ToAgent) {
    let saying = async {
        pitcrew_wire::write(stream, message).await?;
        stream.shutdown().await.map_err(WireError::Io)
    };
    match timeout(PATIENCE, saying).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("an agent did not hear the answer: {error}"),
        Err(_elapsed) => tracing::debug!("an agent did not take the answer in"),
    }
}

pub(super) async fn run(
    fleet: &Arc<Fleet>,
    mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    proven: Proven,
) {
    let host = &proven.host;
    let joined = match timeout(PATIENCE, hello(fleet, &mut stream, &proven)).await {
        Ok(Ok(joined)) => joined,
        Ok(Err(End::Refused(kind, reason))) => {
            fleet.refused(kind);
            tracing::warn!(%host, "an agent was refused: {reason}");
            last_words(&mut stream, &ToAgent::Refused { reason }).await;
            return;
        }
        Ok(Err(End::Gone(why))) => {
            tracing::debug!(%host, "an agent went before it said who it is: {why}");
            return;
        }
        Err(_elapsed) => {
            fleet.refused("silent");
            return;
        }
    };
    let serial = joined.serial;
    tracing::info!(%host, "an agent is connected");
    let ended = speak(fleet, stream, &proven, joined).await;
    fleet.sessions().leave(host, serial);
    fleet.has_moved();
    match ended {
        End::Gone(why) => tracing::warn!(%host, "an agent is gone: {why}"),
        End::Refused(_, reason) => tracing::error!(%host, "an agent was refused: {reason}"),
    }
}

async fn hello(
    fleet: &Fleet,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proven: &Proven,
) -> Result<Joined, End> {
    let said = pitcrew_wire::read::<ToServer>(stream, GREETING_BYTES_MAX).await?;
    let ToServer::Hello(hello) = said else {
        let reason = "a connection with a certificate begins with hello".to_owned();
        return Err(End::Refused("out_of_turn", reason));
    };
    let Some(protocol) = Protocol::OURS.common(hello.protocol) else {
        let Protocol { oldest, newest } = Protocol::OURS;
        let reason = format!("no protocol is spoken by both: here {oldest} to {newest}");
        return Err(End::Refused("protocol", reason));
    };
    let joined = join(fleet, proven, hello)?;
    let welcome = ToAgent::Welcome(Welcome {
        protocol,
        version: VERSION.to_owned(),
        beat: BEAT,
        lease: LEASE,
        fence: fleet.leadership.fence,
        return_within: fleet.return_within(),
    });
    if let Err(error) = pitcrew_wire::write(stream, &welcome).await {
        fleet.sessions().leave(&proven.host, joined.serial);
        return Err(error.into());
    }
    Ok(joined)
}

fn join(fleet: &Fleet, proven: &Proven, hello: Hello) -> Result<Joined, End> {
    let (host, instance) = (&proven.host, hello.instance.clone());
    let mut sessions = fleet.sessions();
    // Under the lock: whoever ends a generation ends its session after it, and must find this one.
    if !fleet.is_current(proven) {
        let reason = "the certificate is no longer good: the host was enrolled again or revoked";
        return Err(End::Refused("revoked", reason.to_owned()));
    }
    let joined = sessions.join(host, hello, fleet.clock.now());
    drop(sessions);
    joined.map_err(|taken| {
        if taken.are_two {
            let evidence = vec![taken.reason.clone(), format!("the second is instance {instance}")];
            fleet.report(
                format!("two agents claim to be {host}: the second is refused; if it is a copy, enrol it under a name of its own"),
                evidence,
            );
        }
        End::Refused("second_claimant", taken.reason)
    })
}

/// Both directions at once. What is said last is said when both are over.
async fn speak(
    fleet: &Arc<Fleet>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    proven: &Proven,
    joined: Joined,
) -> End {
    let (mut reader, mut writer) = split(stream);
    let Joined {
        serial,
        outgoing,
        to_write,
        mut ended,
    } = joined;
    let (expiry, mut expires) = watch::channel(proven.expires_at);
    let hearing = async {
        loop {
            let message =
                match timeout(LEASE, pitcrew_wire::read(&mut reader, FRAME_BYTES_MAX)).await {
                    Ok(message) => message?,
                    Err(_elapsed) => {
                        return Err(End::Gone(format!("silent for {} s", LEASE.as_secs())));
                    }
                };
            let heard = Heard {
                fleet,
                proven,
                serial,
                outgoing: &outgoing,
                expiry: &expiry,
            };
            heard.take(message).await?;
        }
    };
    let end = tokio::select! {
        end = hearing => end.map_or_else(|end| end, |never: std::convert::Infallible| match never {}),
        error = keep_writing(&mut writer, to_write) => End::Gone(error),
        _ = ended.wait_for(|ended| *ended) => End::Gone("another connection of this agent took its place, its certificate was revoked, or it takes in no more".to_owned()),
        () = expired(fleet, &mut expires) => End::Refused("expired", "the certificate has expired".to_owned()),
    };
    if let End::Refused(kind, reason) = &end {
        fleet.refused(kind);
        let reason = reason.clone();
        // Half a frame may be on its way already; then the other side sees a broken connection.
        last_words(&mut writer, &ToAgent::Refused { reason }).await;
    }
    end
}

async fn keep_writing(
    writer: &mut (impl AsyncWrite + Unpin),
    mut to_write: ToWrite<ToAgent>,
) -> String {
    while let Some(message) = to_write.next().await {
        match timeout(LEASE, pitcrew_wire::write(writer, &message)).await {
            Ok(Ok(())) => {}
            Ok(Err(WireError::Oversized { bytes, max })) => {
                tracing::error!(
                    bytes,
                    max,
                    "a message is too large to be sent: tests of one target with bodies that long can't be assigned"
                );
            }
            Ok(Err(error)) => return error.to_string(),
            Err(_elapsed) => return format!("it takes nothing in for {} s", LEASE.as_secs()),
        }
    }
    "nothing more is said to it".to_owned()
}

/// Renewals move the moment, and steps of the clock.
async fn expired(fleet: &Fleet, expires: &mut watch::Receiver<Timestamp>) {
    loop {
        let left = expires.borrow_and_update().since(fleet.clock.now());
        if left.is_zero() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LEASE)) => {}
            _ = expires.changed() => {}
        }
    }
}

struct Heard<'a> {
    fleet: &'a Fleet,
    proven: &'a Proven,
    serial: u64,
    outgoing: &'a Outgoing<ToAgent>,
    expiry: &'a watch::Sender<Timestamp>,
}

impl Heard<'_> {
    async fn take(&self, message: ToServer) -> Result<(), End> {
        match message {
            ToServer::Beat { sent_ms } => {
                let now = self.fleet.clock.now();
                let unsure = !self.fleet.leadership.is_sure();
                self.say(ToAgent::Beat {
                    sent_ms,
                    now,
                    unsure,
                })
            }
            ToServer::Observations { observations } => {
                self.observations(observations).await;
                Ok(())
            }
            ToServer::Inventory { targets } => self.inventory(targets),
            ToServer::Outcome { operation, outcome } => {
                self.outcome(&operation, outcome);
                Ok(())
            }
            ToServer::Forged { operation, reason } => {
                self.forged(operation, reason);
                Ok(())
            }
            ToServer::Renew { request } => self.renew(&request),
            ToServer::Unknown => {
                self.fleet.refused("unknown_kind");
                Ok(())
            }
            ToServer::Hello(_) | ToServer::Enrol { .. } => {
                let reason = "only the first message greets".to_owned();
                Err(End::Refused("out_of_turn", reason))
            }
        }
    }

    /// What finds no room is asked for again; a host that takes nothing in is given up when its lease is over.
    fn say(&self, message: ToAgent) -> Result<(), End> {
        match self.outgoing.first.try_send(message) {
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(End::Gone("it takes in no more".to_owned())),
        }
    }

    fn outcome(&self, operation: &OperationId, outcome: Outcome) {
        let host = &self.proven.host;
        let is_awaited = self.fleet.sessions().answer(host, operation, Ok(outcome));
        if !is_awaited {
            self.fleet.refused("unasked_outcome");
            tracing::debug!(%host, %operation, "an outcome that nobody waits for");
        }
    }

    /// The host has another key for orders than this server, or somebody has written into its connection.
    fn forged(&self, operation: Option<OperationId>, reason: String) {
        let host = &self.proven.host;
        self.fleet.refused("forged_order");
        let why = format!("the agent of {host} refuses it: {reason}");
        let is_awaited = operation
            .is_some_and(|operation| self.fleet.sessions().answer(host, &operation, Err(why)));
        tracing::error!(%host, is_awaited, "an order was refused as forged: {reason}; enrol the host again");
    }

    /// Believed of what it was told to ask, as the observer that it is, of a time that has been.
    /// Nothing more is read from it until they are decided on, so that a host that floods is slowed, and not the server.
    async fn observations(&self, observations: Vec<Observation>) {
        let count = observations.len();
        let host = &self.proven.host;
        let observer = host.observer();
        let latest = self.fleet.clock.now() + AHEAD_MAX;
        let (mut kept, _) = self.fleet.sessions().assigned(host, observations);
        kept.retain(|seen| {
            seen.observer == observer
                && seen.asked_at <= seen.answered_at
                && seen.answered_at <= latest
        });
        for _ in kept.len()..count {
            self.fleet.refused("unassigned_observation");
        }
        if !kept.is_empty() {
            self.fleet.metrics.count_observations(&kept);
            self.fleet.inbox.event(Event::Observations(kept));
            // A server that stops decides nothing more.
            self.fleet.inbox.flush().await.ok();
        }
    }

    fn inventory(&self, targets: Vec<Target>) -> Result<(), End> {
        let host = &self.proven.host;
        // What is on this host, the server's configuration says.
        if !host.is_local() {
            if let Some(objection) = inventories::objection(host, &targets) {
                return Err(End::Refused("inventory", objection));
            }
            self.fleet.hear(host, self.proven.peer, targets);
        }
        self.fleet.sessions().settled(host, self.serial);
        if !host.is_local() {
            self.fleet.has_booted(host);
        }
        self.fleet.has_moved();
        Ok(())
    }

    fn renew(&self, request: &str) -> Result<(), End> {
        let Some(office) = &self.fleet.office else {
            return Err(End::Gone(
                "this server has no listener for agents".to_owned(),
            ));
        };
        let Proven {
            host, generation, ..
        } = self.proven;
        let now = self.fleet.clock.now();
        let issued = office.authority.issue(host, *generation, request, now);
        let issued = issued.map_err(|reason| End::Refused("request", reason))?;
        self.expiry.send_replace(issued.expires_at);
        self.say(ToAgent::Certificate {
            certificate: issued.certificate,
        })
    }
}
