//! How a host on the network belongs to its servers: whom it may come to, what it proves who it is with, and which of
//! them is the newest that took it in.

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    AgentError,
    hands::{Hands, Principal},
    identity::Identity,
    session::SessionError,
};

pub(crate) struct Membership {
    pub(crate) servers: Vec<String>,
    data: PathBuf,
    identity: Mutex<Identity>,
    /// The identity on the disk is an older one.
    is_unsaved: AtomicBool,
    /// Of the servers that have taken this host in.
    newest_fence: AtomicU64,
}

impl Membership {
    pub(crate) fn new(servers: Vec<String>, data: PathBuf, identity: Identity) -> Self {
        Self {
            servers,
            data,
            identity: Mutex::new(identity),
            is_unsaved: AtomicBool::new(false),
            newest_fence: AtomicU64::new(0),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        let identity = self.identity.lock();
        identity.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What can't be saved is good until the agent ends, and saved as soon as it can be.
    pub(crate) fn replace_identity(&self, new: Identity, hands: &Hands) -> Result<(), AgentError> {
        hands.replace_key(Principal::of(&new).order_key()?);
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = new;
        self.is_unsaved.store(true, Ordering::Relaxed);
        self.save_identity();
        Ok(())
    }

    pub(crate) fn save_identity(&self) {
        if !self.is_unsaved.load(Ordering::Relaxed) {
            return;
        }
        match self.identity().save(&self.data) {
            Ok(()) => self.is_unsaved.store(false, Ordering::Relaxed),
            Err(error) => tracing::error!("this host's new certificate is not saved yet: {error}"),
        }
    }

    /// From here on every server before this one is sent away. Where there is one server, it may have been restored
    /// from a copy: then its tests are still good, and whoever carries orders out refuses them.
    pub(crate) fn admit(&self, fence: u64) -> Result<(), SessionError> {
        let newest = self.newest_fence.fetch_max(fence, Ordering::Relaxed);
        if fence < newest && self.servers.len() > 1 {
            return Err(SessionError::Older { own: fence, newest });
        }
        Ok(())
    }
}
