//! What a host proves who it is with, while it runs: a certificate that is renewed now and then.

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    AgentError,
    hands::{Hands, Principal},
    identity::Identity,
};

pub(crate) struct Papers {
    data: PathBuf,
    identity: Mutex<Identity>,
    /// The identity on the disk is an older one.
    is_unsaved: AtomicBool,
}

impl Papers {
    pub(crate) fn new(data: PathBuf, identity: Identity) -> Self {
        Self {
            data,
            identity: Mutex::new(identity),
            is_unsaved: AtomicBool::new(false),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        let identity = self.identity.lock();
        identity.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What can't be saved is good until the agent ends, and saved as soon as it can be.
    pub(crate) fn replace(&self, new: Identity, hands: &Hands) -> Result<(), AgentError> {
        hands.replace_key(Principal::of(&new).order_key()?);
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = new;
        self.is_unsaved.store(true, Ordering::Relaxed);
        self.save();
        Ok(())
    }

    pub(crate) fn save(&self) {
        if !self.is_unsaved.load(Ordering::Relaxed) {
            return;
        }
        match self.identity().save(&self.data) {
            Ok(()) => self.is_unsaved.store(false, Ordering::Relaxed),
            Err(error) => tracing::error!("this host's new certificate is not saved yet: {error}"),
        }
    }
}
