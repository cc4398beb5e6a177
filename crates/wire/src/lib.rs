//! What server and agent say to each other: messages, the frames they travel in, and the order that is signed.
//!
//! Everything that comes off the wire is text from anyone: it is bounded before it is read, and no bytes make a
//! decoder panic. Nothing here opens a connection or decides whether what a message says is believed. Byte by byte:
//! `docs/formats/wire.md`.

mod bounds;
mod frame;
mod hex;
mod identity;
mod message;
mod order;
mod outgoing;
mod token;

pub use bounds::OutOfBounds;
pub use frame::{
    FRAME_BYTES_MAX, GREETING_BYTES_MAX, Message, WireError, decode, encode, read, write,
};
pub use hex::{from_hex, to_hex};
pub use identity::{HostName, InvalidHost, Spiffe};
pub use message::{Enrolled, Hello, Protocol, ToAgent, ToServer, Welcome};
pub use order::{Addressed, Forged, OrderKey, OrderSigner, SignedOrder};
pub use outgoing::{Outgoing, ToWrite, outgoing};
pub use token::{EnrolToken, InvalidToken};

/// The name that the server's certificate bears and every agent expects, wherever the server listens: only the
/// installation's own authority gives it away, and no certificate of a host has it.
pub const SERVER_NAME: &str = "server.pitcrew.internal";
