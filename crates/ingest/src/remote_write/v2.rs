//! Remote write 2.0, `io.prometheus.write.v2.Request`: texts once, series refer to them by number.
//!
//! Numbers mean something else in every request, so a series is put together from its texts before it is hashed.

use std::borrow::Cow;

use super::{RequestError, v1::float};
use crate::{
    Exemplar, Malformed, Metadata, MetricType, Sink,
    histogram::histogram,
    protobuf::{Field, Fields},
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
}

/// Labels that references refer to, put together as these are read: a reference may take a byte, and there may be
/// millions.
#[derive(Default)]
struct Labels {
    /// As [`RawSeries::Pairs`] has them.
    bytes: Vec<u8>,
    texts: usize,
}

impl Labels {
    fn clear(&mut self) {
        self.bytes.clear();
        self.texts = 0;
    }

    fn put(
        &mut self,
        series: usize,
        symbols: &Symbols<'_>,
        references: Field<'_>,
    ) -> Result<(), RequestError> {
        references.each_unsigned(|reference| {
            put_counted(&mut self.bytes, symbols.get(series, reference)?);
            self.texts += 1;
            match self.bytes.len() > LABELS_BYTES_MAX {
                true => Err(RequestError::LongLabels { series }),
                false => Ok(()),
            }
        })
    }

    fn whole(&self, series: usize) -> Result<RawSeries<'_>, RequestError> {
        match self.texts.is_multiple_of(2) {
            true => Ok(RawSeries::Pairs(&self.bytes)),
            false => Err(RequestError::OddLabels { series }),
        }
    }
}

/// Memory that every series uses again.
#[derive(Default)]
struct Scratch {
    labels: Labels,
    exemplar: Labels,
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
    scratch.labels.clear();
    let mut created_ms = 0;
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => scratch.labels.put(number, symbols, field)?,
            // Release candidates had it here, once for all samples.
            6 => created_ms = field.signed()?,
            _ => {}
        }
    }
    let labels = scratch.labels.whole(number)?;
    let Some(known) = sink.series(labels) else {
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
                let exemplar = exemplar(field.bytes()?, number, symbols, &mut scratch.exemplar)?;
                sink.exemplar(known, exemplar);
            }
            5 => {
                let metadata = metadata(field.bytes()?, number, symbols, labels)?;
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
    labels: &'s mut Labels,
) -> Result<Exemplar<'s>, RequestError> {
    labels.clear();
    let (mut value, mut at_ms) = (0.0, None);
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => labels.put(series, symbols, field)?,
            2 => value = field.double()?,
            3 => at_ms = Some(field.signed()?),
            _ => {}
        }
    }
    Ok(Exemplar {
        labels: labels.whole(series)?,
        value,
        at_ms,
    })
}

fn metadata<'a>(
    message: &[u8],
    series: usize,
    symbols: &Symbols<'a>,
    labels: RawSeries<'_>,
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
    let read = labels.each_label(|label, value| {
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
