//! One connection of one host, from hello to its end. Whatever it says that is not its to say is refused with a
//! reason and counted.

use std::{sync::Arc, time::Duration};

use pitcrew_model::{Event, Observation, Target, Timestamp};
use pitcrew_wire::{
    FRAME_BYTES_MAX, GREETING_BYTES_MAX, Hello, HostName, Protocol, ToAgent, ToServer, Welcome,
    WireError,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, split},
    sync::{mpsc, watch},
    time::timeout,
};

use super::{BEAT, Fleet, LEASE, inventories, sessions::Joined};
use crate::VERSION;

const PATIENCE: Duration = Duration::from_secs(10);

/// Clocks are read at two places; what lies further ahead is no time of ours.
const AHEAD_MAX: Duration = Duration::from_secs(1);

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
    host: HostName,
    expires_at: Timestamp,
) {
    let joined = match timeout(PATIENCE, hello(fleet, &mut stream, &host)).await {
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
    let ended = speak(fleet, stream, &host, joined, expires_at).await;
    fleet.sessions().leave(&host, serial);
    fleet.has_moved();
    match ended {
        End::Gone(why) => tracing::warn!(%host, "an agent is gone: {why}"),
        End::Refused(_, reason) => tracing::error!(%host, "an agent was refused: {reason}"),
    }
}

async fn hello(
    fleet: &Fleet,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &HostName,
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
    let joined = join(fleet, host, hello)?;
    let welcome = ToAgent::Welcome(Welcome {
        protocol,
        version: VERSION.to_owned(),
        beat: BEAT,
        lease: LEASE,
        fence: fleet.leadership.fence,
    });
    if let Err(error) = pitcrew_wire::write(stream, &welcome).await {
        fleet.sessions().leave(host, joined.serial);
        return Err(error.into());
    }
    Ok(joined)
}

fn join(fleet: &Fleet, host: &HostName, hello: Hello) -> Result<Joined, End> {
    let instance = hello.instance.clone();
    let joined = fleet.sessions().join(host, hello, fleet.clock.now());
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
    host: &HostName,
    joined: Joined,
    expires_at: Timestamp,
) -> End {
    let (mut reader, mut writer) = split(stream);
    let Joined {
        serial,
        outgoing,
        to_write,
        mut ended,
    } = joined;
    let (expiry, mut expires) = watch::channel(expires_at);
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
                host,
                serial,
                outgoing: &outgoing,
                expiry: &expiry,
            };
            heard.take(message)?;
        }
    };
    let end = tokio::select! {
        end = hearing => end.map_or_else(|end| end, |never: std::convert::Infallible| match never {}),
        error = keep_writing(&mut writer, to_write) => End::Gone(error),
        _ = ended.wait_for(|ended| *ended) => End::Gone("another connection of this agent took its place, or it takes in no more".to_owned()),
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
    mut to_write: mpsc::Receiver<ToAgent>,
) -> String {
    while let Some(message) = to_write.recv().await {
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

/// Renewals move the moment.
async fn expired(fleet: &Fleet, expires: &mut watch::Receiver<Timestamp>) {
    loop {
        let left = expires.borrow_and_update().since(fleet.clock.now());
        if left.is_zero() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            _ = expires.changed() => {}
        }
    }
}

struct Heard<'a> {
    fleet: &'a Fleet,
    host: &'a HostName,
    serial: u64,
    outgoing: &'a mpsc::Sender<ToAgent>,
    expiry: &'a watch::Sender<Timestamp>,
}

impl Heard<'_> {
    fn take(&self, message: ToServer) -> Result<(), End> {
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
                self.observations(observations);
                Ok(())
            }
            ToServer::Inventory { targets } => self.inventory(targets),
            ToServer::Outcome { operation, outcome } => {
                let mut sessions = self.fleet.sessions();
                if !sessions.outcome(self.host, &operation, outcome) {
                    self.fleet.refused("unasked_outcome");
                    tracing::debug!(host = %self.host, %operation, "an outcome that nobody waits for");
                }
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

    fn say(&self, message: ToAgent) -> Result<(), End> {
        let said = self.outgoing.try_send(message);
        said.map_err(|_full| End::Gone("it takes in no more".to_owned()))
    }

    /// Believed of what it was told to ask, as the observer that it is, of a time that has been.
    fn observations(&self, observations: Vec<Observation>) {
        let count = observations.len();
        let observer = self.host.observer();
        let latest = self.fleet.clock.now() + AHEAD_MAX;
        let (mut kept, _) = self.fleet.sessions().assigned(self.host, observations);
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
        }
    }

    fn inventory(&self, targets: Vec<Target>) -> Result<(), End> {
        if let Some(objection) = inventories::objection(self.host, &targets) {
            return Err(End::Refused("inventory", objection));
        }
        if self.fleet.inventories().put(self.host, targets) {
            self.fleet.said.send_modify(|count| *count += 1);
        }
        self.fleet.sessions().settled(self.host, self.serial);
        self.fleet.has_moved();
        Ok(())
    }

    fn renew(&self, request: &str) -> Result<(), End> {
        let Some(office) = &self.fleet.office else {
            return Err(End::Gone(
                "this server has no listener for agents".to_owned(),
            ));
        };
        let issued = office
            .authority
            .issue(self.host, request, self.fleet.clock.now());
        let issued = issued.map_err(|reason| End::Refused("request", reason))?;
        self.expiry.send_replace(issued.expires_at);
        self.say(ToAgent::Certificate {
            certificate: issued.certificate,
        })
    }
}
