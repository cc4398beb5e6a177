//! In which forms samples are brought and taken.

use pitcrew_ingest::{RawSeries, text};
use pitcrew_tsdb::{LabelsOf, RawLabels, labels_of_key};

use super::answer::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    JsonLines,
    Text(text::Format),
}

impl Format {
    pub(super) fn named(name: &str) -> Result<Self, Error> {
        match name {
            "jsonl" => Ok(Self::JsonLines),
            "prometheus" => Ok(Self::Text(text::Format::Prometheus)),
            "openmetrics" => Ok(Self::Text(text::Format::OpenMetrics)),
            other => Err(Error::bad_parameter(
                "format",
                format!("{other:?} is none of jsonl, prometheus, openmetrics"),
            )),
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::JsonLines => "application/x-ndjson",
            Self::Text(text::Format::Prometheus) => "text/plain; version=0.0.4; charset=utf-8",
            Self::Text(text::Format::OpenMetrics) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
        }
    }

    /// What tells the same bytes of a series' name in two forms apart.
    pub(super) fn scope(self) -> &'static [u8] {
        match self {
            Self::JsonLines => b"labels",
            Self::Text(_) => b"text",
        }
    }

    pub(super) fn labels_of(self) -> &'static LabelsOf<'static> {
        match self {
            Self::JsonLines => &labels_of_key,
            Self::Text(_) => &labels_of_text,
        }
    }
}

fn labels_of_text(key: &[u8], out: &mut RawLabels) -> Result<(), String> {
    let read = RawSeries::Text(key).each_label(|name, value| out.push(name, value));
    read.map_err(|error| error.to_string())
}
