//! What a person carries from the server to a new host: good for one enrolment of one name.
//!
//! It also names the authority whose word the host will take, so that the very first connection can't be answered by
//! somebody else.

use std::{fmt, str::FromStr};

use crate::{HostName, from_hex, to_hex};

/// `pitcrew-1:HOST:SECRET:PIN`, the last two 64 hexadecimal digits each.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolToken {
    pub host: HostName,
    pub secret: [u8; 32],
    /// SHA-256 of the authority's certificate.
    pub pin: [u8; 32],
}

const PREFIX: &str = "pitcrew-1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a token of `pitcrew enroll HOST`: it begins with `{PREFIX}:` and is one line")]
pub struct InvalidToken;

impl FromStr for EnrolToken {
    type Err = InvalidToken;
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let parts: Vec<&str> = text.trim().splitn(5, ':').collect();
        let [PREFIX, host, secret, pin] = parts[..] else {
            return Err(InvalidToken);
        };
        let bytes = |text| from_hex(text)?.try_into().ok();
        Ok(Self {
            host: host.parse().map_err(|_invalid| InvalidToken)?,
            secret: bytes(secret).ok_or(InvalidToken)?,
            pin: bytes(pin).ok_or(InvalidToken)?,
        })
    }
}

impl fmt::Display for EnrolToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secret, pin) = (to_hex(&self.secret), to_hex(&self.pin));
        write!(f, "{PREFIX}:{}:{secret}:{pin}", self.host)
    }
}

impl fmt::Debug for EnrolToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token for {}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_that_is_printed_reads_back(secret: [u8; 32], pin: [u8; 32]) {
            let token = EnrolToken { host: HostName::new("web-1").unwrap(), secret, pin };
            prop_assert_eq!(format!("{token}\n").parse(), Ok(token.clone()));
            let debug = format!("{token:?}");
            prop_assert!(!debug.contains(&to_hex(&secret)));
        }

        #[test]
        fn no_text_panics_the_reader(text in "(pitcrew-1:)?[a-f0-9:]{0,200}") {
            text.parse::<EnrolToken>().ok();
        }
    }
}
