//! Who somebody is: the name of a host, and the identity in its certificate.

use std::{fmt, str::FromStr, sync::Arc};

use pitcrew_model::{ObserverName, TargetId};
use serde::{Deserialize, Serialize};

/// 1 to 63 lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit: the host's target
/// id, its name as an observer, and a part of its identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(Arc<str>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` can't be the name of a host: 1 to 63 lower-case letters, digits, `-` and `.`, not `local`"
)]
pub struct InvalidHost(String);

/// The server's own host has this name, and its observer.
const LOCAL: &str = "local";

fn is_fit(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_well =
        bytes.first().copied().is_some_and(is_plain) && bytes.last().copied().is_some_and(is_plain);
    let is_allowed = |byte: &u8| is_plain(*byte) || matches!(byte, b'-' | b'.');
    bytes.len() <= 63 && ends_well && bytes.iter().all(is_allowed)
}

impl HostName {
    pub fn new(text: &str) -> Result<Self, InvalidHost> {
        if !is_fit(text) || text == LOCAL {
            return Err(InvalidHost(text.chars().take(80).collect()));
        }
        Ok(Self(text.into()))
    }

    /// The server's own host, whose agent is in the server's process. No other can be enrolled under this name.
    #[must_use]
    pub fn local() -> Self {
        Self(LOCAL.into())
    }

    #[must_use]
    pub fn is_local(&self) -> bool {
        *self.0 == *LOCAL
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host itself as a target.
    #[must_use]
    pub fn target(&self) -> TargetId {
        TargetId::new(&*self.0).expect("a host's name is a valid name")
    }

    #[must_use]
    pub fn observer(&self) -> ObserverName {
        ObserverName::new(&*self.0).expect("a host's name is a valid name")
    }

    /// What runs on the host as a target: `NAME@HOST`. `None` when the two together are too long or `name` is no name.
    #[must_use]
    pub fn target_of(&self, name: &str) -> Option<TargetId> {
        TargetId::new(format!("{name}@{}", self.0)).ok()
    }

    /// Whether `target` is this host or may be something that runs on it. No host may speak for another's.
    #[must_use]
    pub fn may_have(&self, target: &TargetId) -> bool {
        let id = target.as_str();
        let named = id
            .rsplit_once('@')
            .is_some_and(|(_, host)| *host == *self.0);
        named || *id == *self.0
    }
}

impl TryFrom<String> for HostName {
    type Error = InvalidHost;
    /// Orders name the server's own host, too.
    fn try_from(text: String) -> Result<Self, InvalidHost> {
        match text == LOCAL {
            true => Ok(Self::local()),
            false => Self::new(&text),
        }
    }
}

impl FromStr for HostName {
    type Err = InvalidHost;
    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        Self::new(text)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0.to_string()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// `spiffe://INSTALLATION/host/NAME`, as SPIFFE shapes identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spiffe {
    pub installation: String,
    pub host: HostName,
}

impl fmt::Display for Spiffe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/host/{}", self.installation, self.host)
    }
}

impl Spiffe {
    #[must_use]
    pub fn parse(uri: &str) -> Option<Self> {
        let (installation, host) = uri.strip_prefix("spiffe://")?.split_once("/host/")?;
        if installation.is_empty() || installation.contains('/') {
            return None;
        }
        Some(Self {
            installation: installation.to_owned(),
            host: HostName::new(host).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_host_speaks_for_itself_and_what_runs_on_it_and_for_nobody_else() {
        let host = HostName::new("web-7.example").unwrap();
        let may_have = |id: &str| host.may_have(&id.parse().unwrap());
        assert!(may_have("web-7.example"));
        assert!(may_have("postgresql@15-main.service@web-7.example"));
        for foreign in [
            "web-7",
            "nginx@web-8.example",
            "nginx@xweb-7.example",
            "web-7.example@db",
        ] {
            assert!(!may_have(foreign), "{foreign}");
        }
    }

    #[test]
    fn names_that_would_not_be_one_thing_everywhere_are_refused() {
        for text in [
            "",
            "Web",
            "-a",
            "a-",
            "a/b",
            "a b",
            "local",
            "a@b",
            &"a".repeat(64),
        ] {
            assert!(HostName::new(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_identity_that_is_printed_reads_back(
            installation in "[a-z0-9]{1,30}",
            host in "[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?",
        ) {
            prop_assume!(host != "local");
            let spiffe = Spiffe { installation, host: HostName::new(&host).unwrap() };
            prop_assert_eq!(Spiffe::parse(&spiffe.to_string()), Some(spiffe));
        }

        #[test]
        fn no_text_panics_the_reader(text in "(spiffe://)?.{0,40}(/host/)?.{0,10}") {
            if let Some(spiffe) = Spiffe::parse(&text) {
                prop_assert_eq!(spiffe.to_string(), text);
            }
        }
    }
}
