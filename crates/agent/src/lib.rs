//! The agent of one host: tests what the server assigns, and carries out what it orders, within what the host allows.
//!
//! It believes the server no more than it must. Every order is checked here once more: who signed it, for whom, until
//! when, by which server of several, for which of this host's own targets, by which action of a closed catalogue,
//! and within the host's own limits. What is done is what the host's configuration says runs the target; no command
//! comes from the server. It decides nothing by itself, and does nothing when nobody orders.
//!
//! It is one process, or two ([`hands`]): one that talks to the network and has no privileges, one that acts and has no
//! network.

mod assigned;
mod backoff;
mod caps;
mod clock;
mod embedded;
mod enrol;
mod hands;
mod identity;
mod inventory;
mod leases;
mod membership;
mod orders;
mod processes;
mod run;
mod servers;
mod session;
mod tls;

use std::{io, path::PathBuf};

use pitcrew_act::SuperviseError;
use pitcrew_model::HostSettings;

pub use backoff::Backoff;
pub use embedded::{Embedded, embedded};
pub use hands::{HandsOptions, hands};
pub use processes::Processes;
pub use run::run;

#[derive(Clone, Debug)]
pub struct Options {
    /// `HOST:PORT` of each server's listener for agents; at least one. One of them leads, and is stayed with.
    pub servers: Vec<String>,
    /// With the token of `pitcrew enroll`; needed until the host is enrolled.
    pub token_file: Option<PathBuf>,
    pub data: PathBuf,
    pub settings: HostSettings,
    /// Where the privileged process takes orders; absent when this process carries them out itself.
    pub hands: Option<PathBuf>,
    /// Of Pitcrew.
    pub version: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("failed to {doing} {}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{}: {why}", path.display())]
    Content { path: PathBuf, why: String },
    #[error(
        "this host is not enrolled: on the server run `pitcrew enroll HOST`, write what it prints into a file here, \
         and name it: --token-file FILE"
    )]
    NotEnrolled,
    #[error(
        "what `run` starts would have no network, for this process has none: give it one with `systemctl edit \
         pitcrew-agent-hands`: [Service], PrivateNetwork=no, RestrictAddressFamilies="
    )]
    NoNetwork,
    #[error("{0}")]
    User(String),
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
    #[error("failed to {doing}")]
    System {
        doing: &'static str,
        source: io::Error,
    },
}
