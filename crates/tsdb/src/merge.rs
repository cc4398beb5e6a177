//! Merging: parts of neighbouring times become one.
//!
//! Longer columns compress better, and a query opens fewer files. Series are matched by their fingerprints;
//! those that were in the same clusters of all sources stay together. Where two sources have a sample of one
//! instant, that of the lower order stays. What the rules for their age leave out is left out; a part that only
//! grew old is merged alone.

use std::{collections::HashMap, path::Path, sync::Arc};

use hashbrown::HashTable;

use crate::{
    age::{self, Fates, Rules},
    blob,
    cache::Cache,
    error::Error,
    options::Options,
    part::{
        Part,
        chunk::Chunk,
        footer::{Footer, Kind},
        read::PartReader,
        write::{ColumnValues, PartWriter},
    },
};

/// Samples that are merged in one step.
const STEP_SAMPLES: usize = 2_000_000;

/// The parts that should be merged next, and the level that the result has. `parts`: ascending by order.
///
/// Only neighbours in that order are merged, or of two samples of one instant the wrong one would count. So a
/// part belongs to the latest span that it or any part before it reaches.
pub(crate) fn due(
    parts: &[Arc<Part>],
    options: &Options,
    now_ms: i64,
) -> Option<(Vec<Arc<Part>>, u8)> {
    for (level, span_ms) in (1u8..).zip(&options.merge_spans_ms) {
        let span_ms = (*span_ms).max(1);
        let mut latest_ms = i64::MIN;
        let placed = parts.iter().map(|part| {
            latest_ms = latest_ms.max(part.footer.max_ms);
            let may_merge = part.footer.level < level && !part.is_damaged();
            (may_merge.then_some(latest_ms.div_euclid(span_ms)), part)
        });
        let placed: Vec<(Option<i64>, &Arc<Part>)> = placed.collect();
        let is_over = |span: i64| {
            let end_ms = span.saturating_add(1).saturating_mul(span_ms);
            end_ms.saturating_add(options.seal_after_ms) <= now_ms
        };
        let mut runs = placed.chunk_by(|(left, _), (right, _)| left == right);
        let due = runs.find(|run| run.len() > 1 && run[0].0.is_some_and(is_over));
        if let Some(run) = due {
            return Some((
                run.iter().map(|(_, part)| Arc::clone(part)).collect(),
                level,
            ));
        }
    }
    None
}

/// A merge that goes on from step to step.
pub(crate) struct Merge {
    number: u64,
    sources: Vec<Arc<Part>>,
    writer: PartWriter,
    plan: std::vec::IntoIter<Planned>,
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "Merge of {} parts into {}",
            self.sources.len(),
            self.number
        )
    }
}

/// A cluster of the new part.
struct Planned {
    kind: Kind,
    /// The interval of which the last sample stays; nothing where all do.
    every_ms: Option<i64>,
    from: Clusters,
    /// The number of the series in each of them, series after series.
    members: Vec<u32>,
}

/// Sources and their clusters, ascending by source.
type Clusters = Vec<(usize, usize)>;

/// Where a series is: source and number.
type Places = Vec<(usize, u32)>;

impl Merge {
    /// `sources`: ascending by order.
    pub(crate) fn begin(
        directory: &Path,
        number: u64,
        level: u8,
        sources: Vec<Arc<Part>>,
        rules: Rules<'_>,
        cache: &Cache,
    ) -> Result<Self, Error> {
        let footers = || sources.iter().map(|part| &part.footer);
        let footer = Footer {
            secret: footers()
                .map(|footer| footer.secret)
                .next()
                .unwrap_or_default(),
            order: footers().map(|footer| footer.order).min().unwrap_or(number),
            level,
            rules: rules.fingerprint(),
            segment: footers()
                .map(|footer| footer.segment)
                .max()
                .unwrap_or_default(),
            merged: sources.iter().map(|part| part.name.number).collect(),
            ..Footer::default()
        };
        let plan = plan(&sources, rules, cache)?;
        Ok(Merge {
            number,
            writer: PartWriter::begin(directory, number, footer)?,
            plan: plan.into_iter(),
            sources,
        })
    }

    pub(crate) fn reads_any(&self, parts: &[Arc<Part>]) -> bool {
        let numbers = |part: &Arc<Part>| part.name.number;
        self.sources
            .iter()
            .any(|source| parts.iter().any(|part| numbers(part) == numbers(source)))
    }

    /// Merges some clusters; true when all are.
    pub(crate) fn step(&mut self, cache: &Cache) -> Result<bool, Error> {
        let sources = self.sources.iter();
        let mut readers: Vec<PartReader<'_>> = sources
            .map(|part| Ok(PartReader::new(part.clone(), cache)?.without_caching()))
            .collect::<Result<_, _>>()?;
        let mut samples = 0;
        while samples < STEP_SAMPLES {
            let Some(planned) = self.plan.next() else {
                return Ok(true);
            };
            samples += write_cluster(&mut self.writer, &mut readers, &planned)?;
        }
        Ok(false)
    }

    /// Puts the new part in its place, unless nothing is left; the sources may go.
    pub(crate) fn finish(self, directory: &Path) -> Result<(Option<Part>, Vec<Arc<Part>>), Error> {
        let part = match self.writer.is_empty() {
            true => None,
            false => Some(self.writer.finish(directory, self.number)?),
        };
        Ok((part, self.sources))
    }
}

fn plan(sources: &[Arc<Part>], rules: Rules<'_>, cache: &Cache) -> Result<Vec<Planned>, Error> {
    let fates = sources.iter().map(|part| rules.fates(part, cache));
    let fates: Vec<Fates> = fates.collect::<Result<_, _>>()?;
    let mut series: Vec<(u128, Places)> = Vec::new();
    let mut known: HashTable<usize> = HashTable::new();
    // Any bits of a fingerprint are as good as a hash of it.
    let hash = |fingerprint: u128| {
        let bytes = fingerprint.to_le_bytes();
        u64::from_le_bytes(bytes[..8].try_into().expect("eight of sixteen bytes"))
    };
    for (source, part) in sources.iter().enumerate() {
        let mut reader = PartReader::new(part.clone(), cache)?;
        for number in (0..part.footer.series).filter(|number| !fates[source].is_gone(*number)) {
            let fingerprint = reader.fingerprint(number)?;
            let found = known.find(hash(fingerprint), |index| series[*index].0 == fingerprint);
            match found {
                Some(index) => series[*index].1.push((source, number)),
                None => {
                    series.push((fingerprint, vec![(source, number)]));
                    let added = series.len() - 1;
                    known.insert_unique(hash(fingerprint), added, |index| hash(series[*index].0));
                }
            }
        }
    }
    drop(known);
    let mut plan: Vec<Planned> = Vec::new();
    let mut planned: HashMap<(Option<i64>, Clusters), usize> = HashMap::new();
    let clusters = sources.iter().map(|part| part.clusters(cache));
    let clusters: Vec<_> = clusters.collect::<Result<_, _>>()?;
    for (_, places) in series {
        let mut kind = Kind::Floats;
        // The same in all of them: it follows from the labels.
        let every_ms = fates[places[0].0].every_ms(places[0].1);
        let mut from = Vec::with_capacity(places.len());
        for (source, number) in &places {
            if let Some((cluster, found)) = clusters[*source].of_series(*number) {
                // A series that was ever a histogram stays one: of a float and a histogram of one instant the
                // first one counts, which only a common column can tell.
                kind = kind.max(found.kind);
                from.push((*source, cluster));
            }
        }
        let index = *planned.entry((every_ms, from.clone())).or_insert_with(|| {
            plan.push(Planned {
                kind,
                every_ms,
                from,
                members: Vec::new(),
            });
            plan.len() - 1
        });
        plan[index]
            .members
            .extend(places.iter().map(|(_, number)| *number));
    }
    Ok(plan)
}

/// How many samples were read.
fn write_cluster(
    writer: &mut PartWriter,
    readers: &mut [PartReader<'_>],
    planned: &Planned,
) -> Result<usize, Error> {
    // Time, which of `from`, row.
    let mut cells: Vec<(i64, usize, usize)> = Vec::new();
    for (rank, (source, number)) in planned.from.iter().enumerate() {
        let reader = &mut readers[*source];
        let cluster = reader.clusters.0[*number];
        let index = reader.index(*number, &cluster)?;
        cells.extend(
            index
                .times
                .iter()
                .enumerate()
                .map(|(row, time)| (*time, rank, row)),
        );
    }
    cells.sort_unstable();
    cells.dedup_by_key(|(time, ..)| *time);
    let read = cells.len();
    if let Some(every_ms) = planned.every_ms {
        cells = last_of_intervals(cells, every_ms);
    }
    writer.begin_cluster(planned.kind, cells.iter().map(|(time, ..)| *time).collect());
    let mut samples = 0;
    for numbers in planned.members.chunks(planned.from.len()) {
        write_series(writer, readers, planned, numbers, &cells)?;
        samples += read;
    }
    writer.end_cluster()?;
    Ok(samples)
}

fn last_of_intervals(cells: Vec<(i64, usize, usize)>, every_ms: i64) -> Vec<(i64, usize, usize)> {
    let intervals =
        cells.chunk_by(|(one, ..), (other, ..)| age::is_same_interval(*one, *other, every_ms));
    intervals
        .filter_map(|cells| cells.last().copied())
        .collect()
}

fn write_series(
    writer: &mut PartWriter,
    readers: &mut [PartReader<'_>],
    planned: &Planned,
    numbers: &[u32],
    cells: &[(i64, usize, usize)],
) -> Result<(), Error> {
    let mut columns = Vec::with_capacity(numbers.len());
    for ((source, _), number) in planned.from.iter().zip(numbers) {
        columns.push(readers[*source].column(*number)?);
    }
    let first = &mut readers[planned.from[0].0];
    let labels = first.labels(numbers[0])?;
    let fingerprint = first.fingerprint(numbers[0])?;
    if planned.kind == Kind::Blobs {
        let blob = |rank: usize, row: usize| match &columns[rank] {
            Chunk::Blobs(blobs) => blobs[row].clone(),
            Chunk::Floats { values, starts } => {
                blob::encode_float(values[row], starts.get(row).copied().unwrap_or(0))
            }
        };
        let blobs = cells.iter().map(|(_, rank, row)| blob(*rank, *row));
        return writer.column(&labels, fingerprint, ColumnValues::Blobs(blobs.collect()));
    }
    let (mut values, mut starts) = (Vec::with_capacity(cells.len()), Vec::new());
    for (_, rank, row) in cells {
        if let Chunk::Floats {
            values: from,
            starts: from_starts,
        } = &columns[*rank]
        {
            values.push(from[*row]);
            if planned.kind == Kind::FloatsWithStarts {
                starts.push(from_starts.get(*row).copied().unwrap_or(0));
            }
        }
    }
    let values = if planned.kind == Kind::FloatsWithStarts {
        ColumnValues::FloatsWithStarts(&values, &starts)
    } else {
        ColumnValues::Floats(&values)
    };
    writer.column(&labels, fingerprint, values)
}
