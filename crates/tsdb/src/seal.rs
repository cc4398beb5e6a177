//! Sealing: frozen rows become a part.
//!
//! The columns of a group whose samples are of exactly the same instants make a cluster. Nearly always that is the
//! whole group; a series that missed a scrape gets timestamps of its own instead of gaps.

use std::collections::HashMap;

use pitcrew_promql::labels::Labels;

use crate::{
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
    let all: Vec<&Row> = group.rows.iter().collect();
    for SameRows {
        kind,
        rows,
        columns,
    } in clusters(&all, identities.len())
    {
        let rows: Vec<&Row> = rows.iter().map(|row| all[*row as usize]).collect();
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

/// Series of a group that have samples of one kind in exactly the same rows.
struct SameRows {
    kind: Kind,
    /// Ascending.
    rows: Vec<u32>,
    columns: Vec<u32>,
}

/// Columns by kind and rows, in the order of their first ones. Each cell is looked at once, however many rows are
/// filled by few.
fn clusters(rows: &[&Row], width: usize) -> Vec<SameRows> {
    #[derive(Default)]
    struct Filled {
        floats: Vec<u32>,
        has_starts: bool,
        blobs: Vec<u32>,
    }
    let mut columns: Vec<Filled> = Vec::new();
    columns.resize_with(width, Filled::default);
    for (index, row) in (0..).zip(rows) {
        for (column, bits) in row.cells() {
            let filled = &mut columns[column as usize];
            if bits == ELSEWHERE {
                filled.blobs.push(index);
            } else {
                filled.floats.push(index);
                filled.has_starts |= row.start_ms(column) != 0;
            }
        }
    }
    let mut clusters: Vec<SameRows> = Vec::new();
    let mut known: HashMap<(Kind, Vec<u32>), usize> = HashMap::new();
    for (column, filled) in (0..).zip(columns) {
        let kind = match filled.has_starts {
            true => Kind::FloatsWithStarts,
            false => Kind::Floats,
        };
        for (kind, rows) in [(kind, filled.floats), (Kind::Blobs, filled.blobs)] {
            if rows.is_empty() {
                continue;
            }
            let index = *known
                .entry((kind, rows))
                .or_insert_with_key(|(kind, rows)| {
                    clusters.push(SameRows {
                        kind: *kind,
                        rows: rows.clone(),
                        columns: Vec::new(),
                    });
                    clusters.len() - 1
                });
            clusters[index].columns.push(column);
        }
    }
    clusters
}
