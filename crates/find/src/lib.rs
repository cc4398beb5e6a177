//! Discovery: from the sources that a configuration names to the targets that production consists of.
//!
//! [`Finders`] asks every source again and again and tells what changed. Asking may fail, and an answer may be
//! wrong; what an answer means is decided by [`Roll`], which is pure: it keeps the last good answer of a source
//! that fails, turns empty or shrinks by more than half, and says so. Between the two lies [`Asker`], which
//! puts one question to one source.
//!
//! Formats are those of Prometheus: `file_sd` in JSON and YAML, `http_sd`, and DNS A, AAAA and SRV. From one entry
//! to one [`Target`](pitcrew_model::Target):
//!
//! - The entry's text is the target's id and, as `host`, `host:port` or a URL, its address. A label
//!   `__address__` gives the address instead, and then the text may be any name. A label `__id__` gives the id.
//! - Labels of the source are added where the entry has none of that name.
//! - `__run_on__` names the target it runs on; `__runner_unit__` and `__runner_container__` the systemd unit or
//!   container that runs it. Without them the source's `runs_as` does, filled in from the labels.
//! - No other label that begins with `__` is kept, Prometheus' `__meta_…` among them; `runs_as` may use them all.
//!
//! Never here: testing a target, or deciding what its absence means beyond keeping the last good answer.

pub mod address;
mod answer;
mod asker;
mod dns;
mod draft;
mod files;
mod finders;
mod groups;
mod http;
mod roll;
mod scalar;

pub use answer::{Answer, FindError, Problems};
pub use asker::Asker;
pub use finders::Finders;
pub use roll::{Change, Roll, Snapshot};
