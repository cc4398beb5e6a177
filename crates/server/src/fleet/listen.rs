//! Accepting agents: who shows a certificate of the authority speaks for that host, who shows none may enrol, and
//! everybody else is turned away.

use std::{sync::Arc, time::Duration};

use pitcrew_model::Timestamp;
use pitcrew_wire::{Enrolled, GREETING_BYTES_MAX, HostName, Spiffe, ToAgent, ToServer, WireError};
use rustls::pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_parser::{extensions::GeneralName, prelude::*};

use super::{Fleet, Office, session};

/// Handshakes and enrolments at once: each costs a signature, and nobody is known yet.
const STRANGERS_MAX: usize = 256;
const PATIENCE: Duration = Duration::from_secs(10);

/// Who a certificate says somebody is, and until when.
struct Proven {
    host: HostName,
    expires_at: Timestamp,
}

/// Until the task is ended.
pub(crate) async fn listen(listener: Arc<TcpListener>, acceptor: TlsAcceptor, fleet: Arc<Fleet>) {
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    loop {
        let Ok(turn) = Arc::clone(&strangers).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("failed to accept an agent: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, fleet) = (acceptor.clone(), Arc::clone(&fleet));
        tokio::spawn(async move {
            let Some((stream, proven)) = greet(&fleet, &acceptor, stream).await else {
                return;
            };
            drop(turn);
            Box::pin(session::run(&fleet, stream, proven.host, proven.expires_at)).await;
        });
    }
}

async fn greet(
    fleet: &Fleet,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> Option<(TlsStream<TcpStream>, Proven)> {
    let peer = stream.peer_addr().ok();
    let shaking = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await;
    let mut stream = match shaking {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            fleet.refused("certificate");
            tracing::warn!(?peer, "an agent was turned away: {error}");
            return None;
        }
        Err(_elapsed) => {
            fleet.refused("silent");
            return None;
        }
    };
    let office = fleet.office.as_ref()?;
    let shown = stream.get_ref().1.peer_certificates();
    let Some(certificate) = shown.and_then(|shown| shown.first()) else {
        let enrolling = tokio::time::timeout(PATIENCE, enrol(fleet, office, &mut stream)).await;
        if enrolling.is_err() {
            fleet.refused("silent");
        }
        return None;
    };
    match prove(certificate, office.authority.installation()) {
        Some(proven) => Some((stream, proven)),
        None => {
            fleet.refused("identity");
            tracing::warn!(
                ?peer,
                "a certificate of ours names no host of this installation"
            );
            None
        }
    }
}

/// The chain is already verified.
fn prove(certificate: &CertificateDer<'_>, installation: &str) -> Option<Proven> {
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
    let issued = office.authority.issue(&host, request, now)?;
    Ok(Enrolled {
        installation: office.authority.installation().to_owned(),
        host,
        certificate: issued.certificate,
        authority: office.authority.certificate().to_owned(),
        order_key: office.authority.order_key().to_text(),
    })
}
