//! Terms: which series of a part have which label.
//!
//! One sorted map (an `fst`) from `name 0xff value` to a list of series. 0xff is in no UTF-8, so that no name and
//! value can be read as others. Most values have one series: its number is in the map itself.

use std::collections::HashMap;

use fst::{IntoStreamer, Streamer};
use roaring::RoaringBitmap;

use crate::{
    bytes::{Malformed, as_u32},
    cache::{Cache, Decoded},
    error::Error,
    part::{Part, block::BlockWriter, pattern::PatternSearch},
    postings::Terms,
    symbols::Symbols,
};

const SEPARATOR: u8 = 0xff;

/// The map of a part.
pub(crate) struct TermMap(fst::Map<Vec<u8>>);

impl Decoded for TermMap {
    fn bytes(&self) -> usize {
        self.0.as_fst().as_bytes().len()
    }
}

impl TermMap {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let map = fst::Map::new(bytes.to_vec());
        map.map(TermMap).map_err(|_| Malformed::at("terms"))
    }
}

/// A list of series: itself when it is one, else where it is.
struct RoaringList(RoaringBitmap);

impl Decoded for RoaringList {
    fn bytes(&self) -> usize {
        self.0.serialized_size()
    }
}

fn term(name: &str, value: &str) -> Vec<u8> {
    [name.as_bytes(), &[SEPARATOR], value.as_bytes()].concat()
}

/// Terms while a part is written.
#[derive(Default)]
pub(crate) struct TermsWriter(HashMap<(u32, u32), Vec<u32>>);

impl TermsWriter {
    /// Series come in ascending order.
    pub(crate) fn add(&mut self, series: u32, name: u32, value: u32) {
        self.0.entry((name, value)).or_default().push(series);
    }

    /// Writes lists and map. Where the map is.
    pub(crate) fn finish(self, symbols: &Symbols, out: &mut BlockWriter) -> Result<u64, Error> {
        let terms = self
            .0
            .into_iter()
            .map(|((name, value), series)| (term(symbols.text(name), symbols.text(value)), series));
        let mut terms: Vec<(Vec<u8>, Vec<u32>)> = terms.collect();
        terms.sort_unstable();
        let mut map = fst::MapBuilder::memory();
        for (term, series) in terms {
            let place = match series.as_slice() {
                [one] => u64::from(*one) << 1 | 1,
                many => {
                    let mut list: RoaringBitmap = many.iter().copied().collect();
                    list.optimize();
                    let mut bytes = Vec::new();
                    list.serialize_into(&mut bytes)
                        .expect("memory takes what is written");
                    out.put(&bytes)? << 1
                }
            };
            map.insert(term, place)
                .expect("terms are sorted and different");
        }
        out.put(&map.into_inner().expect("memory takes what is written"))
    }
}

/// The terms of a part, read through a cache.
#[derive(Clone, Copy)]
pub(crate) struct PartTerms<'a> {
    pub(crate) part: &'a Part,
    pub(crate) cache: &'a Cache,
}

impl PartTerms<'_> {
    fn map(&self) -> Result<std::sync::Arc<TermMap>, Error> {
        let place = self.part.footer.places.terms;
        self.part.decoded(self.cache, place, TermMap::decode)
    }

    fn list(&self, value: u64) -> Result<RoaringBitmap, Error> {
        if value & 1 == 1 {
            let series = u32::try_from(value >> 1).unwrap_or(u32::MAX);
            return Ok([series].into_iter().collect());
        }
        let list = self.part.decoded(self.cache, value >> 1, |bytes| {
            let list = RoaringBitmap::deserialize_from(bytes);
            list.map(RoaringList)
                .map_err(|_| Malformed::at("list of series"))
        })?;
        Ok(list.0.clone())
    }

    /// Each value of a label, ascending, until `each` says no more; with a pattern at least those that match it.
    pub(crate) fn values(
        &self,
        name: &str,
        pattern: Option<&str>,
        each: &mut dyn FnMut(&str, u64) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let map = self.map()?;
        let (from, to) = (
            term(name, ""),
            [name.as_bytes(), &[SEPARATOR, SEPARATOR]].concat(),
        );
        if let Some(search) = pattern.and_then(|pattern| PatternSearch::new(&from, pattern)) {
            let stream = map.0.search(search).ge(&from).lt(&to).into_stream();
            return self.each_value(from.len(), stream, each);
        }
        let stream = map.0.range().ge(&from).lt(&to).into_stream();
        self.each_value(from.len(), stream, each)
    }

    /// `from`: where values begin in their terms.
    fn each_value<A: fst::Automaton>(
        &self,
        from: usize,
        mut stream: fst::map::Stream<'_, A>,
        each: &mut dyn FnMut(&str, u64) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        while let Some((term, place)) = stream.next() {
            let value = std::str::from_utf8(&term[from..]);
            let damaged = |_| {
                let terms = self.part.footer.places.terms;
                self.part
                    .file
                    .damaged(terms, Malformed::at("value of a label"))
            };
            if !each(value.map_err(damaged)?, place)? {
                break;
            }
        }
        Ok(())
    }

    /// All names of labels, ascending.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let map = self.map()?;
        let mut names: Vec<String> = Vec::new();
        let mut from = Vec::new();
        // From each name on to the first term of a later one: a step for each name, not for each value.
        while let Some((term, _)) = map.0.range().ge(&from).into_stream().next() {
            let end = term
                .iter()
                .position(|byte| *byte == SEPARATOR)
                .unwrap_or(term.len());
            names.push(String::from_utf8_lossy(&term[..end]).into_owned());
            from = [&term[..end], &[SEPARATOR, SEPARATOR]].concat();
        }
        Ok(names)
    }
}

impl Terms for PartTerms<'_> {
    type Error = Error;

    fn all(&self) -> Result<RoaringBitmap, Error> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.part.footer.series);
        Ok(all)
    }

    fn having(&self, name: &str, value: &str) -> Result<RoaringBitmap, Error> {
        match self.map()?.0.get(term(name, value)) {
            Some(place) => self.list(place),
            None => Ok(RoaringBitmap::new()),
        }
    }

    fn having_any(
        &self,
        name: &str,
        pattern: Option<&str>,
        fits: &dyn Fn(&str) -> bool,
    ) -> Result<RoaringBitmap, Error> {
        let mut found = RoaringBitmap::new();
        self.values(name, pattern, &mut |value, place| {
            if fits(value) {
                found |= self.list(place)?;
            }
            Ok(true)
        })?;
        Ok(found)
    }
}

/// The symbols of one block.
pub(crate) struct SymbolBlock(pub(crate) Vec<std::sync::Arc<str>>);

impl Decoded for SymbolBlock {
    fn bytes(&self) -> usize {
        self.0.iter().map(|text| text.len() + 32).sum()
    }
}

/// Symbols of the labels of the series of one block.
pub(crate) struct SeriesBlock {
    symbols: Vec<(u32, u32)>,
    /// Where those of each series end.
    ends: Vec<u32>,
}

impl SeriesBlock {
    /// `each`: the symbols of the next series.
    pub(crate) fn read(
        count: u32,
        mut each: impl FnMut(&mut Vec<(u32, u32)>) -> Result<(), Malformed>,
    ) -> Result<Self, Malformed> {
        let mut block = SeriesBlock {
            symbols: Vec::new(),
            ends: Vec::new(),
        };
        for _ in 0..count {
            each(&mut block.symbols)?;
            block.ends.push(as_u32(block.symbols.len()));
        }
        Ok(block)
    }

    pub(crate) fn get(&self, series: usize) -> Option<&[(u32, u32)]> {
        let end = *self.ends.get(series)? as usize;
        let start = series.checked_sub(1).map_or(0, |before| self.ends[before]) as usize;
        Some(&self.symbols[start..end])
    }
}

impl Decoded for SeriesBlock {
    fn bytes(&self) -> usize {
        self.symbols.len() * 8 + self.ends.len() * 4
    }
}

/// Fingerprints of the series of one block.
pub(crate) struct FingerprintBlock(pub(crate) Vec<u128>);

impl Decoded for FingerprintBlock {
    fn bytes(&self) -> usize {
        self.0.len() * 16
    }
}

/// The number of the block and the index in it.
pub(crate) fn split(index: u32, size: usize) -> (usize, usize) {
    let index = index as usize;
    (index / size, index % size)
}

/// How many of `size` a block has, of `count` in all.
pub(crate) fn count_in_block(block: usize, size: usize, count: u32) -> u32 {
    let before = block * size;
    as_u32((count as usize).saturating_sub(before).min(size))
}
