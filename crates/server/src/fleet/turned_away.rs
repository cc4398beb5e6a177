//! Agents that come to a server which follows: told so, and who leads, whatever they want.
//!
//! With the certificate of the installation's authority, so that nobody else can send a host away.

use std::{sync::Arc, time::Duration};

use pitcrew_model::AgentSettings;
use pitcrew_wire::{GREETING_BYTES_MAX, ToAgent, ToServer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{Office, session};
use crate::{clock::Clock, kept::Kept, standing::Standing};

const AT_ONCE: usize = 256;
const PATIENCE: Duration = Duration::from_secs(10);

/// Until the authority is there: the first server that ever leads makes it.
const PAUSE: Duration = Duration::from_secs(1);

/// Until the task is ended.
pub(crate) async fn turn_away(
    listener: Arc<TcpListener>,
    settings: AgentSettings,
    kept: Kept,
    clock: Clock,
    standing: Arc<Standing>,
) {
    let acceptor = loop {
        let installation = standing.status().installation;
        let office = Office::open(&kept, &installation, &settings, &clock);
        let config = office.and_then(|office| office.authority.server_config(&clock));
        match config {
            Ok(config) => break TlsAcceptor::from(Arc::new(config)),
            Err(error) => tracing::debug!("agents can't be answered yet: {error}"),
        }
        sleep(PAUSE).await;
    };
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let (acceptor, standing) = (acceptor.clone(), Arc::clone(&standing));
        tokio::spawn(async move {
            let telling = timeout(PATIENCE, tell(&acceptor, stream, &standing));
            if telling.await.is_err() {
                tracing::debug!("an agent did not take the answer in");
            }
            drop(turn);
        });
    }
}

async fn tell(acceptor: &TlsAcceptor, stream: TcpStream, standing: &Standing) {
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    // What it wants is the same to us, but it must have been said before the answer is heard.
    if pitcrew_wire::read::<ToServer>(&mut stream, GREETING_BYTES_MAX)
        .await
        .is_err()
    {
        return;
    }
    let leader = standing.leader();
    session::last_words(&mut stream, &ToAgent::NotLeading { leader }).await;
}
