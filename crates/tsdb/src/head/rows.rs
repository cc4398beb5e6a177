//! The rows of a group in order of time, in blocks.
//!
//! Mostly a row comes after all others. One that comes out of order moves at most the rows of its block, so that
//! no order of timestamps, in one batch or in many, makes an append slow.

use std::ops::Range;

use super::row::Row;

/// Rows of a block: 12 KiB that may have to be moved for one row. A million rows are some 4,000 blocks, whose list is
/// moved once for every 128 rows at most.
const BLOCK_ROWS: usize = 256;

/// Rows ascending by time, one for each instant.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// None is empty.
    blocks: Vec<Vec<Row>>,
    /// Rows and blocks that were moved to make room.
    #[cfg(test)]
    moved: usize,
}

/// Where a row is, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    block: usize,
    row: usize,
}

impl Rows {
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.blocks.iter().flatten()
    }

    /// The row of an instant, and whether it was made now.
    pub(crate) fn at(&mut self, timestamp_ms: i64) -> (&mut Row, bool) {
        let found = self.find(timestamp_ms);
        let place = found.unwrap_or_else(|place| {
            let place = self.make_room(place);
            self.note_moved(self.blocks[place.block].len() - place.row);
            self.blocks[place.block].insert(place.row, Row::new(timestamp_ms));
            place
        });
        (&mut self.blocks[place.block][place.row], found.is_err())
    }

    /// Where the row of an instant is, or belongs.
    fn find(&self, timestamp_ms: i64) -> Result<Place, Place> {
        // Nearly always it is the last one, or comes after it.
        if let Some((rows, before)) = self.blocks.split_last()
            && let Some(last) = rows.last()
            && last.timestamp_ms <= timestamp_ms
        {
            let place = |row| Place {
                block: before.len(),
                row,
            };
            return match last.timestamp_ms == timestamp_ms {
                true => Ok(place(rows.len() - 1)),
                false => Err(place(rows.len())),
            };
        }
        let begun = |rows: &Vec<Row>| rows[0].timestamp_ms <= timestamp_ms;
        let block = self.blocks.partition_point(begun).saturating_sub(1);
        let rows = self.blocks.get(block).map_or(&[][..], Vec::as_slice);
        let row = rows.binary_search_by_key(&timestamp_ms, |row| row.timestamp_ms);
        let place = |row| Place { block, row };
        row.map(place).map_err(place)
    }

    /// Where the row goes when its block is full: into a block of its own at either end, so that what comes in order
    /// of time, forwards or backwards, fills blocks; else into one half of it.
    fn make_room(&mut self, Place { block, row }: Place) -> Place {
        const HALF: usize = BLOCK_ROWS / 2;
        let is_full = |rows: &Vec<Row>| rows.len() >= BLOCK_ROWS;
        if !self.blocks.get(block).is_none_or(is_full) {
            return Place { block, row };
        }
        let (new, rows) = match row {
            0 => (block, Vec::new()),
            BLOCK_ROWS => (block + 1, Vec::new()),
            _ => (block + 1, self.blocks[block].split_off(HALF)),
        };
        self.note_moved(self.blocks.len() - new.min(self.blocks.len()) + rows.len());
        let was_split = !rows.is_empty();
        self.blocks.insert(new, rows);
        match was_split {
            true if row <= HALF => Place { block, row },
            true => Place {
                block: new,
                row: row - HALF,
            },
            false => Place { block: new, row: 0 },
        }
    }

    #[cfg(test)]
    fn note_moved(&mut self, count: usize) {
        self.moved += count;
    }

    #[cfg(not(test))]
    fn note_moved(&mut self, _count: usize) {}

    /// Where the rows of a time are, both ends included.
    pub(crate) fn within(&self, (start_ms, end_ms): (i64, i64)) -> Range<Place> {
        let first_not = |is_before: &dyn Fn(&Row) -> bool| {
            let before = |block: &Vec<Row>| block.last().is_some_and(is_before);
            let block = self.blocks.partition_point(before);
            let rows = self.blocks.get(block).map_or(&[][..], Vec::as_slice);
            let row = rows.partition_point(is_before);
            Place { block, row }
        };
        first_not(&|row| row.timestamp_ms < start_ms)..first_not(&|row| row.timestamp_ms <= end_ms)
    }

    /// The rows between two places, some at a time.
    pub(crate) fn slices(
        &self,
        places: Range<Place>,
    ) -> impl DoubleEndedIterator<Item = &[Row]> + Clone {
        let Range { start, end } = places;
        let blocks = self.blocks.iter().enumerate();
        let blocks = blocks.take(end.block.saturating_add(1)).skip(start.block);
        blocks.map(move |(index, rows)| {
            let first = if index == start.block { start.row } else { 0 };
            let end = if index == end.block {
                end.row
            } else {
                rows.len()
            };
            rows.get(first..end).unwrap_or_default()
        })
    }

    /// The rows before a place, the last one first.
    pub(crate) fn before(&self, place: Place) -> impl Iterator<Item = &Row> {
        let first = Place { block: 0, row: 0 };
        self.slices(first..place)
            .rev()
            .flat_map(|rows| rows.iter().rev())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Puts rows in and says how many were moved.
    fn moved(times: impl IntoIterator<Item = i64>) -> usize {
        let mut rows = Rows::default();
        for time in times {
            rows.at(time);
        }
        assert!(rows.iter().is_sorted_by_key(|row| row.timestamp_ms));
        rows.moved
    }

    #[test]
    fn no_order_of_times_moves_more_than_a_bounded_number_for_each_row() {
        const COUNT: i64 = 50_000;
        assert_eq!(moved(0..COUNT), 0, "in order nothing is moved");
        let series_after_series =
            (0..50).flat_map(|series| (0..COUNT / 50).map(move |step| step * 1_000 + series));
        let outside_in = (0..COUNT / 2).flat_map(|step| [step, COUNT - step]);
        let orders: [(&str, Vec<i64>); 4] = [
            ("descending", (0..COUNT).rev().collect()),
            ("series after series", series_after_series.collect()),
            ("outside in", outside_in.collect()),
            (
                "scattered",
                (0..COUNT).map(|step| step * 7_919 % COUNT).collect(),
            ),
        ];
        for (name, times) in orders {
            let rows = times.len();
            let moved = moved(times);
            assert!(moved <= rows * 200, "{name}: {moved} for {rows} rows");
        }
    }

    proptest! {
        #[test]
        fn rows_are_there_once_in_order_and_found_by_time(
            runs in vec((0i64..3_000, prop_oneof![Just(-1i64), Just(1), Just(7), Just(-3)], 1i64..600), 1..12),
            start in -10i64..3_000,
            length in 0i64..3_000,
        ) {
            let (mut rows, mut known) = (Rows::default(), BTreeSet::new());
            for (first, step, count) in runs {
                for time in (0..count).map(|index| first + index * step) {
                    let (row, new) = rows.at(time);
                    prop_assert_eq!(row.timestamp_ms, time);
                    prop_assert_eq!(new, known.insert(time));
                }
            }
            let times = |rows: &mut dyn Iterator<Item = &Row>| -> Vec<i64> {
                rows.map(|row| row.timestamp_ms).collect()
            };
            prop_assert_eq!(times(&mut rows.iter()), known.iter().copied().collect::<Vec<_>>());
            let end = start + length;
            let places = rows.within((start, end));
            prop_assert_eq!(
                times(&mut rows.slices(places.clone()).flatten()),
                known.range(start..=end).copied().collect::<Vec<_>>()
            );
            prop_assert_eq!(
                times(&mut rows.before(places.start)),
                known.range(..start).rev().copied().collect::<Vec<_>>()
            );
        }
    }
}
