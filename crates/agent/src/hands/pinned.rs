//! Whose orders the privileged process obeys: of the server that the host was enrolled with first, for good.
//!
//! The other process says who that is, once, when a person has just enrolled the host; later it can't say otherwise,
//! captured or not. `principal.json` in the data of the privileged process; a person removes it to begin anew.
//!
//! Beside it `newest`: when the newest order was given, by its signed word. An order that had expired by then is refused
//! whatever time it is said to be, so one that was carried out and long forgotten is never carried out again.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use pitcrew_act::write_durably;
use pitcrew_model::{Order, Timestamp};
use pitcrew_wire::{HostName, OrderKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{AgentError, identity::Identity};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Principal {
    pub(crate) installation: String,
    pub(crate) host: HostName,
    /// Ed25519, hexadecimal.
    pub(crate) order_key: String,
}

impl Principal {
    pub(crate) fn of(identity: &Identity) -> Self {
        Self {
            installation: identity.installation.clone(),
            host: identity.host.clone(),
            order_key: identity.order_key.clone(),
        }
    }

    pub(crate) fn order_key(&self) -> Result<OrderKey, AgentError> {
        OrderKey::parse(&self.order_key).ok_or_else(|| AgentError::Content {
            path: "identity.json".into(),
            why: "its key of orders is none: remove it and enrol this host again".to_owned(),
        })
    }
}

fn file(data: &Path) -> PathBuf {
    data.join("principal.json")
}

pub(super) fn load(data: &Path) -> Result<Option<Principal>, AgentError> {
    read(&file(data))
}

pub(super) fn pin(data: &Path, principal: &Principal) -> Result<(), AgentError> {
    write(&file(data), principal)
}

/// The error says what a person can do.
pub(super) fn judge(data: &Path, pinned: &Principal, said: &Principal) -> Result<(), String> {
    if pinned == said {
        return Ok(());
    }
    let what = if (&pinned.installation, &pinned.host) == (&said.installation, &said.host) {
        "with another key for its orders".to_owned()
    } else {
        format!("as {} of installation {}", said.host, said.installation)
    };
    Err(format!(
        "this host was enrolled first as {} of installation {} and is now {what}: if that is right, \
         remove {} and restart pitcrew-agent-hands",
        pinned.host,
        pinned.installation,
        file(data).display()
    ))
}

/// When the newest order was given.
pub(super) struct Newest {
    file: PathBuf,
    given_at: Mutex<Timestamp>,
}

impl Newest {
    pub(super) fn open(data: &Path) -> Result<Self, AgentError> {
        let file = data.join("newest");
        let given_at = read(&file)?.unwrap_or(Timestamp::ZERO);
        Ok(Self {
            file,
            given_at: Mutex::new(given_at),
        })
    }

    /// Of an order whose signature was verified.
    pub(super) fn admit(&self, order: &Order) -> Result<(), String> {
        let mut newest = self.given_at.lock().unwrap_or_else(PoisonError::into_inner);
        if order.expires_at <= *newest {
            return Err(format!(
                "it expired at {}, and the server gave another order at {newest}; if the server's clock was set \
                 back, remove {} and restart pitcrew-agent-hands",
                order.expires_at,
                self.file.display()
            ));
        }
        if order.given_at > *newest {
            write(&self.file, &order.given_at).map_err(|error| error.to_string())?;
            *newest = order.given_at;
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, AgentError> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| AgentError::Content {
                    path: path.to_owned(),
                    why: format!("it is broken, so whom to obey is not known: {error}"),
                })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AgentError::File {
            doing: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), AgentError> {
    let written = serde_json::to_vec(value)
        .map_err(io::Error::from)
        .and_then(|bytes| write_durably(path, &bytes));
    written.map_err(|source| AgentError::File {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}
