//! The footer: what a part holds and where.
//!
//! It is the last block of the file; the last 16 bytes say where it begins.

use crc32c::crc32c;

use crate::{
    bytes::{Malformed, Put, Reader},
    cache::Decoded,
};

pub(crate) const MAGIC: [u8; 8] = *b"PitcrewP";
pub(crate) const VERSION: u32 = 3;
/// Older ones that are read, too.
pub(crate) const VERSION_LEAST: u32 = 2;
pub(crate) const HEADER: usize = 12;
pub(crate) const TRAILER: usize = 16;
const END: [u8; 4] = *b"PtcE";

/// What a part says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    /// The secret its series' fingerprints were made with.
    pub(crate) secret: u64,
    /// Where two parts have a sample of the same instant, that of the lower order counts.
    pub(crate) order: u64,
    /// How many spans of merging it has been through.
    pub(crate) level: u8,
    /// Fingerprint of the rules that it was written under; 0: of none, all samples of its sources are in it.
    pub(crate) rules: u64,
    /// What the log's segments say, up to this one, is in this part or an earlier one.
    pub(crate) segment: u64,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    pub(crate) samples: u64,
    pub(crate) series: u32,
    /// Numbers of the parts that this one was merged from.
    pub(crate) merged: Vec<u64>,
    pub(crate) places: Places,
}

/// Where the index is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// The table of clusters.
    pub(crate) clusters: u64,
    /// The terms.
    pub(crate) terms: u64,
    /// Blocks of symbols, [`SYMBOLS`] each.
    pub(crate) symbols: Vec<u64>,
    /// Blocks of series' labels, [`SERIES`] each.
    pub(crate) series: Vec<u64>,
    /// Blocks of series' fingerprints, [`FINGERPRINTS`] each.
    pub(crate) fingerprints: Vec<u64>,
}

/// Symbols in a block.
pub(crate) const SYMBOLS: usize = 512;
/// Series in a block of labels.
pub(crate) const SERIES: usize = 256;
/// Series in a block of fingerprints.
pub(crate) const FINGERPRINTS: usize = 1024;

pub(crate) fn header() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.put(&VERSION.to_le_bytes());
    bytes
}

pub(crate) fn trailer(footer: u64) -> Vec<u8> {
    let mut bytes = footer.to_le_bytes().to_vec();
    let checksum = crc32c(&bytes);
    bytes.put(&checksum.to_le_bytes());
    bytes.put(&END);
    bytes
}

/// Where the footer begins.
pub(crate) fn read_trailer(bytes: &[u8]) -> Result<u64, Malformed> {
    let mut reader = Reader::new(bytes);
    let footer = reader.u64()?;
    if reader.u32()? != crc32c(&footer.to_le_bytes()) || reader.bytes(4)? != END {
        return Err(Malformed::at("trailer"));
    }
    Ok(footer)
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.secret.to_le_bytes().to_vec();
        out.put_varint(self.order);
        out.put(&[self.level]);
        out.put(&self.rules.to_le_bytes());
        out.put_varint(self.segment);
        out.put_zigzag(self.min_ms);
        out.put_zigzag(self.max_ms);
        out.put_varint(self.samples);
        out.put_varint(u64::from(self.series));
        out.put_varint(self.places.clusters);
        out.put_varint(self.places.terms);
        let places = &self.places;
        for list in [
            &self.merged,
            &places.symbols,
            &places.series,
            &places.fingerprints,
        ] {
            out.put_count(list.len());
            let mut before: u64 = 0;
            for number in list {
                out.put_zigzag(number.wrapping_sub(before).cast_signed());
                before = *number;
            }
        }
        out
    }

    /// `version`: the file's, one that is read.
    pub(crate) fn decode(bytes: &[u8], version: u32) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut footer = Footer {
            secret: reader.u64()?,
            order: reader.varint()?,
            level: reader.u8()?,
            rules: match version {
                VERSION_LEAST => 0,
                _ => reader.u64()?,
            },
            segment: reader.varint()?,
            min_ms: reader.zigzag()?,
            max_ms: reader.zigzag()?,
            samples: reader.varint()?,
            series: reader.varint_u32()?,
            ..Footer::default()
        };
        let places = &mut footer.places;
        places.clusters = reader.varint()?;
        places.terms = reader.varint()?;
        let lists = [
            &mut footer.merged,
            &mut places.symbols,
            &mut places.series,
            &mut places.fingerprints,
        ];
        for list in lists {
            let mut before: u64 = 0;
            for _ in 0..reader.count(1)? {
                before = before.wrapping_add(reader.zigzag()?.cast_unsigned());
                list.push(before);
            }
        }
        Ok(footer)
    }
}

/// What the samples of a cluster are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Floats,
    FloatsWithStarts,
    Blobs,
}

/// Series of a part that have samples at exactly the same instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) first_series: u32,
    pub(crate) series: u32,
    pub(crate) kind: Kind,
    pub(crate) rows: u32,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
    /// Where its timestamps and the list of its chunks are.
    pub(crate) place: u64,
}

/// All clusters, ascending by their series.
#[derive(Debug)]
pub(crate) struct Clusters(pub(crate) Vec<Cluster>);

impl Decoded for Clusters {
    fn bytes(&self) -> usize {
        self.0.len() * size_of::<Cluster>()
    }
}

impl Clusters {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_count(self.0.len());
        let mut before = 0;
        for cluster in &self.0 {
            out.put_varint(u64::from(cluster.series));
            out.put(&[match cluster.kind {
                Kind::Floats => 0,
                Kind::FloatsWithStarts => 1,
                Kind::Blobs => 2,
            }]);
            out.put_varint(u64::from(cluster.rows));
            out.put_zigzag(cluster.min_ms);
            out.put_zigzag(cluster.max_ms);
            out.put_varint(cluster.place - before);
            before = cluster.place;
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let count = reader.count(6)?;
        let mut clusters = Vec::with_capacity(count);
        let (mut first_series, mut place): (u32, u64) = (0, 0);
        for _ in 0..count {
            let series = reader.varint_u32()?;
            let kind = match reader.u8()? {
                0 => Kind::Floats,
                1 => Kind::FloatsWithStarts,
                2 => Kind::Blobs,
                _ => return Err(Malformed::at("kind of cluster")),
            };
            let rows = reader.varint_u32()?;
            let (min_ms, max_ms) = (reader.zigzag()?, reader.zigzag()?);
            place = place.wrapping_add(reader.varint()?);
            clusters.push(Cluster {
                first_series,
                series,
                kind,
                rows,
                min_ms,
                max_ms,
                place,
            });
            let next = first_series.checked_add(series);
            first_series = next.ok_or_else(|| Malformed::at("count of series"))?;
        }
        Ok(Clusters(clusters))
    }

    /// The cluster a series belongs to, by its index.
    pub(crate) fn of_series(&self, series: u32) -> Option<(usize, &Cluster)> {
        let after = self
            .0
            .partition_point(|cluster| cluster.first_series <= series);
        let index = after.checked_sub(1)?;
        let cluster = &self.0[index];
        (series - cluster.first_series < cluster.series).then_some((index, cluster))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    proptest! {
        #[test]
        fn a_footer_is_read_as_it_was_written(
            numbers: [u64; 5],
            times: [i64; 2],
            series: u32,
            lists: [Vec<u64>; 4],
        ) {
            let [merged, symbols, series_blocks, fingerprints] = lists;
            let footer = Footer {
                secret: numbers[0],
                order: numbers[1],
                level: 3,
                rules: numbers[4],
                segment: numbers[2],
                min_ms: times[0],
                max_ms: times[1],
                samples: numbers[3],
                series,
                merged,
                places: Places { clusters: 7, terms: 9, symbols, series: series_blocks, fingerprints },
            };
            prop_assert_eq!(Footer::decode(&footer.encode(), VERSION), Ok(footer));
        }

        #[test]
        fn clusters_are_read_as_they_were_written(found in vec((0u32..9, any::<u32>(), any::<i64>(), 0u64..99), 0..9)) {
            let (mut first_series, mut place) = (0, 0);
            let clusters = found.into_iter().map(|(series, rows, min_ms, step)| {
                place += step;
                let cluster = Cluster {
                    first_series, series, kind: Kind::Blobs, rows, min_ms, max_ms: 5, place,
                };
                first_series += series;
                cluster
            });
            let clusters = Clusters(clusters.collect());
            let read = Clusters::decode(&clusters.encode()).unwrap();
            prop_assert_eq!(&read.0, &clusters.0);
            for series in 0..first_series {
                let (_, cluster) = read.of_series(series).unwrap();
                prop_assert!((cluster.first_series..cluster.first_series + cluster.series).contains(&series));
            }
            prop_assert_eq!(read.of_series(first_series), None);
        }

        #[test]
        fn random_bytes_are_at_most_malformed(bytes: Vec<u8>) {
            for is_read in [
                Footer::decode(&bytes, VERSION).is_ok(),
                Footer::decode(&bytes, VERSION_LEAST).is_ok(),
                Clusters::decode(&bytes).is_ok(),
                read_trailer(&bytes).is_ok(),
            ] {
                prop_assert!(!is_read || !bytes.is_empty());
            }
        }
    }
}
