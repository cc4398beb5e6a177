//! Scrape groups: series that report together share their timestamps.
//!
//! A group is a table: a column for each series, a row for each instant. Rows are in order of time; what comes
//! out of order finds its row or makes one.

use super::{
    row::{Cell, Placed, Row},
    rows::Rows,
};
use crate::bytes::as_u32;

/// A column that no series has at the moment.
pub(crate) const NO_SERIES: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The series of each column.
    pub(crate) columns: Vec<u32>,
    pub(crate) rows: Rows,
    free: Vec<u32>,
}

impl Group {
    /// A row of more columns would be too long to be read for one of them.
    pub(crate) const WIDTH_MAX: usize = 1024;
    /// The same where nothing says that the series report together: whoever reads one of them looks at the rows of
    /// all.
    pub(crate) const LOOSE_WIDTH_MAX: usize = 64;

    pub(crate) fn has_room(&self, width_max: usize) -> bool {
        self.columns.len() < width_max || !self.free.is_empty()
    }

    /// Gives a series a column.
    pub(crate) fn join(&mut self, series: u32) -> u32 {
        if let Some(column) = self.free.pop() {
            self.columns[column as usize] = series;
            return column;
        }
        self.columns.push(series);
        as_u32(self.columns.len() - 1)
    }

    /// Takes a series' column away. It must have no samples in any row.
    pub(crate) fn leave(&mut self, column: u32) {
        self.columns[column as usize] = NO_SERIES;
        self.free.push(column);
    }

    /// Whether it may be another reporter's.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.free.len() == self.columns.len()
    }

    pub(crate) fn put(
        &mut self,
        column: u32,
        timestamp_ms: i64,
        cell: Cell,
        start_ms: i64,
    ) -> Placed {
        let width = self.columns.len();
        let (row, new) = self.rows.at(timestamp_ms);
        match row.put(column, width, cell, start_ms) {
            Placed::Stored { bytes } if new => Placed::Stored {
                bytes: bytes + Row::BYTES,
            },
            placed => placed,
        }
    }
}
