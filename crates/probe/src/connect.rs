//! A fresh connection to a target: TCP, and TLS over it. Never pooled, because a test that must connect
//! proves nothing over a connection that is already there.

use std::{io, net::SocketAddr, sync::Arc};

use pitcrew_model::TlsOptions;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    Answer, Question, resolve,
    trust::{self, Authorities, Protocols},
};

/// Connects to the target, on `port` or that of its address.
pub(crate) async fn tcp(question: &Question<'_>, port: Option<u16>) -> Result<TcpStream, Answer> {
    to_host(question, question.host()?, question.port(port)?).await
}

/// Connects to any host: each of its addresses in turn, with an equal share of the test's time.
pub(crate) async fn to_host(
    question: &Question<'_>,
    host: &str,
    port: u16,
) -> Result<TcpStream, Answer> {
    let addresses = resolve::addresses(question, host).await?;
    question.progress.reached("not connected");
    let share = question.test.timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let mut last = None;
    for (at, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(SocketAddr::new(*address, port));
        let result = if at + 1 == addresses.len() {
            connecting.await
        } else {
            timeout_at(Instant::now() + share, connecting)
                .await
                .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
        };
        match result {
            Ok(stream) => {
                question.progress.reached("connected, then silence");
                return Ok(stream);
            }
            Err(error) => last = Some(Answer::from_io(&error)),
        }
    }
    Err(last.unwrap_or_else(|| Answer::unknown(format!("`{host}` has no address"))))
}

/// Speaks TLS over `stream`: `host` is asked for and checked unless `options` name another.
pub(crate) async fn tls(
    question: &Question<'_>,
    stream: TcpStream,
    host: &str,
    options: &TlsOptions,
    protocols: Protocols,
) -> Result<TlsStream<TcpStream>, Answer> {
    let name = server_name(options, host)?;
    let config = client_config(question, options, protocols).await?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| trust::answer_from_handshake(&error))?;
    question
        .progress
        .reached("connected with TLS, then silence");
    Ok(stream)
}

/// What a handshake over an open connection trusts and offers.
pub(crate) async fn client_config(
    question: &Question<'_>,
    options: &TlsOptions,
    protocols: Protocols,
) -> Result<Arc<ClientConfig>, Answer> {
    let authorities = authorities(question, options).await?;
    question
        .progress
        .reached("connected, TLS handshake not finished");
    authorities.client_config(protocols)
}

/// Whose signatures count; the time that takes to read is not the target's.
pub(crate) async fn authorities(
    question: &Question<'_>,
    options: &TlsOptions,
) -> Result<Arc<Authorities>, Answer> {
    question
        .progress
        .waits_elsewhere("the authorities' certificates have not been read");
    question.tools.trust.authorities(options).await
}

pub(crate) fn server_name(options: &TlsOptions, host: &str) -> Result<ServerName<'static>, Answer> {
    let name = options.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned())
        .map_err(|_invalid| Answer::unknown(format!("`{name}` can't be a server's name in TLS")))
}
