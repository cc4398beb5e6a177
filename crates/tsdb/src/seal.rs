//! Sealing: frozen rows become a part.
//!
//! The columns of a group whose samples are of exactly the same instants make a cluster. Nearly always that is the
//! whole group; a series that missed a scrape gets timestamps of its own instead of gaps.

use std::collections::HashMap;

use pitcrew_promql::labels::Labels;

use crate::{
    bytes::as_u32,
    error::Error,
    head::{
        FrozenGroup, Head, NO_SERIES,
        row::{ELSEWHERE, Row},
    },
    part::{
        footer::Kind,
        write::{ColumnValues, PartWriter},
    },
};

/// Writes the clusters of a frozen group. `identify`: labels and fingerprint of the group's series, by column.
pub(crate) fn write_group(
    writer: &mut PartWriter,
    group: &FrozenGroup,
    identities: &[Option<(Labels, u128)>],
) -> Result<(), Error> {
    let rows = &group.rows;
    for (present, kind, columns) in clusters(rows, identities.len()) {
        let rows: Vec<&Row> = present.rows(rows).collect();
        let times = rows.iter().map(|row| row.timestamp_ms).collect();
        writer.begin_cluster(kind, times);
        for column in columns {
            let Some((labels, fingerprint)) = &identities[column as usize] else {
                continue;
            };
            write_column(writer, &rows, column, kind, labels, *fingerprint)?;
        }
        writer.end_cluster()?;
    }
    Ok(())
}

/// Labels and fingerprints of a group's series.
pub(crate) fn identities(head: &Head, group: &FrozenGroup) -> Vec<Option<(Labels, u128)>> {
    let columns = group.columns.iter();
    columns
        .map(|number| {
            let series = (*number != NO_SERIES)
                .then(|| head.table.get(*number))
                .flatten()?;
            Some((head.table.labels(&series.labels), series.fingerprint))
        })
        .collect()
}

const FULL: &str = "a cluster's columns have a sample in each of its rows";

fn write_column(
    writer: &mut PartWriter,
    rows: &[&Row],
    column: u32,
    kind: Kind,
    labels: &Labels,
    fingerprint: u128,
) -> Result<(), Error> {
    let values = || -> Vec<f64> {
        let bits = rows.iter().map(|row| row.bits(column).expect(FULL));
        bits.map(f64::from_bits).collect()
    };
    match kind {
        Kind::Floats => writer.column(labels, fingerprint, ColumnValues::Floats(&values())),
        Kind::FloatsWithStarts => {
            let starts: Vec<i64> = rows.iter().map(|row| row.start_ms(column)).collect();
            let values = values();
            writer.column(
                labels,
                fingerprint,
                ColumnValues::FloatsWithStarts(&values, &starts),
            )
        }
        Kind::Blobs => {
            let blobs = rows
                .iter()
                .map(|row| Box::from(row.blob(column).expect(FULL)));
            writer.column(labels, fingerprint, ColumnValues::Blobs(blobs.collect()))
        }
    }
}

/// Which rows have a sample.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Present(Vec<u64>);

impl Present {
    fn set(&mut self, row: usize) {
        let word = row / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (row % 64);
    }

    fn rows<'a>(&'a self, rows: &'a [Row]) -> impl Iterator<Item = &'a Row> {
        let there = |row: usize| {
            self.0
                .get(row / 64)
                .is_some_and(|word| word >> (row % 64) & 1 == 1)
        };
        let rows = rows.iter().enumerate();
        rows.filter(move |(index, _)| there(*index))
            .map(|(_, row)| row)
    }
}

/// Columns by kind and rows, in the order of their first ones.
fn clusters(rows: &[Row], width: usize) -> Vec<(Present, Kind, Vec<u32>)> {
    let mut clusters: Vec<(Present, Kind, Vec<u32>)> = Vec::new();
    let mut known: HashMap<(Present, Kind), usize> = HashMap::new();
    for column in 0..as_u32(width) {
        let (mut floats, mut blobs) = (Present::default(), Present::default());
        let mut kind = Kind::Floats;
        for (index, row) in rows.iter().enumerate() {
            match row.bits(column) {
                None => {}
                Some(ELSEWHERE) => blobs.set(index),
                Some(_) => {
                    floats.set(index);
                    if row.start_ms(column) != 0 {
                        kind = Kind::FloatsWithStarts;
                    }
                }
            }
        }
        for (present, kind) in [(floats, kind), (blobs, Kind::Blobs)] {
            if present.0.is_empty() {
                continue;
            }
            let index = *known.entry((present.clone(), kind)).or_insert_with(|| {
                clusters.push((present, kind, Vec::new()));
                clusters.len() - 1
            });
            clusters[index].2.push(column);
        }
    }
    clusters
}
