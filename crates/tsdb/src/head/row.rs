//! A row: what the series of a group measured at one instant.
//!
//! Most targets report all their series at once, so a full row is a plain list of values by column. A row that
//! few series fill stays a list of pairs, or a group whose series come at times of their own would take the
//! width of the group for each sample.

/// No sample in this column. A quiet NaN with a payload of our own; a sample with exactly these bits is kept as
/// a blob.
pub(crate) const ABSENT: u64 = 0x7ff8_5069_7443_0001;
/// The sample is among the row's blobs.
pub(crate) const ELSEWHERE: u64 = 0x7ff8_5069_7443_0002;

/// A sample on its way into a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    /// The bits of a float other than the two above.
    Float(u64),
    /// An encoded sample.
    Blob(Box<[u8]>),
}

/// What became of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is stored and takes so many bytes more.
    Stored { bytes: usize },
    /// There was one: it stays.
    Duplicate,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) timestamp_ms: i64,
    cells: Cells,
    rare: Option<Box<Rare>>,
}

#[derive(Debug)]
enum Cells {
    /// Ascending by column.
    Few(Vec<(u32, u64)>),
    /// By column; shorter than the group when series joined it later.
    Full(Vec<u64>),
}

#[derive(Debug, Default)]
struct Rare {
    /// When counters began, ascending by column; absent where that isn't known.
    starts: Vec<(u32, i64)>,
    /// Ascending by column.
    blobs: Vec<(u32, Box<[u8]>)>,
}

impl Row {
    /// What an empty row takes.
    pub(crate) const BYTES: usize = size_of::<Row>();

    pub(crate) fn new(timestamp_ms: i64) -> Self {
        Row {
            timestamp_ms,
            cells: Cells::Few(Vec::new()),
            rare: None,
        }
    }

    /// Puts a sample into a column of a group that is `width` wide.
    pub(crate) fn put(&mut self, column: u32, width: usize, cell: Cell, start_ms: i64) -> Placed {
        let (bits, blob) = match cell {
            Cell::Float(bits) => (bits, None),
            Cell::Blob(blob) => (ELSEWHERE, Some(blob)),
        };
        let Some(mut bytes) = self.cells.put(column, width, bits) else {
            return Placed::Duplicate;
        };
        if let Some(blob) = blob {
            bytes += blob.len() + size_of::<(u32, Box<[u8]>)>();
            insert(&mut self.rare.get_or_insert_default().blobs, column, blob);
        } else if start_ms != 0 {
            bytes += size_of::<(u32, i64)>();
            insert(
                &mut self.rare.get_or_insert_default().starts,
                column,
                start_ms,
            );
        }
        Placed::Stored { bytes }
    }

    /// The bits in a column; [`ELSEWHERE`] says that there is a blob.
    pub(crate) fn bits(&self, column: u32) -> Option<u64> {
        let bits = match &self.cells {
            Cells::Few(pairs) => find(pairs, column).copied().unwrap_or(ABSENT),
            Cells::Full(values) => values.get(column as usize).copied().unwrap_or(ABSENT),
        };
        (bits != ABSENT).then_some(bits)
    }

    /// The columns that are filled, ascending, with their bits.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (u32, u64)> {
        let (few, full) = match &self.cells {
            Cells::Few(pairs) => (&pairs[..], &[][..]),
            Cells::Full(values) => (&[][..], &values[..]),
        };
        let full = (0..).zip(full).map(|(column, bits)| (column, *bits));
        let full = full.filter(|(_, bits)| *bits != ABSENT);
        few.iter().copied().chain(full)
    }

    /// The bits of a float of which nothing else is known.
    pub(crate) fn plain(&self, column: u32) -> Option<u64> {
        let bits = self.bits(column)?;
        let is_plain = bits != ELSEWHERE && (self.rare.is_none() || self.start_ms(column) == 0);
        is_plain.then_some(bits)
    }

    pub(crate) fn blob(&self, column: u32) -> Option<&[u8]> {
        let rare = self.rare.as_ref()?;
        find(&rare.blobs, column).map(|blob| &**blob)
    }

    /// When the counter of a float began; 0 where that isn't known.
    pub(crate) fn start_ms(&self, column: u32) -> i64 {
        let rare = self.rare.as_ref();
        rare.and_then(|rare| find(&rare.starts, column))
            .copied()
            .unwrap_or(0)
    }
}

impl Cells {
    /// How many bytes more it takes; nothing when the cell is taken.
    fn put(&mut self, column: u32, width: usize, bits: u64) -> Option<usize> {
        match self {
            Cells::Full(values) => {
                let index = column as usize;
                let missing = (index + 1).saturating_sub(values.len());
                if missing > 0 {
                    values.resize(width.max(index + 1), ABSENT);
                }
                if values[index] != ABSENT {
                    return None;
                }
                values[index] = bits;
                Some(missing * size_of::<u64>())
            }
            Cells::Few(pairs) => {
                match pairs.last() {
                    Some((last, _)) if *last >= column => {
                        let index = pairs.binary_search_by_key(&column, |(column, _)| *column);
                        pairs.insert(index.err()?, (column, bits));
                    }
                    _ => pairs.push((column, bits)),
                }
                if pairs.len() <= width / 8 {
                    return Some(size_of::<(u32, u64)>());
                }
                let mut values = vec![ABSENT; width];
                for (column, bits) in pairs.iter() {
                    values[*column as usize] = *bits;
                }
                let more = width.saturating_sub(2 * pairs.len()) * size_of::<u64>();
                *self = Cells::Full(values);
                Some(more)
            }
        }
    }
}

fn insert<T>(pairs: &mut Vec<(u32, T)>, column: u32, value: T) {
    let index = pairs.partition_point(|(other, _)| *other < column);
    pairs.insert(index, (column, value));
}

fn find<T>(pairs: &[(u32, T)], column: u32) -> Option<&T> {
    let index = pairs.binary_search_by_key(&column, |(column, _)| *column);
    index.ok().map(|index| &pairs[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_cell_stays() {
        for width in [1, 4, 100] {
            let mut row = Row::new(0);
            for column in [2, 0, 3, 1]
                .into_iter()
                .filter(|column| (*column as usize) < width)
            {
                let put = |row: &mut Row, bits| row.put(column, width, Cell::Float(bits), 0);
                assert!(matches!(
                    put(&mut row, 10 + u64::from(column)),
                    Placed::Stored { .. }
                ));
                assert_eq!(put(&mut row, 99), Placed::Duplicate);
                assert_eq!(row.bits(column), Some(10 + u64::from(column)));
            }
            assert_eq!(row.bits(7), None);
        }
    }

    #[test]
    fn starts_and_blobs_belong_to_their_columns() {
        let mut row = Row::new(0);
        row.put(5, 8, Cell::Blob(Box::from([1, 2])), 0);
        row.put(3, 8, Cell::Float(7), 42);
        row.put(4, 8, Cell::Float(8), 0);
        assert_eq!(row.blob(5), Some(&[1, 2][..]));
        assert_eq!((row.bits(5), row.blob(3)), (Some(ELSEWHERE), None));
        assert_eq!((row.start_ms(3), row.start_ms(4)), (42, 0));
    }
}
