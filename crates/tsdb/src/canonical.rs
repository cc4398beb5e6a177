//! Canonical labels: checked, in order, and as the bytes that a series' fingerprint is made from.

use crate::{batch::RawLabels, bytes::Put, options::Limits};

/// Labels in their one true form, on their way to a series.
#[derive(Debug, Default)]
pub(crate) struct Canonical {
    /// Each name and value with its length, ascending by name.
    pub(crate) bytes: Vec<u8>,
    /// The same, to be read.
    pub(crate) labels: RawLabels,
}

impl Canonical {
    /// What fits a record of the log, whatever the limits are.
    const BYTES_MAX: usize = 4 << 20;

    /// Sorts and checks; says for whoever sent them what is wrong.
    pub(crate) fn of(raw: &RawLabels, limits: &Limits) -> Result<Self, String> {
        if raw.len() > limits.labels {
            let most = limits.labels;
            return Err(format!("more than {most} labels (limits.labels)"));
        }
        let mut pairs: Vec<(&str, &str)> =
            raw.iter().filter(|(_, value)| !value.is_empty()).collect();
        pairs.sort_unstable();
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("label {:?} is there twice", pair[0].0));
        }
        let mut canonical = Canonical::default();
        for (name, value) in pairs {
            if name.is_empty() {
                return Err(format!("a label without a name has the value {value:?}"));
            }
            for (what, text, most) in [
                ("name", name, limits.label_name_bytes),
                ("value", value, limits.label_value_bytes),
            ] {
                if text.len() > most {
                    let start: String = name.chars().take(40).collect();
                    let length = text.len();
                    return Err(format!(
                        "the {what} of label {start:?} has {length} bytes, more than {most}"
                    ));
                }
            }
            canonical.push(name, value);
        }
        if canonical.bytes.len() > Self::BYTES_MAX {
            let (found, most) = (canonical.bytes.len(), Self::BYTES_MAX);
            return Err(format!("labels of {found} bytes, more than {most}"));
        }
        if canonical.labels.len() == 0 {
            return Err("no labels".to_owned());
        }
        Ok(canonical)
    }

    pub(crate) fn push(&mut self, name: &str, value: &str) {
        self.bytes.put_text(name);
        self.bytes.put_text(value);
        self.labels.push(name, value);
    }
}
