//! One text in JSON or YAML, with the tolerance that real files need.
//!
//! Prometheus wants strings and refuses `port: 9100` or `canary: true`. The meaning is plain, so they are taken
//! as they are written. In YAML the text is asked for and comes back to the letter (`1.10` stays `1.10`); a JSON
//! number has no letters left and comes back in its shortest form.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// `YAML`: which of the two the text comes from.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Scalar<const YAML: bool>(pub(crate) String);

impl<'de, const YAML: bool> Deserialize<'de> for Scalar<YAML> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if YAML {
            deserializer.deserialize_option(Nullable).map(Self)
        } else {
            deserializer.deserialize_any(Text).map(Self)
        }
    }
}

/// YAML's `null` and `~`, or a text.
struct Nullable;

impl<'de> de::Visitor<'de> for Nullable {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_none<E: de::Error>(self) -> Result<String, E> {
        Ok(String::new())
    }

    fn visit_unit<E: de::Error>(self) -> Result<String, E> {
        Ok(String::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

struct Text;

impl<'de> de::Visitor<'de> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<String, E> {
        Ok(text)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }

    /// As in Prometheus, `null` is the empty text.
    fn visit_unit<E: de::Error>(self) -> Result<String, E> {
        Ok(String::new())
    }
}
