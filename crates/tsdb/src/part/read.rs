//! Reading a part: series in ascending order, so that each block is decoded once.

use std::{ops::Range, sync::Arc};

use pitcrew_promql::labels::{Label, Labels};

use super::{
    Part,
    chunk::{self, Chunk},
    footer::{self, Cluster, Clusters, Kind},
    numbers, packed,
    terms::{FingerprintBlock, SeriesBlock, SymbolBlock, count_in_block, split},
};
use crate::{
    bytes::{Malformed, Reader},
    cache::{Cache, Decoded},
    column::{Piece, PieceValues, Spare},
    error::Error,
};

/// Timestamps and chunks of a cluster.
pub(crate) struct ClusterIndex {
    pub(crate) times: Arc<[i64]>,
    page_rows: usize,
    /// First columns of chunks that are beside each other.
    chunk_columns: Vec<u32>,
    /// Places of the chunks, page after page for the same columns.
    places: Vec<u64>,
}

impl Decoded for ClusterIndex {
    fn bytes(&self) -> usize {
        self.times.len() * 8 + self.chunk_columns.len() * 4 + self.places.len() * 8
    }
}

impl ClusterIndex {
    fn decode(bytes: &[u8], rows: usize) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let times = numbers::times(&mut reader, rows)?.into();
        let page_rows = usize::try_from(reader.varint()?).unwrap_or(0);
        if page_rows == 0 {
            return Err(Malformed::at("rows of a page"));
        }
        let count = reader.count(2)?;
        let mut chunk_columns = Vec::with_capacity(count);
        let mut column: u32 = 0;
        for _ in 0..count {
            let next = column.checked_add(reader.varint_u32()?);
            column = next.ok_or_else(|| Malformed::at("column"))?;
            chunk_columns.push(column);
        }
        let mut places = Vec::new();
        let mut place: u64 = 0;
        while !reader.is_empty() {
            place = place.wrapping_add(reader.varint()?);
            places.push(place);
        }
        let index = ClusterIndex {
            times,
            page_rows,
            chunk_columns,
            places,
        };
        let chunks = count.checked_mul(index.pages());
        if chunks == Some(index.places.len()) {
            Ok(index)
        } else {
            Err(Malformed::at("places of chunks"))
        }
    }

    fn pages(&self) -> usize {
        self.times.len().div_ceil(self.page_rows)
    }

    /// Rows of a page.
    fn rows(&self, page: usize) -> Range<usize> {
        let first = page * self.page_rows;
        first..self.times.len().min(first + self.page_rows)
    }
}

/// Rows of a cluster in a time, and their timestamps.
#[derive(Clone)]
struct Within {
    time_ms: (i64, i64),
    cluster: Cluster,
    index: Arc<ClusterIndex>,
    rows: Range<usize>,
    times: Arc<[i64]>,
}

impl Within {
    fn new(index: Arc<ClusterIndex>, cluster: Cluster, time_ms: (i64, i64)) -> Self {
        let before = usize::from(cluster.kind == Kind::Blobs);
        let first = index.times.partition_point(|time| *time < time_ms.0);
        let end = index.times.partition_point(|time| *time <= time_ms.1);
        let first = first.saturating_sub(before);
        let rows = first..end.max(first);
        let times = match rows.len() == index.times.len() {
            true => index.times.clone(),
            false => Arc::from(&index.times[rows.clone()]),
        };
        Within {
            time_ms,
            cluster,
            index,
            rows,
            times,
        }
    }

    fn has(&self, series: u32, time_ms: (i64, i64)) -> bool {
        let first = self.cluster.first_series;
        self.time_ms == time_ms && (first..first + self.cluster.series).contains(&series)
    }
}

/// Reads series of one part; remembers what the last one needed.
pub(crate) struct PartReader<'a> {
    part: Arc<Part>,
    cache: &'a Cache,
    pub(crate) clusters: Arc<Clusters>,
    cluster: Option<(usize, Arc<ClusterIndex>)>,
    /// Chunks beside each other that hold the last column: their place, and by page what was needed.
    chunks: Option<(u64, Vec<Option<Arc<Chunk>>>)>,
    /// Bytes of chunks that may still go into the cache: a query that reads a lot must not push out all else.
    cache_left: usize,
    /// What of the last cluster lies in the time that is asked for.
    within: Option<Within>,
    series: Option<(usize, Arc<SeriesBlock>)>,
    /// All that were needed so far: names and values of one series are far from each other.
    symbols: Vec<Option<Arc<SymbolBlock>>>,
    fingerprints: Option<(usize, Arc<FingerprintBlock>)>,
    /// Labels that are asked for; nothing where all are.
    wanted: Option<&'a [&'a str]>,
    /// Which symbols of names met so far are among them.
    is_wanted: Vec<(u32, bool)>,
    /// The last labels by their symbols: siblings have the same where few are asked for.
    labels: Option<(Vec<(u32, u32)>, Labels)>,
}

impl<'a> PartReader<'a> {
    pub(crate) fn new(part: Arc<Part>, cache: &'a Cache) -> Result<Self, Error> {
        Ok(PartReader {
            clusters: part.clusters(cache)?,
            cache,
            cluster: None,
            chunks: None,
            cache_left: cache.share_of_one(),
            within: None,
            series: None,
            symbols: vec![None; part.footer.places.symbols.len()],
            part,
            fingerprints: None,
            wanted: None,
            is_wanted: Vec::new(),
            labels: None,
        })
    }

    /// Whether one series may have several numbers: one for its floats, one for its histograms.
    pub(crate) fn repeats_series(&self) -> bool {
        let mut clusters = self.clusters.0.iter();
        clusters.any(|cluster| cluster.kind == Kind::Blobs)
    }

    fn wrong(&self, what: &'static str) -> Error {
        self.part.file.damaged(0, Malformed::at(what))
    }

    pub(crate) fn cluster_of(&self, series: u32) -> Result<(usize, Cluster), Error> {
        let found = self.clusters.of_series(series);
        let (index, cluster) = found.ok_or_else(|| self.wrong("number of series"))?;
        Ok((index, *cluster))
    }

    pub(crate) fn index(
        &mut self,
        number: usize,
        cluster: &Cluster,
    ) -> Result<Arc<ClusterIndex>, Error> {
        if let Some((known, index)) = &self.cluster
            && *known == number
        {
            return Ok(index.clone());
        }
        let rows = cluster.rows as usize;
        let index = self.part.decoded(self.cache, cluster.place, |bytes| {
            ClusterIndex::decode(bytes, rows)
        })?;
        self.cluster = Some((number, index.clone()));
        Ok(index)
    }

    /// For who needs some labels only.
    pub(crate) fn with_labels(mut self, wanted: Option<&'a [&'a str]>) -> Self {
        self.wanted = wanted;
        self
    }

    /// For who reads everything once: no chunk goes into the cache.
    pub(crate) fn without_caching(mut self) -> Self {
        self.cache_left = 0;
        self
    }

    /// All cells of a column.
    pub(crate) fn column(&mut self, series: u32) -> Result<Chunk, Error> {
        let (number, cluster) = self.cluster_of(series)?;
        let index = self.index(number, &cluster)?;
        let rows = 0..index.times.len();
        let column = series - cluster.first_series;
        self.cells(&index, &cluster, column, rows, Vec::new())
    }

    /// Some cells of a column. `values`: where floats go.
    fn cells(
        &mut self,
        index: &ClusterIndex,
        cluster: &Cluster,
        column: u32,
        rows: Range<usize>,
        values: Vec<f64>,
    ) -> Result<Chunk, Error> {
        let after = index
            .chunk_columns
            .partition_point(|first| *first <= column);
        let chunk = after.checked_sub(1);
        let chunk = chunk.ok_or_else(|| self.wrong("column"))?;
        let at = (column - index.chunk_columns[chunk]) as usize;
        let mut found = Cells::new(cluster.kind, rows.len(), values);
        for page in rows.start / index.page_rows..rows.end.div_ceil(index.page_rows) {
            let in_page = index.rows(page);
            let first = rows.start.max(in_page.start) - in_page.start;
            let end = rows.end.min(in_page.end) - in_page.start;
            let column = at * in_page.len();
            let chunk = self.chunk(index, cluster.kind, chunk, page)?;
            let is_there = found.add(chunk, column + first..column + end);
            is_there.ok_or_else(|| self.wrong("column of a chunk"))?;
        }
        Ok(found.0)
    }

    fn chunk(
        &mut self,
        index: &ClusterIndex,
        kind: Kind,
        chunk: usize,
        page: usize,
    ) -> Result<&Chunk, Error> {
        let pages = index.pages();
        let beside = &index.places[chunk * pages..][..pages];
        let (part, cache, left) = (&self.part, self.cache, &mut self.cache_left);
        let known = self.chunks.take().filter(|(first, _)| *first == beside[0]);
        let (_, chunks) = self
            .chunks
            .insert(known.unwrap_or_else(|| (beside[0], vec![None; pages])));
        if chunks[page].is_none() {
            let key = (part.name.number, beside[page]);
            let rows = index.rows(page).len();
            let found = cache.get_within(key, left, || {
                part.file.decode(beside[page], |bytes| match kind {
                    Kind::Blobs => packed::decode_blobs(bytes),
                    Kind::Floats | Kind::FloatsWithStarts => chunk::decode_floats(bytes, rows),
                })
            })?;
            chunks[page] = Some(found);
        }
        Ok(chunks[page].as_ref().expect("it was put there"))
    }

    /// A series' samples of some time. Of histograms also the one before it: what is known of a reset depends
    /// on it.
    pub(crate) fn piece(
        &mut self,
        series: u32,
        time_ms: (i64, i64),
        spare: &mut Spare,
    ) -> Result<Option<Piece>, Error> {
        let known = self.within.take();
        let within = match known.filter(|known| known.has(series, time_ms)) {
            Some(known) => known,
            None => {
                let (number, cluster) = self.cluster_of(series)?;
                if cluster.min_ms > time_ms.1 || cluster.max_ms < time_ms.0 {
                    return Ok(None);
                }
                Within::new(self.index(number, &cluster)?, cluster, time_ms)
            }
        };
        let within = self.within.insert(within).clone();
        if within.rows.is_empty() {
            return Ok(None);
        }
        let column = series - within.cluster.first_series;
        let cells = self.cells(
            &within.index,
            &within.cluster,
            column,
            within.rows,
            spare.take(),
        );
        let values = match cells? {
            Chunk::Floats { values, starts } => PieceValues::Floats { values, starts },
            Chunk::Blobs(blobs) => {
                let samples = Chunk::samples(&blobs);
                PieceValues::Blobs(samples.map_err(|_| self.wrong("histogram"))?)
            }
        };
        let times = within.times;
        Ok(Some(Piece { times, values }))
    }

    pub(crate) fn fingerprint(&mut self, series: u32) -> Result<u128, Error> {
        let (block, at) = split(series, footer::FINGERPRINTS);
        let known = self
            .fingerprints
            .take()
            .filter(|(known, _)| *known == block);
        let (_, found) = match known {
            Some(known) => self.fingerprints.insert(known),
            None => {
                let places = &self.part.footer.places.fingerprints;
                let place = *places
                    .get(block)
                    .ok_or_else(|| self.wrong("number of series"))?;
                let found = self.part.decoded(self.cache, place, |bytes| {
                    let mut reader = Reader::new(bytes);
                    let count = bytes.len() / 16;
                    Ok(FingerprintBlock(
                        (0..count)
                            .map(|_| reader.u128())
                            .collect::<Result<_, _>>()?,
                    ))
                })?;
                self.fingerprints.insert((block, found))
            }
        };
        let fingerprint = found.0.get(at).copied();
        fingerprint.ok_or_else(|| self.wrong("number of series"))
    }

    pub(crate) fn labels(&mut self, series: u32) -> Result<Labels, Error> {
        let (block, at) = split(series, footer::SERIES);
        let known = self.series.take().filter(|(known, _)| *known == block);
        let (_, found) = match known {
            Some(known) => self.series.insert(known),
            None => {
                let places = &self.part.footer.places;
                let place = *places
                    .series
                    .get(block)
                    .ok_or_else(|| self.wrong("number of series"))?;
                let count = count_in_block(block, footer::SERIES, self.part.footer.series);
                let found = self
                    .part
                    .decoded(self.cache, place, |bytes| series_block(bytes, count))?;
                self.series.insert((block, found))
            }
        };
        let found = found.clone();
        let symbols = found.get(at);
        let symbols = symbols.ok_or_else(|| self.wrong("number of series"))?;
        let mut chosen = Vec::with_capacity(symbols.len());
        for pair in symbols {
            if self.is_wanted(pair.0)? {
                chosen.push(*pair);
            }
        }
        if let Some((_, labels)) = self.labels.as_ref().filter(|(known, _)| *known == chosen) {
            return Ok(labels.clone());
        }
        let labels = chosen.iter().map(|(name, value)| {
            Ok(Label {
                name: self.symbol(*name)?,
                value: self.symbol(*value)?,
            })
        });
        let labels: Vec<Label> = labels.collect::<Result<_, Error>>()?;
        let in_order = labels.is_sorted_by(|left, right| left.name < right.name);
        if !in_order || labels.iter().any(|label| label.value.is_empty()) {
            return Err(self.wrong("labels"));
        }
        let labels = Labels::from_sorted(labels);
        self.labels = Some((chosen, labels.clone()));
        Ok(labels)
    }

    fn is_wanted(&mut self, name: u32) -> Result<bool, Error> {
        let Some(wanted) = self.wanted else {
            return Ok(true);
        };
        let known = self.is_wanted.iter().find(|(known, _)| *known == name);
        if let Some((_, is_wanted)) = known {
            return Ok(*is_wanted);
        }
        let text = self.symbol(name)?;
        let is_wanted = wanted.contains(&&*text);
        self.is_wanted.push((name, is_wanted));
        Ok(is_wanted)
    }

    fn symbol(&mut self, symbol: u32) -> Result<Arc<str>, Error> {
        let (block, at) = split(symbol, footer::SYMBOLS);
        let place = self.part.footer.places.symbols.get(block).copied();
        let place = place.ok_or_else(|| self.wrong("symbol"))?;
        let found = match &self.symbols[block] {
            Some(found) => found,
            None => {
                let found = self.part.decoded(self.cache, place, symbol_block)?;
                self.symbols[block].insert(found)
            }
        };
        let text = found.0.get(at).cloned();
        text.ok_or_else(|| self.wrong("symbol"))
    }
}

/// Cells of one column, put together from pages.
struct Cells(Chunk);

impl Cells {
    fn new(kind: Kind, rows: usize, mut values: Vec<f64>) -> Self {
        Cells(match kind {
            Kind::Blobs => Chunk::Blobs(Vec::with_capacity(rows)),
            Kind::Floats | Kind::FloatsWithStarts => {
                values.reserve(rows);
                Chunk::Floats {
                    values,
                    starts: Vec::new(),
                }
            }
        })
    }

    /// Nothing where a damaged chunk has fewer.
    fn add(&mut self, chunk: &Chunk, cells: Range<usize>) -> Option<()> {
        match (&mut self.0, chunk) {
            (
                Chunk::Floats { values, starts },
                Chunk::Floats {
                    values: from,
                    starts: from_starts,
                },
            ) => {
                values.extend_from_slice(from.get(cells.clone())?);
                if !from_starts.is_empty() {
                    starts.extend_from_slice(from_starts.get(cells)?);
                }
            }
            (Chunk::Blobs(blobs), Chunk::Blobs(from)) => {
                blobs.extend_from_slice(from.get(cells)?);
            }
            _ => return None,
        }
        Some(())
    }
}

fn series_block(bytes: &[u8], count: u32) -> Result<SeriesBlock, Malformed> {
    let plain = packed::decompress(bytes)?;
    let mut reader = Reader::new(&plain);
    SeriesBlock::read(count, |symbols| {
        for _ in 0..reader.count(2)? {
            symbols.push((reader.varint_u32()?, reader.varint_u32()?));
        }
        Ok(())
    })
}

fn symbol_block(bytes: &[u8]) -> Result<SymbolBlock, Malformed> {
    let plain = packed::decompress(bytes)?;
    let mut reader = Reader::new(&plain);
    let mut symbols = Vec::new();
    while !reader.is_empty() {
        symbols.push(Arc::from(reader.text()?));
    }
    Ok(SymbolBlock(symbols))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn random_bytes_are_at_most_malformed(bytes: Vec<u8>, rows in 0usize..50) {
            let packed = packed::compress(&bytes);
            if let Ok(block) = series_block(&packed, 3) {
                prop_assert!(block.get(2).is_some() && block.get(3).is_none());
            }
            if let Ok(block) = symbol_block(&packed) {
                prop_assert!(block.0.len() <= bytes.len());
            }
            if let Ok(index) = ClusterIndex::decode(&bytes, rows) {
                prop_assert_eq!(index.times.len(), rows);
            }
            prop_assert_eq!(packed::decompress(&packed), Ok(bytes.clone()));
            if let Ok(plain) = packed::decompress(&bytes) {
                prop_assert!(plain.len() < 1 << 30);
            }
        }
    }
}
