//! Messages as frames: a length in four bytes, big end first, then that many bytes of JSON.
//!
//! The length is judged before a byte of the body is read or any memory is taken for it.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{OutOfBounds, ToAgent, ToServer, bounds};

/// The longest body of a message.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Of the first message of a connection, from somebody who may be anybody.
pub const GREETING_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the connection was closed")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[source] io::Error),
    #[error("a message of {bytes} bytes, at most {max} are taken")]
    Oversized { bytes: usize, max: usize },
    #[error("not a message: {0}")]
    Malformed(#[source] serde_json::Error),
    #[error("a message out of bounds: {0}")]
    OutOfBounds(#[from] OutOfBounds),
}

impl WireError {
    /// For a metric's label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Closed | Self::Io(_) => "connection",
            Self::Oversized { .. } => "oversized",
            Self::Malformed(_) => "malformed",
            Self::OutOfBounds(_) => "out_of_bounds",
        }
    }
}

/// One side's messages.
pub trait Message: Serialize + DeserializeOwned {
    /// Cuts what is merely long and refuses what can't be meant.
    fn bound(&mut self) -> Result<(), OutOfBounds>;
}

impl Message for ToServer {
    fn bound(&mut self) -> Result<(), OutOfBounds> {
        bounds::to_server(self)
    }
}

impl Message for ToAgent {
    fn bound(&mut self) -> Result<(), OutOfBounds> {
        bounds::to_agent(self)
    }
}

/// A whole frame.
pub fn encode(message: &impl Message) -> Result<Vec<u8>, WireError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).map_err(WireError::Malformed)?;
    let bytes = frame.len() - 4;
    let oversized = WireError::Oversized {
        bytes,
        max: FRAME_BYTES_MAX,
    };
    match u32::try_from(bytes) {
        Ok(length) if bytes <= FRAME_BYTES_MAX => {
            frame[..4].copy_from_slice(&length.to_be_bytes());
            Ok(frame)
        }
        _ => Err(oversized),
    }
}

/// From a frame's body.
pub fn decode<M: Message>(body: &[u8]) -> Result<M, WireError> {
    let mut message: M = serde_json::from_slice(body).map_err(WireError::Malformed)?;
    message.bound()?;
    Ok(message)
}

/// Not to be dropped half-way: what was read of a frame would be lost.
pub async fn read<M: Message>(
    stream: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> Result<M, WireError> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(WireError::Closed);
        }
        Err(error) => return Err(WireError::Io(error)),
    }
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if bytes > bytes_max {
        return Err(WireError::Oversized {
            bytes,
            max: bytes_max,
        });
    }
    let mut body = vec![0; bytes];
    stream.read_exact(&mut body).await.map_err(WireError::Io)?;
    decode(&body)
}

pub async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Message,
) -> Result<(), WireError> {
    let frame = encode(message)?;
    stream.write_all(&frame).await.map_err(WireError::Io)?;
    stream.flush().await.map_err(WireError::Io)
}

#[cfg(test)]
pub(crate) mod tests;
