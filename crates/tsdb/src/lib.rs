//! The metrics store: what was measured, kept compactly and answered quickly.
//!
//! A sample goes into a write-ahead log and then into the head; every few minutes the head is sealed into a part,
//! an immutable compressed file with its own index; parts are merged as they age, and deleted when they are too
//! old. A query reads head and parts through [`pitcrew_promql::storage::Storage`].
//!
//! Time is an argument everywhere, and the store has no threads: whoever owns it calls [`Store::sync`] every
//! 200 ms and [`Store::maintain`] every few seconds, each from a thread of its own.
//!
//! ```
//! use pitcrew_promql::labels::Labels;
//! use pitcrew_tsdb::{Batch, Options, Sample, Store, Value, key_of, labels_of_key};
//!
//! let directory = tempfile::tempdir()?;
//! let now_ms = 1_700_000_000_000;
//! let store = Store::open(Options::new(directory.path()), now_ms)?;
//! let key = key_of(&Labels::from_pairs([("__name__", "up"), ("job", "web")]));
//! let sample = Sample { key: &key, timestamp_ms: now_ms, start_ms: 0, value: Value::Float(1.0) };
//! let accepted = store.append(
//!     &Batch {
//!         source: "example",
//!         scope: b"",
//!         labels_of: &labels_of_key,
//!         samples: &[sample],
//!         exemplars: &[],
//!         metadata: &[],
//!     },
//!     now_ms,
//! )?;
//! assert_eq!((accepted.samples, accepted.new_series), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod age;
mod append;
mod backup;
mod batch;
mod blob;
mod bytes;
mod cache;
mod canonical;
mod cardinality;
mod catalogue;
mod column;
mod entries;
mod error;
mod exemplars;
mod find;
mod head;
mod judge;
mod list;
mod losses;
mod maintain;
mod merge;
mod options;
mod part;
mod postings;
mod ready;
mod recover;
mod seal;
mod select;
mod series;
mod store;
mod symbols;
mod wal;

pub use batch::{
    Accepted, Batch, IncomingExemplar, LabelsOf, Metadata, RawLabels, Reason, Refusal, Refused,
    Sample, Value, key_of, labels_of_key,
};
pub use cardinality::Cardinality;
pub use error::Error;
pub use exemplars::Exemplar;
pub use list::{Listing, Stopped};
pub use maintain::Maintained;
pub use options::{Downsample, Keep, Limits, Options};
pub use select::GoOn;
pub use store::{Statistics, Store};
