//! Accepting agents: who shows a certificate of the authority speaks for that host, who shows none may enrol, and
//! everybody else is turned away.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pitcrew_model::Timestamp;
use pitcrew_wire::{Enrolled, GREETING_BYTES_MAX, Spiffe, ToAgent, ToServer, WireError};
use rustls::pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_parser::{extensions::GeneralName, prelude::*};

use super::{
    Fleet, Office, authority,
    session::{self, Proven},
};

/// Handshakes and enrolments at once: each costs a signature, and nobody is known yet.
const STRANGERS_MAX: usize = 256;
/// Of these from one address. Whoever is turned away for it comes again, later.
const STRANGERS_OF_ONE_ADDRESS_MAX: usize = 32;
/// For all of it, from the first byte to the certificate or the last word.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many strangers are here from each address.
#[derive(Default)]
struct Strangers(Mutex<HashMap<IpAddr, usize>>);

/// One stranger's turn, until it is dropped.
struct Turn {
    strangers: Arc<Strangers>,
    peer: IpAddr,
    _turn: OwnedSemaphorePermit,
}

impl Strangers {
    /// `None` when there are enough from there.
    fn begin(self: &Arc<Self>, peer: IpAddr, turn: OwnedSemaphorePermit) -> Option<Turn> {
        let mut here = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = here.entry(peer).or_insert(0);
        if *count >= STRANGERS_OF_ONE_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Turn {
            strangers: Arc::clone(self),
            peer,
            _turn: turn,
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let here = self.strangers.0.lock();
        let mut here = here.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = here.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                here.remove(&self.peer);
            }
        }
    }
}

/// Until the task is ended.
pub(crate) async fn listen(listener: Arc<TcpListener>, acceptor: TlsAcceptor, fleet: Arc<Fleet>) {
    let turns = Arc::new(Semaphore::new(STRANGERS_MAX));
    let strangers = Arc::new(Strangers::default());
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                tracing::warn!("failed to accept an agent: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(turn) = strangers.begin(peer, turn) else {
            fleet.refused("crowd");
            continue;
        };
        let (acceptor, fleet) = (acceptor.clone(), Arc::clone(&fleet));
        tokio::spawn(async move {
            let greeting = Box::pin(greet(&fleet, &acceptor, stream, peer));
            let Ok(greeted) = tokio::time::timeout(PATIENCE, greeting).await else {
                fleet.refused("silent");
                return;
            };
            drop(turn);
            if let Some((stream, proven)) = greeted {
                Box::pin(session::run(&fleet, stream, proven)).await;
            }
        });
    }
}

async fn greet(
    fleet: &Fleet,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: IpAddr,
) -> Option<(TlsStream<TcpStream>, Proven)> {
    let mut stream = match acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            fleet.refused("certificate");
            tracing::warn!(%peer, "an agent was turned away: {error}");
            return None;
        }
    };
    let office = fleet.office.as_ref()?;
    let shown = stream.get_ref().1.peer_certificates();
    let Some(certificate) = shown.and_then(|shown| shown.first()) else {
        enrol(fleet, office, &mut stream).await;
        return None;
    };
    match prove(certificate, office.authority.installation(), peer) {
        Some(proven) => Some((stream, proven)),
        None => {
            fleet.refused("identity");
            tracing::warn!(
                %peer,
                "a certificate of the authority is no host's of this installation"
            );
            None
        }
    }
}

/// The chain is already verified.
fn prove(certificate: &CertificateDer<'_>, installation: &str, peer: IpAddr) -> Option<Proven> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??.value;
    let mut identities = names.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Spiffe::parse(uri),
        _ => None,
    });
    let identity = identities.find(|identity| identity.installation == installation)?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(Proven {
        host: identity.host,
        generation: authority::generation(certificate.raw_serial())?,
        peer,
        expires_at: Timestamp::from_millis(seconds.saturating_mul(1_000)),
    })
}

async fn enrol(fleet: &Fleet, office: &Office, stream: &mut TlsStream<TcpStream>) {
    let said = pitcrew_wire::read::<ToServer>(stream, GREETING_BYTES_MAX).await;
    let answer = match said {
        Ok(ToServer::Enrol { secret, request }) => {
            let enrolled = enrolled(fleet, office, &secret, &request);
            enrolled.map_err(|reason| ("token", reason))
        }
        Ok(_) => Err((
            "no_certificate",
            "without a certificate a host can only enrol".to_owned(),
        )),
        Err(WireError::Closed) => return,
        Err(error) => Err((error.reason(), error.to_string())),
    };
    let answer = match answer {
        Ok(enrolled) => {
            tracing::info!(host = %enrolled.host, "a host is enrolled");
            ToAgent::Enrolled(enrolled)
        }
        Err((kind, reason)) => {
            fleet.refused(kind);
            tracing::warn!("an enrolment was refused: {reason}");
            ToAgent::Refused { reason }
        }
    };
    session::last_words(stream, &answer).await;
}

fn enrolled(
    fleet: &Fleet,
    office: &Office,
    secret: &str,
    request: &str,
) -> Result<Enrolled, String> {
    let now = fleet.clock.now();
    let host = office.tokens.redeem(secret, now)?;
    let generation = office.generations.advance(&host)?;
    fleet.sessions().end(&host);
    let issued = office.authority.issue(&host, generation, request, now)?;
    Ok(Enrolled {
        installation: office.authority.installation().to_owned(),
        host,
        certificate: issued.certificate,
        authority: office.authority.certificate().to_owned(),
        order_key: office.authority.order_key().to_text(),
    })
}
