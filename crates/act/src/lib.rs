//! Actuators and notification: the only crate that changes production.
//!
//! An [`Order`](pitcrew_model::Order) comes in decided; an [`Outcome`](pitcrew_model::Outcome) goes out that
//! says what is true: done, certainly without effect, or it may have taken effect. Nothing here decides
//! whether an order is wise, and nothing here proves that it helped: tests do that.
//!
//! Three rules hold everywhere. An operation is written down before it begins, so that a second word of it
//! does nothing and a crash in the middle is seen. A process is signalled through a descriptor that was
//! checked against its start time, never through a bare number. And whatever Pitcrew started lives on when
//! Pitcrew dies.

mod actuators;
mod answer;
mod command;
mod container;
mod drain;
mod fence;
mod given;
mod journal;
mod launch;
mod listener;
mod log_file;
mod notify;
mod power;
mod process;
mod reboot;
mod runner;
mod signal;
mod socket;
mod supervise;
mod template;
mod unit;
mod user;
mod webhook;

pub use actuators::{Actuators, Reboot};
pub use answer::Answer;
pub use fence::write_durably;
pub use given::Given;
pub use notify::Notifier;
pub use reboot::boot_id;
pub use supervise::{Change, ChangeKind, ProcessState, SuperviseError, Supervisor};
pub use user::user_id;
