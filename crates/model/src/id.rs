//! Identifiers as types of their own, so that a test's name can't be passed for a target's.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest accepted name in bytes; longer ones are refused where they enter.
const NAME_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` can't be the name of a {what}: {why}")]
pub struct InvalidName {
    pub what: &'static str,
    pub text: String,
    pub why: &'static str,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Any text of 1 to 256 bytes without control characters or white space at its ends.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidName> {
                let text = text.as_ref();
                let why = if text.is_empty() {
                    "it is empty"
                } else if text.len() > NAME_BYTES_MAX {
                    "it is longer than 256 bytes"
                } else if text.chars().any(char::is_control) {
                    "it has a control character"
                } else if text.trim() != text {
                    "it begins or ends with white space"
                } else {
                    return Ok(Self(text.into()));
                };
                Err(InvalidName { what: $what, text: text.chars().take(80).collect(), why })
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.to_string()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    )*};
}

names! {
    /// Unique over the fleet: `web-1`, `10.0.0.11:8080`.
    TargetId = "target";
    ServiceName = "service";
    /// Unique within its service.
    TestName = "test";
    /// Unique within its service.
    RepairName = "repair";
    /// Who asked: `local` on one machine.
    ObserverName = "observer";
    SourceName = "source";
    ReceiverName = "receiver";
    /// Unique over all time; an actuator that sees one again must not act again.
    OperationId = "operation";
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!($prefix, "-{}"), self.0))
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                text.strip_prefix(concat!($prefix, "-"))
                    .and_then(|number| number.parse().ok())
                    .map(Self)
                    .ok_or_else(|| format!(concat!("`{}` is not of the form ", $prefix, "-NUMBER"), text))
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    )*};
}

numbers! {
    /// `case-42`
    CaseId = "case";
    /// `order-17`
    OrderId = "order";
}
