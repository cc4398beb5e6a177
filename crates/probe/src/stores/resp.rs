//! Redis' protocol (RESP 2) as far as a health question needs it: commands out, replies in.
//!
//! A reply may nest and announce any length; depth, count and bytes are bounded before they are believed.

use std::io;

use tokio::io::AsyncBufRead;

use super::stream::{read_exactly, read_line};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Simple(String),
    /// The whole line after `-`: `NOAUTH Authentication required.`
    Error(String),
    Integer(i64),
    /// A bulk string; `None` is Redis' null.
    Bulk(Option<Vec<u8>>),
    Array(Vec<Reply>),
}

/// ROLE, the deepest answer we ask for, nests twice.
const DEPTH_MAX: u8 = 4;
/// One entry per replica in ROLE's answer.
const ITEMS_MAX: usize = 4_096;
const LINE_BYTES_MAX: u64 = 16 << 10;

/// A command as an array of bulk strings, the form in which no argument can be mistaken.
pub(super) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

pub(super) async fn read_reply<R: AsyncBufRead + Send + Unpin>(
    reader: &mut R,
) -> io::Result<Reply> {
    read_nested(reader, DEPTH_MAX).await
}

async fn read_nested<R: AsyncBufRead + Send + Unpin>(
    reader: &mut R,
    depth_left: u8,
) -> io::Result<Reply> {
    let line = read_line(reader, LINE_BYTES_MAX).await?;
    let Some((kind, rest)) = line.split_first() else {
        return Err(malformed("an empty line"));
    };
    let text = || String::from_utf8_lossy(rest).into_owned();
    match kind {
        b'+' => Ok(Reply::Simple(text())),
        b'-' => Ok(Reply::Error(text())),
        b':' => number(rest).map(Reply::Integer),
        b'$' => match number(rest)? {
            -1 => Ok(Reply::Bulk(None)),
            length => read_bulk(reader, length).await,
        },
        b'*' => match number(rest)? {
            -1 => Ok(Reply::Bulk(None)),
            count => {
                let count = usize::try_from(count)
                    .ok()
                    .filter(|count| *count <= ITEMS_MAX)
                    .ok_or_else(|| malformed("an array of impossible length"))?;
                let depth_left = depth_left
                    .checked_sub(1)
                    .ok_or_else(|| malformed("an array nested too deeply"))?;
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(Box::pin(read_nested(reader, depth_left)).await?);
                }
                Ok(Reply::Array(items))
            }
        },
        _ => Err(malformed("a line of an unknown kind")),
    }
}

async fn read_bulk<R: AsyncBufRead + Send + Unpin>(
    reader: &mut R,
    length: i64,
) -> io::Result<Reply> {
    let length = usize::try_from(length).map_err(|_| malformed("a string of negative length"))?;
    let bytes = read_exactly(reader, length).await?;
    match read_line(reader, 2).await?.is_empty() {
        true => Ok(Reply::Bulk(Some(bytes))),
        false => Err(malformed("a string longer than announced")),
    }
}

fn number(text: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed("a number that is none"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("it does not speak Redis' protocol: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    fn read(mut bytes: &[u8]) -> io::Result<Reply> {
        read_reply(&mut bytes)
            .now_or_never()
            .expect("a slice is always ready")
    }

    fn written(reply: &Reply) -> Vec<u8> {
        match reply {
            Reply::Simple(text) => format!("+{text}\r\n").into_bytes(),
            Reply::Error(text) => format!("-{text}\r\n").into_bytes(),
            Reply::Integer(number) => format!(":{number}\r\n").into_bytes(),
            Reply::Bulk(None) => b"$-1\r\n".to_vec(),
            Reply::Bulk(Some(bytes)) => {
                let head = format!("${}\r\n", bytes.len()).into_bytes();
                [&head[..], bytes, b"\r\n"].concat()
            }
            Reply::Array(items) => {
                let head = format!("*{}\r\n", items.len()).into_bytes();
                let items: Vec<u8> = items.iter().flat_map(written).collect();
                [head, items].concat()
            }
        }
    }

    fn replies() -> impl Strategy<Value = Reply> {
        let leaf = prop_oneof![
            "[ -~]{0,40}".prop_map(Reply::Simple),
            "[ -~]{0,40}".prop_map(Reply::Error),
            any::<i64>().prop_map(Reply::Integer),
            Just(Reply::Bulk(None)),
            proptest::collection::vec(any::<u8>(), 0..60)
                .prop_map(|bytes| Reply::Bulk(Some(bytes))),
        ];
        leaf.prop_recursive(3, 40, 6, |inner| {
            proptest::collection::vec(inner, 0..6).prop_map(Reply::Array)
        })
    }

    #[test]
    fn hostile_replies_are_refused() {
        for text in [
            "",
            "\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "$-2\r\n",
            "$3\r\nabcd\r\n",
            "*99999999999\r\n",
            "*-2\r\n",
            ":1x\r\n",
            "$99999999999\r\n",
            "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+deep\r\n",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(reply in replies()) {
            prop_assert_eq!(read(&written(&reply)).unwrap(), reply);
        }

        #[test]
        fn no_bytes_panic_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            read(&bytes).ok();
        }

        #[test]
        fn a_cut_reply_is_an_error(reply in replies(), cut: proptest::sample::Index) {
            let bytes = written(&reply);
            prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
        }
    }
}
