//! Remote write 2.0, `io.prometheus.write.v2.Request`: texts once, series refer to them by number.
//!
//! Numbers mean something else in every request, so a series is put together from its texts before it is hashed.

use std::borrow::Cow;

use super::{RequestError, v1::float};
use crate::{
    Exemplar, Malformed, Metadata, MetricType, Sink,
    histogram::histogram,
    protobuf::Fields,
    series::{RawSeries, put_counted},
};

/// Of one series. A label may be refused by itself; these bytes are there before anybody looks at them.
const LABELS_BYTES_MAX: usize = 16 << 20;

/// The request's texts.
struct Symbols<'a>(Vec<&'a [u8]>);

impl<'a> Symbols<'a> {
    fn of(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut symbols = Vec::new();
        let mut fields = Fields(message);
        while let Some(field) = fields.next()? {
            if field.number == 4 {
                symbols.push(field.bytes()?);
            }
        }
        Ok(Self(symbols))
    }

    fn get(&self, series: usize, number: u64) -> Result<&'a [u8], RequestError> {
        let found = usize::try_from(number)
            .ok()
            .and_then(|index| self.0.get(index));
        found.copied().ok_or(RequestError::Symbol {
            series,
            symbol: number,
            symbols: self.0.len(),
        })
    }

    /// [`RawSeries::Pairs`] of what the references refer to.
    fn put_pairs(
        &self,
        series: usize,
        references: &[u64],
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        out.clear();
        if !references.len().is_multiple_of(2) {
            return Err(RequestError::OddLabels { series });
        }
        for reference in references {
            put_counted(out, self.get(series, *reference)?);
            if out.len() > LABELS_BYTES_MAX {
                return Err(RequestError::LongLabels { series });
            }
        }
        Ok(())
    }
}

/// Memory that every series uses again.
#[derive(Default)]
struct Scratch {
    references: Vec<u64>,
    labels: Vec<u8>,
    exemplar: Vec<u8>,
}

pub(super) fn read(message: &[u8], sink: &mut impl Sink) -> Result<(), RequestError> {
    let symbols = Symbols::of(message)?;
    let mut scratch = Scratch::default();
    let mut number = 0;
    let mut fields = Fields(message);
    while let Some(field) = fields.next()?
        && !sink.is_full()
    {
        if field.number == 5 {
            series(field.bytes()?, number, &symbols, &mut scratch, sink)?;
            number += 1;
        }
    }
    Ok(())
}

fn series<S: Sink>(
    message: &[u8],
    number: usize,
    symbols: &Symbols<'_>,
    scratch: &mut Scratch,
    sink: &mut S,
) -> Result<(), RequestError> {
    scratch.references.clear();
    let mut created_ms = 0;
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => field.each_unsigned(|reference| {
                scratch.references.push(reference);
                Ok(())
            })?,
            // Release candidates had it here, once for all samples.
            6 => created_ms = field.signed()?,
            _ => {}
        }
    }
    symbols.put_pairs(number, &scratch.references, &mut scratch.labels)?;
    let Some(known) = sink.series(RawSeries::Pairs(&scratch.labels)) else {
        return Ok(());
    };
    let started = |start_ms| if start_ms == 0 { created_ms } else { start_ms };
    let mut fields = Fields(message);
    while let Some(field) = fields.next()?
        && !sink.is_full()
    {
        match field.number {
            2 => {
                let mut sample = float(field.bytes()?)?;
                sample.start_ms = started(sample.start_ms);
                sink.float(known, sample);
            }
            3 => match histogram(field.bytes()?)? {
                Ok(mut sample) => {
                    sample.start_ms = started(sample.start_ms);
                    sink.histogram(known, sample);
                }
                Err(why) => sink.bad_histogram(known, why),
            },
            4 => {
                let exemplar = exemplar(
                    field.bytes()?,
                    number,
                    symbols,
                    &mut scratch.references,
                    &mut scratch.exemplar,
                )?;
                sink.exemplar(known, exemplar);
            }
            5 => {
                let metadata = metadata(field.bytes()?, number, symbols, &scratch.labels)?;
                sink.metadata(metadata);
            }
            _ => {}
        }
    }
    Ok(())
}

fn exemplar<'s>(
    message: &[u8],
    series: usize,
    symbols: &Symbols<'_>,
    references: &mut Vec<u64>,
    labels: &'s mut Vec<u8>,
) -> Result<Exemplar<'s>, RequestError> {
    references.clear();
    let (mut value, mut at_ms) = (0.0, None);
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => field.each_unsigned(|reference| {
                references.push(reference);
                Ok(())
            })?,
            2 => value = field.double()?,
            3 => at_ms = Some(field.signed()?),
            _ => {}
        }
    }
    symbols.put_pairs(series, references, labels)?;
    Ok(Exemplar {
        labels: RawSeries::Pairs(labels),
        value,
        at_ms,
    })
}

fn metadata<'a>(
    message: &[u8],
    series: usize,
    symbols: &Symbols<'a>,
    labels: &[u8],
) -> Result<Metadata<'a>, RequestError> {
    let mut metadata = Metadata {
        kind: Some(MetricType::Unknown),
        ..Metadata::default()
    };
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => metadata.kind = MetricType::from_number(field.unsigned()?),
            3 => metadata.help = String::from_utf8_lossy(symbols.get(series, field.unsigned()?)?),
            4 => metadata.unit = String::from_utf8_lossy(symbols.get(series, field.unsigned()?)?),
            _ => {}
        }
    }
    // Labels that can't be read are told to whoever asks the series for them.
    let mut name = String::new();
    let read = RawSeries::Pairs(labels).each_label(|label, value| {
        if label == "__name__" {
            value.clone_into(&mut name);
        }
    });
    if read.is_ok() {
        metadata.family = Cow::Owned(family_of(&name, metadata.kind));
    }
    Ok(metadata)
}

/// A histogram's and a summary's series have endings that the family does not have.
fn family_of(name: &str, kind: Option<MetricType>) -> String {
    let endings: &[&str] = match kind {
        Some(MetricType::Histogram | MetricType::GaugeHistogram) => {
            &["_bucket", "_count", "_sum", "_gcount", "_gsum"]
        }
        Some(MetricType::Summary) => &["_count", "_sum"],
        _ => &[],
    };
    let mut endings = endings.iter();
    let family = endings.find_map(|ending| name.strip_suffix(ending));
    family.unwrap_or(name).to_owned()
}
