//! The store as its users see it: what is written is read back, whatever happens in between.

#![expect(clippy::print_stderr, reason = "says why a test does nothing")]

mod age;
mod budget;
mod concurrent;
mod crash;
mod damage;
mod full_disk;
mod limits;
mod properties;
mod suite;
mod world;
