//! The durable, hash-chained record of every decision, and the state that must survive a restart.
//!
//! [`Ledger`] is the one writer of an SQLite file, [`Leader`] the one of a [`Postgres`] database that several
//! servers share: what their `commit` has returned is on the disk, whole, and stays in its order. [`Reader`]s read
//! beside either, from this process or another. All are synchronous: the server gives the writer a thread of its
//! own, because every commit waits for the disk. They wait on runtimes of their own, so never on a thread that
//! drives another one.
//!
//! Each record's hash covers the record before it, so a changed, missing or reordered record breaks the chain
//! at its place and [`Reader::verify`] names it. **What a hash chain can't show**: somebody who may write the
//! file can rewrite everything from some record on together with the head, and the new chain is as good as the
//! old. Only a head or an [`Reader::export`] that was kept where they can't write tells the two apart.
//! The bytes are described in `docs/formats/ledger.md`.
//!
//! Never here: deciding, waiting for anything but the disk or the database, and repairing a damaged file: it is evidence.

mod batch;
mod chain;
mod database;
mod error;
mod lock;
mod postgres;
mod reader;
mod rows;
mod sqlite;
mod tampering;
mod verify;
mod writer;

pub use error::{BrokenKind, LedgerError};
pub use postgres::{Bid, Candidate, LEASE, Leader, Postgres, RENEW_WITHIN, SharedFiles};
pub use reader::{Entry, Exported, Reader};
pub use verify::Verified;
pub use writer::{Committed, Ledger};
