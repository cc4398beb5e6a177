//! From a token to an identity: once, over a connection that is sure of the server and has nothing yet to be known by.

use std::{fs, path::Path, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use pitcrew_wire::{EnrolToken, FRAME_BYTES_MAX, ToAgent, ToServer, WireError, to_hex};

use crate::{
    AgentError, identity,
    identity::Identity,
    tls::{self, ConnectError},
};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrolError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("failed to make a key: {0}")]
    Key(#[from] rcgen::Error),
    #[error("failed to speak with the server: {0}")]
    Wire(#[from] WireError),
    #[error("the server refused the token: {0}")]
    Refused(String),
    #[error("the server follows{}", .0.as_ref().map_or_else(String::new, |leader| format!(": {leader} leads")))]
    NotLeading(Option<String>),
    #[error("the server gave no answer that makes sense")]
    Answer,
}

/// A token and the SHA-256 of its text.
pub(crate) struct ReadToken {
    pub(crate) token: EnrolToken,
    pub(crate) digest: String,
}

pub(crate) fn read_token(path: &Path) -> Result<ReadToken, AgentError> {
    let text = fs::read_to_string(path).map_err(|source| AgentError::File {
        doing: "read the token",
        path: path.to_owned(),
        source,
    })?;
    let text = text.trim();
    let token = text.parse().map_err(|error| AgentError::Content {
        path: path.to_owned(),
        why: format!("{error}"),
    })?;
    Ok(ReadToken {
        token,
        digest: to_hex(digest(&SHA256, text.as_bytes()).as_ref()),
    })
}

pub(crate) async fn enrol(server: &str, read: &ReadToken) -> Result<Identity, EnrolError> {
    let mut stream = tls::connect(server, tls::to_enrol(read.token.pin)?).await?;
    let requested = identity::request()?;
    let asked = ToServer::Enrol {
        secret: to_hex(&read.token.secret),
        request: requested.request,
    };
    let answering = async {
        pitcrew_wire::write(&mut stream, &asked).await?;
        pitcrew_wire::read::<ToAgent>(&mut stream, FRAME_BYTES_MAX).await
    };
    let answer = tokio::time::timeout(PATIENCE, answering).await;
    match answer.map_err(|_elapsed| EnrolError::Answer)?? {
        ToAgent::Enrolled(enrolled) if enrolled.host == read.token.host => {
            Ok(Identity::new(enrolled, requested.key, read.digest.clone()))
        }
        ToAgent::NotLeading { leader } => Err(EnrolError::NotLeading(leader)),
        ToAgent::Refused { reason } => Err(EnrolError::Refused(reason)),
        _ => Err(EnrolError::Answer),
    }
}
