//! Writing a part: clusters one after the other, then the index.
//!
//! The file is written aside under a name that no start reads, flushed, renamed, and its directory flushed: a
//! part is there whole or not at all.

use std::path::Path;

use pitcrew_promql::labels::Labels;

use super::{
    Part, PartName,
    block::{BlockWriter, Unfinished},
    chunk,
    footer::{self, Cluster, Clusters, Footer, Kind},
    numbers, packed,
    terms::TermsWriter,
};
use crate::{
    bytes::{Put, as_u32},
    error::Error,
    symbols::Symbols,
    wal::sync_directory,
};

pub(crate) struct PartWriter {
    out: BlockWriter,
    symbols: Symbols,
    symbols_written: u32,
    terms: TermsWriter,
    clusters: Vec<Cluster>,
    footer: Footer,
    /// Labels and fingerprints of series that aren't in a block yet.
    series: Vec<u8>,
    fingerprints: Vec<u8>,
    open: Option<OpenCluster>,
}

/// A cluster that is being written.
struct OpenCluster {
    first_series: u32,
    kind: Kind,
    times: Vec<i64>,
    page_rows: usize,
    /// First columns of the chunks that are beside each other.
    chunk_columns: Vec<u32>,
    /// Places of the chunks, page after page for the same columns.
    places: Vec<u64>,
    columns: u32,
    chunk_first: u32,
    values: Vec<f64>,
    starts: Vec<i64>,
    blobs: Vec<Box<[u8]>>,
    blob_bytes: usize,
}

/// What a column of a cluster holds, one for each of its timestamps.
pub(crate) enum ColumnValues<'a> {
    Floats(&'a [f64]),
    FloatsWithStarts(&'a [f64], &'a [i64]),
    Blobs(Vec<Box<[u8]>>),
}

/// The file's path while it isn't whole.
fn aside(directory: &Path, number: u64) -> std::path::PathBuf {
    directory.join("parts").join(format!("{number:010}.tmp"))
}

impl PartWriter {
    /// `footer`: what is known beforehand.
    pub(crate) fn begin(directory: &Path, number: u64, footer: Footer) -> Result<Self, Error> {
        let mut out = BlockWriter::create(&aside(directory, number))?;
        out.put_raw(&footer::header())?;
        Ok(PartWriter {
            out,
            symbols: Symbols::new(footer.secret),
            symbols_written: 0,
            terms: TermsWriter::default(),
            clusters: Vec::new(),
            footer: Footer {
                min_ms: i64::MAX,
                max_ms: i64::MIN,
                ..footer
            },
            series: Vec::new(),
            fingerprints: Vec::new(),
            open: None,
        })
    }

    /// Begins a cluster of series with exactly these timestamps, of which there is at least one.
    pub(crate) fn begin_cluster(&mut self, kind: Kind, times: Vec<i64>) {
        debug_assert!(self.open.is_none() && !times.is_empty());
        self.open = Some(OpenCluster {
            first_series: self.footer.series,
            kind,
            page_rows: chunk::page_rows(times.len()),
            times,
            chunk_columns: Vec::new(),
            places: Vec::new(),
            columns: 0,
            chunk_first: 0,
            values: Vec::new(),
            starts: Vec::new(),
            blobs: Vec::new(),
            blob_bytes: 0,
        });
    }

    /// Adds a series to the cluster.
    pub(crate) fn column(
        &mut self,
        labels: &Labels,
        fingerprint: u128,
        values: ColumnValues<'_>,
    ) -> Result<(), Error> {
        self.add_series(labels, fingerprint)?;
        let cluster = self.open.as_mut().expect("a column belongs to a cluster");
        self.footer.samples += cluster.times.len() as u64;
        match values {
            ColumnValues::Floats(values) => {
                cluster.values.extend(values);
                if cluster.kind == Kind::FloatsWithStarts {
                    cluster.starts.resize(cluster.values.len(), 0);
                }
            }
            ColumnValues::FloatsWithStarts(values, starts) => {
                cluster.values.extend(values);
                cluster.starts.extend(starts);
            }
            ColumnValues::Blobs(blobs) => {
                cluster.blob_bytes += blobs.iter().map(|blob| blob.len()).sum::<usize>();
                cluster.blobs.extend(blobs);
            }
        }
        cluster.columns += 1;
        let in_page = (cluster.columns - cluster.chunk_first) as usize * cluster.page_rows;
        let is_full = match cluster.kind {
            Kind::Blobs => cluster.blob_bytes > chunk::BLOB_BYTES,
            Kind::Floats | Kind::FloatsWithStarts => in_page + cluster.page_rows > chunk::VALUES,
        };
        if is_full {
            cluster.close_chunks(&mut self.out)?;
        }
        Ok(())
    }

    fn add_series(&mut self, labels: &Labels, fingerprint: u128) -> Result<(), Error> {
        let series = self.footer.series;
        self.series.put_count(labels.len());
        for label in labels.iter() {
            let name = self.symbols.intern(&label.name);
            let value = self.symbols.intern(&label.value);
            self.series.put_varint(u64::from(name));
            self.series.put_varint(u64::from(value));
            self.terms.add(series, name, value);
        }
        self.fingerprints.put(&fingerprint.to_le_bytes());
        self.footer.series += 1;
        let count = self.footer.series as usize;
        if count.is_multiple_of(footer::SERIES) {
            self.close_series()?;
        }
        if count.is_multiple_of(footer::FINGERPRINTS) {
            self.close_fingerprints()?;
        }
        while self.symbols.count() - self.symbols_written as usize >= footer::SYMBOLS {
            self.close_symbols(footer::SYMBOLS)?;
        }
        Ok(())
    }

    fn close_series(&mut self) -> Result<(), Error> {
        if !self.series.is_empty() {
            let place = self.out.put(&packed::compress(&self.series))?;
            self.footer.places.series.push(place);
            self.series.clear();
        }
        Ok(())
    }

    fn close_fingerprints(&mut self) -> Result<(), Error> {
        if !self.fingerprints.is_empty() {
            let place = self.out.put(&self.fingerprints)?;
            self.footer.places.fingerprints.push(place);
            self.fingerprints.clear();
        }
        Ok(())
    }

    fn close_symbols(&mut self, count: usize) -> Result<(), Error> {
        let from = self.symbols_written;
        let mut plain = Vec::new();
        for symbol in from..from + as_u32(count) {
            plain.put_text(self.symbols.text(symbol));
        }
        let place = self.out.put(&packed::compress(&plain))?;
        self.footer.places.symbols.push(place);
        self.symbols_written += as_u32(count);
        Ok(())
    }

    pub(crate) fn end_cluster(&mut self) -> Result<(), Error> {
        let mut cluster = self.open.take().expect("a cluster was begun");
        cluster.close_chunks(&mut self.out)?;
        let mut bytes = Vec::new();
        numbers::put_times(&mut bytes, &cluster.times);
        bytes.put_count(cluster.page_rows);
        bytes.put_count(cluster.chunk_columns.len());
        let mut column = 0;
        for first in &cluster.chunk_columns {
            bytes.put_varint(u64::from(first - column));
            column = *first;
        }
        let mut place = 0;
        for at in &cluster.places {
            bytes.put_varint(at - place);
            place = *at;
        }
        let (min_ms, max_ms) = (cluster.times[0], cluster.times[cluster.times.len() - 1]);
        self.footer.min_ms = self.footer.min_ms.min(min_ms);
        self.footer.max_ms = self.footer.max_ms.max(max_ms);
        self.clusters.push(Cluster {
            first_series: cluster.first_series,
            series: cluster.columns,
            kind: cluster.kind,
            rows: as_u32(cluster.times.len()),
            min_ms,
            max_ms,
            place: self.out.put(&bytes)?,
        });
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    /// Writes the index and puts the file in its place.
    pub(crate) fn finish(mut self, directory: &Path, number: u64) -> Result<Part, Error> {
        self.close_series()?;
        self.close_fingerprints()?;
        let left = self.symbols.count() - self.symbols_written as usize;
        if left > 0 {
            self.close_symbols(left)?;
        }
        self.footer.places.terms = self.terms.finish(&self.symbols, &mut self.out)?;
        self.footer.places.clusters = self.out.put(&Clusters(self.clusters).encode())?;
        let place = self.out.put(&self.footer.encode())?;
        self.out.put_raw(&footer::trailer(place))?;
        let name = PartName {
            number,
            min_ms: self.footer.min_ms,
            max_ms: self.footer.max_ms,
        };
        let path = name.path(directory);
        self.out.finish(&path)?;
        let named = Unfinished(path);
        sync_directory(&directory.join("parts"))?;
        let part = Part::open(&named.0, name)?;
        named.keep();
        Ok(part)
    }
}

impl OpenCluster {
    /// Writes the columns since the last time, a chunk for each page.
    fn close_chunks(&mut self, out: &mut BlockWriter) -> Result<(), Error> {
        if self.columns == self.chunk_first {
            return Ok(());
        }
        self.chunk_columns.push(self.chunk_first);
        let rows = self.times.len();
        for first in (0..rows).step_by(self.page_rows) {
            let page = first..rows.min(first + self.page_rows);
            let bytes = match self.kind {
                Kind::Blobs => {
                    let blobs: Vec<&[u8]> = cells(&self.blobs, rows, &page)
                        .map(|blob| &**blob)
                        .collect();
                    packed::encode_blobs(blobs.into_iter())
                }
                Kind::Floats | Kind::FloatsWithStarts => {
                    let values: Vec<f64> = cells(&self.values, rows, &page).copied().collect();
                    let starts: Vec<i64> = cells(&self.starts, rows, &page).copied().collect();
                    chunk::encode_floats(page.len(), &values, &starts)
                }
            };
            self.places.push(out.put(&bytes)?);
        }
        self.chunk_first = self.columns;
        self.values.clear();
        self.starts.clear();
        self.blobs.clear();
        self.blob_bytes = 0;
        Ok(())
    }
}

/// Of columns of `rows` each those of a page.
fn cells<'a, T>(
    columns: &'a [T],
    rows: usize,
    page: &'a std::ops::Range<usize>,
) -> impl Iterator<Item = &'a T> {
    columns
        .chunks(rows)
        .flat_map(move |column| &column[page.clone()])
}
