//! A TCP server that does to its clients what no real server can be made to do on demand.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Lie {
    /// Accepts, reads, never says a word.
    Silence,
    ClosesAtOnce,
    /// Resets the connection after it has read.
    Resets,
    /// A byte of a fine HTTP answer every 20 ms.
    Drips,
    HeadersWithoutEnd,
    BodyWithoutEnd,
    ChunksWithoutEnd,
    /// Headers, half the body, then silence.
    HalfABody,
    /// As `HalfABody`, but closed.
    HalfABodyClosed,
    Garbage,
    /// The whole answer, and the connection left open.
    Answers(&'static str),
}

/// Serves every connection that way until the runtime ends; its port.
pub(crate) async fn lie(lie: Lie) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(tell(stream, lie));
        }
    });
    port
}

async fn tell(mut stream: TcpStream, lie: Lie) {
    if matches!(lie, Lie::ClosesAtOnce) {
        return;
    }
    let mut request = [0; 4_096];
    if stream.read(&mut request).await.is_err() {
        return;
    }
    match lie {
        Lie::Silence | Lie::ClosesAtOnce => {}
        Lie::Resets => {
            stream.set_zero_linger().ok();
            return;
        }
        Lie::Drips => {
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n"
                .iter()
                .chain(&[b'x'; 90])
            {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Lie::HeadersWithoutEnd => {
            repeat(&mut stream, b"HTTP/1.1 200 OK\r\n", b"X-More: yes\r\n").await
        }
        Lie::BodyWithoutEnd => {
            repeat(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 8_192]).await
        }
        Lie::ChunksWithoutEnd => {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            repeat(&mut stream, head, b"4\r\nokay\r\n").await;
        }
        Lie::HalfABody | Lie::HalfABodyClosed => {
            let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf.";
            stream.write_all(half).await.ok();
            if matches!(lie, Lie::HalfABodyClosed) {
                return;
            }
        }
        Lie::Garbage => {
            stream.write_all(&[0x15, 0x03, 0x01, 0xff, 0x00]).await.ok();
        }
        Lie::Answers(text) => {
            stream.write_all(text.as_bytes()).await.ok();
        }
    }
    // Until the client goes: what is left open is part of the lie.
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {}
}

async fn repeat(stream: &mut TcpStream, head: &[u8], more: &[u8]) {
    if stream.write_all(head).await.is_ok() {
        while stream.write_all(more).await.is_ok() {}
    }
}
