//! What a decoder found, gathered for the store: the series' bytes one after the other in one piece of memory,
//! samples that refer to them by number.

use std::collections::HashMap;

use pitcrew_ingest::{
    BadHistogram, Exemplar, Float, Histogram, Metadata, MetricType, RawSeries, Sink,
};
use pitcrew_promql::{
    histogram::FloatHistogram,
    labels::{Label, Labels, LabelsBuilder},
};
use pitcrew_tsdb::{IncomingExemplar, RawLabels, Sample, Value};

/// What one message may take at the most: a short one can say the same long label for a million series.
pub(crate) const BYTES_MAX: usize = 256 << 20;

/// Of an exemplar's labels as they came, whose text the store takes up to a quarter of. In memory a label of no text takes
/// many times its bytes.
const EXEMPLAR_BYTES_MAX: usize = 4 << 10;

/// Of one series that are read: several times what the store takes, which names the ones beyond its limit.
pub(crate) const LABELS_MAX: usize = 1_024;

/// Series as they came, in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    pub(crate) fn push(&mut self, key: &[u8]) -> u32 {
        self.push_with(|bytes| bytes.extend_from_slice(key))
    }

    /// A key that is written in its place.
    pub(super) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
        u32::try_from(self.ends.len() - 1).expect("a message of 4 GiB is refused")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[*start..*end])
    }

    /// What they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<usize>()
    }

    /// Gives back what was reserved for more.
    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    fn get(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }
}

#[derive(Debug)]
struct Found {
    series: u32,
    at_ms: i64,
    start_ms: i64,
    value: Measured,
}

#[derive(Debug)]
enum Measured {
    Float(f64),
    /// By its number.
    Histogram(usize),
}

#[derive(Debug)]
struct FoundExemplar {
    series: u32,
    labels: Labels,
    value: f64,
    at_ms: i64,
}

/// A sink for everything that decoders tell.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// The time of samples that have none.
    pub(crate) now_ms: i64,
    pub(crate) keys: Keys,
    /// Of all that was gathered, and how many they may be.
    bytes: usize,
    pub(crate) bytes_max: usize,
    samples: Vec<Found>,
    histograms: Vec<FloatHistogram>,
    exemplars: Vec<FoundExemplar>,
    families: HashMap<String, pitcrew_tsdb::Metadata>,
    /// Histograms that contradict themselves, and what is wrong with the last one.
    pub(crate) bad_histograms: u64,
    pub(crate) why_bad: Option<String>,
    /// It says more than `bytes_max`: what is here is not all of it.
    pub(crate) is_too_much: bool,
}

impl Gathered {
    pub(crate) fn within(bytes_max: usize, now_ms: i64) -> Self {
        Self {
            now_ms,
            bytes_max,
            ..Self::default()
        }
    }

    /// Whether there is room for so many bytes more.
    fn takes(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.is_too_much |= self.bytes > self.bytes_max;
        !self.is_too_much
    }

    /// What comes next may not fit any more.
    pub(crate) fn is_half_full(&self) -> bool {
        self.bytes > self.bytes_max / 2
    }

    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Of each series whether it has samples only among the refused, which are given by their places, ascending.
    pub(crate) fn refused_series(&self, refused: &[usize]) -> Vec<bool> {
        let mut refused = refused.iter().peekable();
        let mut series = vec![true; self.keys.ends.len()];
        for (place, found) in self.samples.iter().enumerate() {
            series[found.series as usize] &= refused.next_if_eq(&&place).is_some();
        }
        series
    }

    pub(crate) fn samples(&self) -> Vec<Sample<'_>> {
        self.samples
            .iter()
            .map(|found| self.sample(found))
            .collect()
    }

    pub(crate) fn exemplars(&self) -> Vec<IncomingExemplar<'_>> {
        let exemplars = self.exemplars.iter().map(|found| IncomingExemplar {
            key: self.keys.get(found.series),
            labels: &found.labels,
            value: found.value,
            timestamp_ms: found.at_ms,
        });
        exemplars.collect()
    }

    pub(crate) fn metadata(&self) -> Vec<pitcrew_tsdb::Metadata> {
        self.families.values().cloned().collect()
    }

    fn sample<'a>(&'a self, found: &Found) -> Sample<'a> {
        Sample {
            key: self.keys.get(found.series),
            timestamp_ms: found.at_ms,
            start_ms: found.start_ms,
            value: match found.value {
                Measured::Float(value) => Value::Float(value),
                Measured::Histogram(number) => Value::Histogram(&self.histograms[number]),
            },
        }
    }
}

impl Sink for Gathered {
    type Series = u32;

    fn series(&mut self, series: RawSeries<'_>) -> Option<u32> {
        let key = series.bytes();
        let takes = self.takes(key.len() + size_of::<usize>());
        takes.then(|| self.keys.push(key))
    }

    fn float(&mut self, series: u32, sample: Float) {
        if !self.takes(size_of::<Found>() + size_of::<Sample<'_>>()) {
            return;
        }
        self.samples.push(Found {
            series,
            at_ms: sample.at_ms.unwrap_or(self.now_ms),
            start_ms: sample.start_ms,
            value: Measured::Float(sample.value),
        });
    }

    fn histogram(&mut self, series: u32, sample: Histogram) {
        let buckets = sample.value.positive.len() + sample.value.negative.len();
        let bytes = size_of::<Found>() + size_of::<Sample<'_>>() + size_of::<FloatHistogram>();
        if !self.takes(bytes + 2 * size_of::<f64>() * buckets) {
            return;
        }
        self.samples.push(Found {
            series,
            at_ms: sample.at_ms.unwrap_or(self.now_ms),
            start_ms: sample.start_ms,
            value: Measured::Histogram(self.histograms.len()),
        });
        self.histograms.push(sample.value);
    }

    fn bad_histogram(&mut self, _series: u32, why: BadHistogram) {
        self.bad_histograms += 1;
        self.why_bad = Some(why.to_string());
    }

    fn exemplar(&mut self, series: u32, exemplar: Exemplar<'_>) {
        let bytes = exemplar.labels.bytes().len();
        if !self.takes(size_of::<FoundExemplar>() + bytes) || bytes > EXEMPLAR_BYTES_MAX {
            return;
        }
        let mut labels = LabelsBuilder::default();
        let read = exemplar.labels.each_label(|name, value| {
            labels.set(name, value);
        });
        let labels = labels.build();
        // An example that can't be read is none; the sample beside it counts all the same.
        if read.is_ok() && self.takes(labels.len() * size_of::<Label>()) {
            self.exemplars.push(FoundExemplar {
                series,
                labels,
                value: exemplar.value,
                at_ms: exemplar.at_ms.unwrap_or(self.now_ms),
            });
        }
    }

    fn is_full(&self) -> bool {
        self.is_too_much
    }

    fn metadata(&mut self, metadata: Metadata<'_>) {
        let Metadata {
            family, help, unit, ..
        } = &metadata;
        if !self.takes(family.len() + help.len() + unit.len()) {
            return;
        }
        let says_nothing = metadata.help.is_empty()
            && metadata.unit.is_empty()
            && matches!(metadata.kind, None | Some(MetricType::Unknown));
        let bytes = metadata.family.len() + metadata.help.len() + metadata.unit.len();
        if metadata.family.is_empty() || says_nothing || !self.takes(bytes) {
            return;
        }
        if !self.families.contains_key(&*metadata.family) {
            let family = metadata.family.clone().into_owned();
            let unknown = pitcrew_tsdb::Metadata {
                family: family.clone(),
                kind: MetricType::Unknown.name().to_owned(),
                unit: String::new(),
                help: String::new(),
            };
            self.families.insert(family, unknown);
        }
        let known = self.families.get_mut(&*metadata.family);
        let known = known.expect("it was there or has been added");
        if let Some(kind) = metadata.kind {
            kind.name().clone_into(&mut known.kind);
        }
        for (text, place) in [
            (metadata.help, &mut known.help),
            (metadata.unit, &mut known.unit),
        ] {
            if !text.is_empty() {
                *place = text.into_owned();
            }
        }
    }
}

/// In which form the series of a message come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Messages,
    Pairs,
}

impl Form {
    pub(super) fn of(self, bytes: &[u8]) -> RawSeries<'_> {
        match self {
            Self::Text => RawSeries::Text(bytes),
            Self::Messages => RawSeries::Messages(bytes),
            Self::Pairs => RawSeries::Pairs(bytes),
        }
    }

    /// What tells the same bytes of two forms apart.
    pub(crate) fn scope(self) -> &'static [u8] {
        match self {
            Self::Text => b"text",
            Self::Messages => b"messages",
            Self::Pairs => b"pairs",
        }
    }

    /// For the store, of series it doesn't know.
    pub(crate) fn labels(self, key: &[u8], out: &mut RawLabels) -> Result<(), String> {
        let mut count = 0;
        let read = self.of(key).each_label(|name, value| {
            count += 1;
            if count <= LABELS_MAX {
                out.push(name, value);
            }
        });
        read.map_err(|error| error.to_string())?;
        match count > LABELS_MAX {
            true => Err(format!("{count} labels, more than {LABELS_MAX}")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<'a>(labels: &'a [u8]) -> Exemplar<'a> {
        Exemplar {
            labels: RawSeries::Messages(labels),
            value: 1.0,
            at_ms: None,
        }
    }

    /// A field 1 of ten bytes: a name of three letters, a value of one.
    fn label(number: usize) -> Vec<u8> {
        format!("\n\u{8}\n\u{3}{number:03}\u{12}\u{1}v").into_bytes()
    }

    #[test]
    fn an_exemplar_of_endless_labels_is_not_read_and_counts_with_all_its_bytes() {
        let mut gathered = Gathered::within(BYTES_MAX, 0);
        let fits: Vec<u8> = (0..400).flat_map(label).collect();
        gathered.exemplar(0, shown(&fits));
        assert_eq!(gathered.exemplars[0].labels.len(), 400);
        let long: Vec<u8> = (0..500).flat_map(label).collect();
        let before = gathered.bytes;
        gathered.exemplar(0, shown(&long));
        assert_eq!(gathered.exemplars.len(), 1);
        assert!(gathered.bytes >= before + long.len());
    }

    #[test]
    fn a_series_of_endless_labels_is_refused() {
        let read = |count: usize| {
            let series = b"\x0a\x00".repeat(count);
            Form::Messages.labels(&series, &mut RawLabels::default())
        };
        assert_eq!(read(LABELS_MAX), Ok(()));
        assert!(read(LABELS_MAX + 1).is_err());
    }

    #[test]
    fn the_labels_of_exemplars_count_as_what_they_take_in_memory() {
        let labels: Vec<u8> = (0..400).flat_map(label).collect();
        let mut gathered = Gathered::within(10 * labels.len(), 0);
        for _ in 0..10 {
            gathered.exemplar(0, shown(&labels));
        }
        assert!(gathered.exemplars.len() < 5, "{}", gathered.exemplars.len());
        assert!(gathered.is_full());
    }
}
