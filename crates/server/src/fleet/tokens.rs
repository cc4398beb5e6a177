//! Tokens that a person may carry to a host: each good once, for an hour, for one name.
//!
//! `agents/tokens.json` in the data directory has the SHA-256 of each secret, not the secret. A token is struck out
//! there before its certificate is issued.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use pitcrew_act::write_durably;
use pitcrew_model::Timestamp;
use pitcrew_wire::{EnrolToken, HostName, from_hex, to_hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::authority::AuthorityError;

pub(crate) const GOOD_FOR: Duration = Duration::from_secs(3_600);

/// More than anyone enrols in an hour by hand.
const OPEN_MAX: usize = 100_000;

pub(crate) struct Tokens {
    file: PathBuf,
    open: Mutex<Vec<Open>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Open {
    host: HostName,
    secret_sha256: String,
    expires_at: Timestamp,
}

impl Tokens {
    pub(crate) fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let file = directory.join("tokens.json");
        let open = match fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| AuthorityError::Broken {
                    path: file.clone(),
                    why: error.to_string(),
                })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(AuthorityError::File { path: file, source }),
        };
        Ok(Self {
            file,
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

    /// On the disk before it is true.
    fn change<T>(
        &self,
        act: impl FnOnce(&mut Vec<Open>) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = open.clone();
        let value = act(&mut changed)?;
        let bytes = serde_json::to_vec(&changed).map_err(|error| error.to_string())?;
        write_durably(&self.file, &bytes)
            .map_err(|error| format!("{} can't be written: {error}", self.file.display()))?;
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
        let tokens = Tokens::open(directory.path()).unwrap();
        let token = tokens.make(&host, [7; 32], now).unwrap();
        let late = tokens.make(&host, [7; 32], now).unwrap();
        let secret = to_hex(&token.secret);
        let file = fs::read_to_string(directory.path().join("tokens.json")).unwrap();
        assert!(!file.contains(&secret));
        let tokens = Tokens::open(directory.path()).unwrap();
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
