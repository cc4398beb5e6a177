//! Production as code: configuration files → [`pitcrew_model::Production`].
//!
//! A configuration decides what may be restarted, so it is right as a whole or refused as a whole, and every
//! mistake is reported at once, at its line and column, with what was expected. Files are text from anyone:
//! no input makes this crate panic, recurse without bound or use memory out of proportion.
//!
//! The way of a file: text → [`tree`] (places kept) → [`read`] (values; one module for each part of the
//! format, each with the table of its keys, see [`shape`]) → [`check`] (the parts against each other).

mod check;
mod fields;
mod load;
mod place;
mod problem;
mod read;
mod reader;
mod render;
mod schema;
mod shape;
mod suggest;
mod tree;
mod values;

pub use load::{FILE_BYTES_MAX, Loaded, load, load_host, parse};
pub use problem::{LoadError, Problem, Problems};
pub use read::{keep::selector, metrics::memory_size};
pub use schema::{host_schema, schema};
