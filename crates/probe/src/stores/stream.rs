//! The byte stream that stores are asked over: TCP or a Unix socket, with a budget of bytes to read.
//!
//! The budget holds below every decoder, so no client library, ours or another's, can be made to collect
//! more than [`BYTES_MAX`] of a peer that never ends.

use std::{
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::UnixStream,
};

use crate::{Answer, Question, connect};

/// Read of one peer in one question; the answer to a health question is a thousand times smaller.
pub(super) const BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
#[error("it sent more than {0} bytes where a short answer was expected")]
pub(super) struct TooLong(u64);

pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytes for S {}

/// A stream that fails with [`TooLong`] once its budget is read.
pub(super) struct Limited {
    stream: Box<dyn Bytes>,
    bytes_left: u64,
}

impl Limited {
    pub(super) fn new(stream: impl Bytes + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            bytes_left: BYTES_MAX,
        }
    }

    pub(super) async fn tcp(question: &Question<'_>, port: Option<u16>) -> Result<Self, Answer> {
        let stream = connect::tcp(question, port).await?;
        // The hellos are a few small writes each; without this the second waits for the first's ACK.
        stream
            .set_nodelay(true)
            .map_err(|error| Answer::from_io(&error))?;
        Ok(Self::new(stream))
    }

    pub(super) async fn unix(question: &Question<'_>, path: &Path) -> Result<Self, Answer> {
        question.progress.reached("not connected");
        match UnixStream::connect(path).await {
            Ok(stream) => {
                question.progress.reached("connected, then silence");
                Ok(Self::new(stream))
            }
            Err(error) => {
                let answer = match error.kind() {
                    io::ErrorKind::NotFound => Answer::fail("no such socket"),
                    _ => Answer::from_io(&error),
                };
                Err(Answer::new(
                    answer.verdict,
                    format!("{}: {}", path.display(), answer.evidence),
                ))
            }
        }
    }
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes_left == 0 {
            return Poll::Ready(Err(io::Error::other(TooLong(BYTES_MAX))));
        }
        let filled_before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        // The last read may overdraw by the reader's buffer, which is bounded too.
        let read = buffer.filled().len() - filled_before;
        self.bytes_left = self
            .bytes_left
            .saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Limited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// One line without its end, at most `bytes_max` long.
pub(super) async fn read_line<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    bytes_max: u64,
) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(bytes_max).read_until(b'\n', &mut line).await?;
    if line.pop_if(|last| *last == b'\n').is_none() {
        let overlong = u64::try_from(line.len()).is_ok_and(|length| length >= bytes_max);
        return Err(match overlong {
            true => io::Error::other(TooLong(bytes_max)),
            false => io::ErrorKind::UnexpectedEof.into(),
        });
    }
    line.pop_if(|last| *last == b'\r');
    Ok(line)
}

/// Exactly `length` bytes. Memory grows with what arrives, never with what `length` promises.
pub(super) async fn read_exactly<R: AsyncRead + Unpin>(
    reader: &mut R,
    length: usize,
) -> io::Result<Vec<u8>> {
    let wanted = u64::try_from(length).unwrap_or(u64::MAX);
    if wanted > BYTES_MAX {
        return Err(io::Error::other(TooLong(BYTES_MAX)));
    }
    let mut bytes = Vec::with_capacity(length.min(4_096));
    reader.take(wanted).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_never_ends_is_cut_off_within_the_budget() {
        let mut stream = Limited::new(tokio::io::join(tokio::io::repeat(b'x'), tokio::io::sink()));
        let mut bytes = Vec::new();
        let error = stream.read_to_end(&mut bytes).await.unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
        assert!(bytes.len() < 2 << 20, "{}", bytes.len());
    }

    #[tokio::test]
    async fn a_line_ends_at_its_end_or_is_refused() {
        let mut bytes: &[u8] = b"one\r\ntwo\nthree";
        assert_eq!(read_line(&mut bytes, 10).await.unwrap(), b"one");
        assert_eq!(read_line(&mut bytes, 10).await.unwrap(), b"two");
        let error = read_line(&mut bytes, 10).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let error = read_line(&mut &b"0123456789"[..], 10).await.unwrap_err();
        assert!(error.to_string().contains("more than 10 bytes"), "{error}");
    }

    #[tokio::test]
    async fn a_promise_of_bytes_is_no_allocation() {
        let error = read_exactly(&mut &b"few"[..], 1 << 20).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        read_exactly(&mut &b"few"[..], usize::MAX)
            .await
            .unwrap_err();
    }
}
