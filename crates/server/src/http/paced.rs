//! A connection whose peer must take what is written to it: one that doesn't, while there is something to take, ends.
//!
//! Without it a client that reads nothing would hold for ever what its answer holds: memory, a turn, a place among
//! the connections. Whoever is slow is let be, whoever stands still is not.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

/// Within this time a peer must take [`ENOUGH_BYTES`], or all there is.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Some 13 KB a second: any link over which somebody waits for an answer.
const ENOUGH_BYTES: usize = 256 << 10;

pub(super) struct Paced {
    stream: TcpStream,
    patience: Duration,
    /// Since the deadline was set.
    taken_bytes: usize,
    /// Set while something waits to be written.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    pub(super) fn new(stream: TcpStream, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            taken_bytes: 0,
            deadline: None,
        }
    }

    fn begin_anew(&mut self) {
        self.taken_bytes = 0;
        self.deadline = None;
    }

    fn judged(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.taken_bytes += bytes;
                if self.taken_bytes >= ENOUGH_BYTES {
                    self.begin_anew();
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let patience = self.patience;
                let set = || Box::pin(tokio::time::sleep(patience));
                let deadline = self.deadline.get_or_insert_with(set);
                ready!(deadline.as_mut().poll(context));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the peer does not read its answer",
                )))
            }
        }
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.judged(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.judged(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when all there was has been taken.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.begin_anew();
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// More than any buffer between the two takes.
    const MUCH: usize = 32 << 20;

    async fn pair(patience: Duration) -> (Paced, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap());
        let (peer, accepted) = tokio::join!(peer, listener.accept());
        (Paced::new(accepted.unwrap().0, patience), peer.unwrap())
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_cut_off() {
        let (mut paced, _peer) = pair(Duration::from_millis(50)).await;
        let written = paced.write_all(&vec![0; MUCH]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_reads_gets_all_of_it() {
        let (mut paced, mut peer) = pair(Duration::from_secs(60)).await;
        let writing = async {
            paced.write_all(&vec![0; MUCH]).await.unwrap();
            paced.shutdown().await.unwrap();
        };
        let mut read = Vec::new();
        let (_, bytes) = tokio::join!(writing, peer.read_to_end(&mut read));
        assert_eq!(bytes.unwrap(), MUCH);
    }
}
