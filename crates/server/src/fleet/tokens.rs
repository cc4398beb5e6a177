//! Tokens that a person may carry to a host: each good once, for an hour, for one name.
//!
//! `agents/tokens.json`, as the installation keeps it, has the SHA-256 of each secret, not the secret. A token is struck out
//! there before its certificate is issued.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use pitcrew_model::Timestamp;
use pitcrew_wire::{EnrolToken, HostName, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::authority::AuthorityError;
use crate::kept::Kept;

pub(crate) const GOOD_FOR: Duration = Duration::from_secs(3_600);

/// More than anyone enrols in an hour by hand.
const OPEN_MAX: usize = 100_000;

const TOKENS: &str = "agents/tokens.json";

pub(crate) struct Tokens {
    kept: Kept,
    open: Mutex<Vec<Open>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Open {
    host: HostName,
    secret_sha256: String,
    expires_at: Timestamp,
}

impl Tokens {
    pub(crate) fn open(kept: &Kept) -> Result<Self, AuthorityError> {
        let open = match kept.read(TOKENS)? {
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| AuthorityError::Broken {
                    name: TOKENS.to_owned(),
                    why: error.to_string(),
                })?
            }
            None => Vec::new(),
        };
        Ok(Self {
            kept: kept.clone(),
            open: Mutex::new(open),
        })
    }

    /// The error says why there is none.
    pub(crate) fn make(
        &self,
        host: &HostName,
        pin: [u8; 32],
        now: Timestamp,
    ) -> Result<EnrolToken, String> {
        let mut secret = [0; 32];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_unspecified| "the system gives no random numbers".to_owned())?;
        self.change(|open| {
            open.retain(|open| now < open.expires_at);
            if open.len() >= OPEN_MAX {
                return Err(format!(
                    "{OPEN_MAX} tokens are open: wait until some expire"
                ));
            }
            open.push(Open {
                host: host.clone(),
                secret_sha256: digest(&secret),
                expires_at: now + GOOD_FOR,
            });
            Ok(())
        })?;
        Ok(EnrolToken {
            host: host.clone(),
            secret,
            pin,
        })
    }

    /// The host that the token is for; from now on it is for nobody.
    pub(crate) fn redeem(&self, secret: &str, now: Timestamp) -> Result<HostName, String> {
        let unknown =
            "the token is not known here: it was used already, has expired or is another server's";
        let secret = from_hex(secret).ok_or(unknown)?;
        let digest = digest(&secret);
        self.change(|open| {
            // A comparison of digests tells nothing about the secret.
            let at = open.iter().position(|open| open.secret_sha256 == digest);
            let found = open.swap_remove(at.ok_or(unknown)?);
            if now >= found.expires_at {
                return Err(unknown.to_owned());
            }
            Ok(found.host)
        })
    }

    /// What is open for this host is for nobody.
    pub(crate) fn strike(&self, host: &HostName) -> Result<(), String> {
        self.change(|open| {
            open.retain(|open| open.host != *host);
            Ok(())
        })
    }

    /// On the disk before it is true.
    fn change<T>(
        &self,
        act: impl FnOnce(&mut Vec<Open>) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = open.clone();
        let value = act(&mut changed)?;
        let bytes = serde_json::to_vec(&changed).map_err(|error| error.to_string())?;
        self.kept
            .write(TOKENS, &bytes)
            .map_err(|error| format!("the tokens can't be written: {error}"))?;
        *open = changed;
        Ok(value)
    }
}

fn digest(secret: &[u8]) -> String {
    to_hex(&Sha256::digest(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_for_an_hour_and_its_secret_is_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let host = HostName::new("web-1").unwrap();
        let now = Timestamp::from_millis(1_000_000);
        let kept = Kept::Directory(directory.path().to_owned());
        let tokens = Tokens::open(&kept).unwrap();
        let token = tokens.make(&host, [7; 32], now).unwrap();
        let late = tokens.make(&host, [7; 32], now).unwrap();
        let secret = to_hex(&token.secret);
        let file = std::fs::read_to_string(directory.path().join(TOKENS)).unwrap();
        assert!(!file.contains(&secret));
        let tokens = Tokens::open(&kept).unwrap();
        assert_eq!(tokens.redeem(&secret, now), Ok(host));
        assert!(tokens.redeem(&secret, now).is_err(), "a second time");
        assert!(
            tokens
                .redeem(&to_hex(&late.secret), now + GOOD_FOR)
                .is_err(),
            "too late"
        );
        assert!(tokens.redeem("no secret", now).is_err());
    }
}
