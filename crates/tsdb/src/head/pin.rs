//! Pins: the head's rows as they were at one moment, for whoever reads them little by little without holding up appends.
//!
//! Rows that fill are read where they are, under the head's lock. Once they are frozen they are found here, even when
//! their part has been written and the head has let go of them. What is appended meanwhile may be seen or not; nothing
//! that was there at the moment of the pin is missing.

use std::sync::{Arc, OnceLock};

use super::{Frozen, Head, rows::Rows};
use crate::series::Series;

/// Where rows that fill are once they are frozen.
pub(super) type Next = Arc<OnceLock<Arc<Frozen>>>;

pub(crate) struct Pin {
    /// Rows that were on their way into a part.
    frozen: Option<Arc<Frozen>>,
    /// What became of those that filled.
    next: Next,
    /// How often rows had been frozen.
    freezes: u64,
}

impl Head {
    pub(crate) fn pin(&self) -> Pin {
        Pin {
            frozen: self.frozen.clone(),
            next: self.next.clone(),
            freezes: self.freezes,
        }
    }
}

impl Pin {
    /// Whether any of the rows may have samples of that time.
    pub(crate) fn overlaps(&self, head: &Head, start_ms: i64, end_ms: i64) -> bool {
        let frozen = self.frozen.iter().map(|frozen| frozen.filling);
        let mut filling = frozen.chain([head.filling]);
        filling.any(|filling| filling.min_ms <= end_ms && filling.max_ms >= start_ms)
    }

    /// The rows of a series' group: those that were frozen, and those that filled.
    pub(crate) fn rows<'a>(
        &'a self,
        head: &'a Head,
        number: u32,
        series: &Series,
    ) -> [Option<&'a Rows>; 2] {
        // A column may have had another series.
        let of = |frozen: &'a Arc<Frozen>| {
            let group = frozen.groups.get(series.group as usize);
            let group =
                group.filter(|group| group.columns.get(series.column as usize) == Some(&number));
            group.map(|group| &group.rows)
        };
        [
            self.frozen.as_ref().and_then(of),
            match self.next.get() {
                Some(next) => of(next),
                None => Some(head.rows(series.group)),
            },
        ]
    }

    /// Whether a series that is forgotten by now may have had samples in these rows: it is forgotten after two seals
    /// without any.
    pub(crate) fn may_have_had(&self, head: &Head) -> bool {
        head.freezes >= self.freezes + 2
    }
}
