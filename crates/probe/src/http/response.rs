//! Reads one HTTP/1 response from bytes as they come, within fixed bounds, whatever the peer sends.
//!
//! Sans-IO: the shell reads into [`Reader::buffer`] and calls [`Reader::received`]. Each byte is looked
//! at a fixed number of times, so a peer that drips costs no more than one that doesn't. A general
//! client was rejected: it spawns a task per connection and answers a test three times as slowly.

use std::ops::Range;

use pitcrew_model::HttpTest;

/// Status line and headers, and the same for trailers.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;
/// A chunk's size line; more is no size.
const CHUNK_LINE_BYTES_MAX: usize = 1 << 10;

/// A response's head as lines of text, and its body, decoded and cut at [`HttpTest::BODY_BYTES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Head and body after one another.
    bytes: Vec<u8>,
    body_at: usize,
}

impl Response {
    /// `head` is lines of `name: value`, each ended by a line feed.
    pub(super) fn new(status: u16, head: Vec<u8>, body: &[u8]) -> Self {
        let body_at = head.len();
        let mut bytes = head;
        bytes.extend_from_slice(body);
        Self {
            status,
            bytes,
            body_at,
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }

    /// Every value of that header, in order.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        fields(&self.bytes[..self.body_at])
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }
}

/// Why these bytes are no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("closed without an answer")]
    Silent,
    #[error("not HTTP: \"{0}\"")]
    NotHttp(String),
    #[error("headers of more than 64 KiB")]
    HeadTooLong,
    #[error("closed within the headers")]
    HeadCut,
    #[error("HTTP {status}, content-length \"{text}\" is no length")]
    Length { status: u16, text: String },
    #[error("HTTP {status}, a chunk has no size")]
    Chunk { status: u16 },
    #[error("HTTP {status}, closed after {got} bytes of the body")]
    BodyCut { status: u16, got: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    More,
    Nothing,
}

/// How the end of the body is known.
#[derive(Clone, Copy, Debug)]
enum Body {
    Length(usize),
    Chunks(Chunks),
    UntilClosed,
}

/// Where in a chunked body the next raw byte belongs.
#[derive(Clone, Copy, Debug)]
enum Chunks {
    Size,
    Data { left: usize },
    AfterData,
    Trailers { bytes: usize },
}

#[derive(Debug)]
pub(super) struct Reader {
    /// What came; of a chunked body, only what is decoded and the raw rest behind it.
    bytes: Vec<u8>,
    /// No end of the head before here.
    scanned: usize,
    /// The answer to HEAD has no body, whatever its headers say.
    bodiless: bool,
    head: Option<(u16, usize, Body)>,
    /// Length of head and decoded body, once there is a head.
    decoded: usize,
}

impl Reader {
    pub(super) fn new(method: &str) -> Self {
        Self {
            bytes: Vec::with_capacity(4 << 10),
            scanned: 0,
            bodiless: method == "HEAD",
            head: None,
            decoded: 0,
        }
    }

    /// Where the next bytes are to be appended; has room.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() - self.bytes.len() < 1 << 10 {
            self.bytes.reserve(self.bytes.len().max(8 << 10));
        }
        &mut self.bytes
    }

    /// Takes in what was appended.
    pub(super) fn received(&mut self) -> Result<Need, Malformed> {
        while self.head.is_none() {
            if !self.take_head()? {
                return Ok(Need::More);
            }
        }
        self.take_body()
    }

    /// The peer closed: what came is all there is.
    pub(super) fn closed(self) -> Result<Response, Malformed> {
        match self.head {
            None if self.bytes.is_empty() => Err(Malformed::Silent),
            None if !looks_like_http(&self.bytes) => Err(not_http(&self.bytes)),
            None => Err(Malformed::HeadCut),
            Some((_, _, Body::UntilClosed)) => Ok(self.finish()),
            Some((status, body_at, _)) => Err(Malformed::BodyCut {
                status,
                got: self.decoded - body_at,
            }),
        }
    }

    /// The response, after [`Need::Nothing`].
    pub(super) fn finish(mut self) -> Response {
        let (status, body_at) = match self.head {
            Some((status, body_at, _)) => (status, body_at),
            None => (0, self.bytes.len()),
        };
        let end = self.decoded.min(body_at + HttpTest::BODY_BYTES_MAX);
        self.bytes.truncate(end);
        Response {
            status,
            bytes: self.bytes,
            body_at,
        }
    }

    /// Whether a head was taken: not yet complete is no, an interim one (1xx) is dropped.
    fn take_head(&mut self) -> Result<bool, Malformed> {
        if !looks_like_http(&self.bytes) {
            return Err(not_http(&self.bytes));
        }
        let Some(end) = head_end(&self.bytes, self.scanned) else {
            self.scanned = self.bytes.len();
            return if self.bytes.len() > HEAD_BYTES_MAX {
                Err(Malformed::HeadTooLong)
            } else {
                Ok(false)
            };
        };
        if end > HEAD_BYTES_MAX {
            return Err(Malformed::HeadTooLong);
        }
        let status = status_of(&self.bytes[..end]).ok_or_else(|| not_http(&self.bytes))?;
        if (100..200).contains(&status) && status != 101 {
            self.bytes.drain(..end);
            self.scanned = 0;
            return Ok(!self.bytes.is_empty());
        }
        let body = self.body_of(status, &self.bytes[..end])?;
        self.head = Some((status, end, body));
        self.decoded = end;
        Ok(true)
    }

    /// RFC 9112, 6.3: which rule gives the length of this body.
    fn body_of(&self, status: u16, head: &[u8]) -> Result<Body, Malformed> {
        if self.bodiless || matches!(status, 101 | 204 | 304) {
            return Ok(Body::Length(0));
        }
        let mut length = None;
        for (name, value) in fields(head) {
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                let last = value.rsplit(|byte| *byte == b',').next().unwrap_or(value);
                return Ok(if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    Body::Chunks(Chunks::Size)
                } else {
                    Body::UntilClosed
                });
            }
            if name.eq_ignore_ascii_case(b"content-length") {
                let number =
                    decimal(value).filter(|number| length.is_none_or(|had| had == *number));
                let text = || excerpt(value, 40);
                length = Some(number.ok_or_else(|| Malformed::Length {
                    status,
                    text: text(),
                })?);
            }
        }
        Ok(length.map_or(Body::UntilClosed, Body::Length))
    }

    fn take_body(&mut self) -> Result<Need, Malformed> {
        let Some((status, body_at, body)) = self.head else {
            return Ok(Need::More);
        };
        let full = body_at + HttpTest::BODY_BYTES_MAX;
        match body {
            Body::Length(length) => {
                let wanted = body_at.saturating_add(length);
                self.decoded = self.bytes.len().min(wanted);
                Ok(need_until(self.decoded >= wanted.min(full)))
            }
            Body::UntilClosed => {
                self.decoded = self.bytes.len();
                Ok(need_until(self.decoded >= full))
            }
            Body::Chunks(chunks) => {
                let (chunks, ended) = self.take_chunks(status, chunks)?;
                self.head = Some((status, body_at, Body::Chunks(chunks)));
                Ok(need_until(ended || self.decoded >= full))
            }
        }
    }

    /// Decodes all raw bytes that are there, in place, and drops what is no body.
    fn take_chunks(&mut self, status: u16, mut at: Chunks) -> Result<(Chunks, bool), Malformed> {
        let malformed = || Malformed::Chunk { status };
        let (mut raw, mut ended) = (self.decoded, false);
        while raw < self.bytes.len() && !ended {
            at = match at {
                Chunks::Size | Chunks::AfterData | Chunks::Trailers { .. } => {
                    let Some(line) = line_at(&self.bytes, raw) else {
                        if self.bytes.len() - raw > CHUNK_LINE_BYTES_MAX {
                            return Err(malformed());
                        }
                        break;
                    };
                    let (text, length) = (trim_line(&self.bytes[line.clone()]), line.len());
                    raw = line.end;
                    match at {
                        Chunks::Size => match chunk_size(text).ok_or_else(malformed)? {
                            0 => Chunks::Trailers { bytes: 0 },
                            left => Chunks::Data { left },
                        },
                        Chunks::Trailers { .. } if text.is_empty() => {
                            ended = true;
                            at
                        }
                        Chunks::Trailers { bytes } if bytes + length <= HEAD_BYTES_MAX => {
                            Chunks::Trailers {
                                bytes: bytes + length,
                            }
                        }
                        Chunks::AfterData if text.is_empty() => Chunks::Size,
                        _ => return Err(malformed()),
                    }
                }
                Chunks::Data { left } => {
                    let taken = left.min(self.bytes.len() - raw);
                    self.bytes.copy_within(raw..raw + taken, self.decoded);
                    self.decoded += taken;
                    raw += taken;
                    match left - taken {
                        0 => Chunks::AfterData,
                        left => Chunks::Data { left },
                    }
                }
            };
        }
        self.bytes.drain(self.decoded..raw);
        Ok((at, ended))
    }
}

fn need_until(complete: bool) -> Need {
    if complete { Need::Nothing } else { Need::More }
}

/// As far as it has come, it could be an HTTP/1 status line.
fn looks_like_http(bytes: &[u8]) -> bool {
    let begin = b"HTTP/1.";
    let length = bytes.len().min(begin.len());
    bytes[..length] == begin[..length]
}

fn not_http(bytes: &[u8]) -> Malformed {
    Malformed::NotHttp(excerpt(bytes, 40))
}

/// Just after the empty line that ends a head; no such end lies before `scanned`.
fn head_end(bytes: &[u8], scanned: usize) -> Option<usize> {
    let mut at = scanned.saturating_sub(3);
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let feed = at + found;
        match &bytes[feed + 1..] {
            [b'\n', ..] => return Some(feed + 2),
            [b'\r', b'\n', ..] => return Some(feed + 3),
            _ => at = feed + 1,
        }
    }
    None
}

/// `HTTP/1.1 200 OK`
fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let (version, rest) = line.split_at_checked(b"HTTP/1.1 ".len())?;
    let (code, after) = rest.split_at_checked(3)?;
    let well_formed = version.last() == Some(&b' ')
        && code.iter().all(u8::is_ascii_digit)
        && after.first().is_none_or(|byte| b" \r".contains(byte));
    let status = decimal(code).and_then(|code| u16::try_from(code).ok())?;
    (well_formed && status >= 100).then_some(status)
}

/// Name and value of each header line. What is no header (the status line, a folded line) is passed over.
fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let is_name = !name.is_empty() && !name.contains(&b' ') && !name.contains(&b'\t');
        is_name.then(|| (name, value.trim_ascii()))
    })
}

fn line_at(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let window = &bytes[from..bytes.len().min(from + HEAD_BYTES_MAX)];
    let feed = window.iter().position(|byte| *byte == b'\n')?;
    Some(from..from + feed + 1)
}

fn trim_line(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Hexadecimal, then perhaps an extension.
fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The first characters of what a peer sent, on one line.
pub(crate) fn excerpt(bytes: &[u8], chars_max: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(chars_max * 4)]);
    let mut clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(chars_max)
        .collect();
    if bytes.len() > clean.len() {
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What reading `bytes` in pieces of `size` comes to; the peer closes at their end.
    fn read(method: &str, bytes: &[u8], size: usize) -> Result<Response, Malformed> {
        let mut reader = Reader::new(method);
        for piece in bytes.chunks(size) {
            reader.buffer().extend_from_slice(piece);
            if reader.received()? == Need::Nothing {
                return Ok(reader.finish());
            }
        }
        reader.closed()
    }

    fn body(bytes: &[u8]) -> String {
        let response = read("GET", bytes, usize::MAX).unwrap();
        String::from_utf8(response.body().to_vec()).unwrap()
    }

    #[test]
    fn each_way_to_end_a_body_is_understood() {
        for (bytes, wanted) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokay", "ok"),
            ("HTTP/1.0 200 OK\r\n\r\nuntil closed", "until closed"),
            ("HTTP/1.1 200\nX: y\n\nbare feeds", "bare feeds"),
            ("HTTP/1.1 204 No Content\r\n\r\n", ""),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: t\r\n\r\n",
                "abcde",
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
                "x",
            ),
        ] {
            assert_eq!(body(bytes.as_bytes()), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn the_answer_to_head_has_no_body() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n";
        assert!(read("HEAD", bytes, 7).unwrap().body().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (bytes, wanted) in [
            ("", "closed without an answer"),
            (
                "SSH-2.0-OpenSSH_9.2\r\n",
                "not HTTP: \"SSH-2.0-OpenSSH_9.2  \"",
            ),
            (
                "HTTP/1.1 2x0 OK\r\n\r\n",
                "not HTTP: \"HTTP/1.1 2x0 OK    \"",
            ),
            ("HTTP/1.1 200 OK\r\nX: y\r\n", "closed within the headers"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
                "HTTP 200, closed after 3 bytes of the body",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                "HTTP 200, content-length \"-1\" is no length",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                "HTTP 200, content-length \"2\" is no length",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                "HTTP 200, a chunk has no size",
            ),
        ] {
            let error = read("GET", bytes.as_bytes(), usize::MAX).unwrap_err();
            assert_eq!(error.to_string(), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn headers_without_end_are_refused_at_64_kib() {
        let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
        while bytes.len() <= HEAD_BYTES_MAX {
            bytes.extend_from_slice(b"X-Filler: yes\r\n");
        }
        assert_eq!(read("GET", &bytes, 512), Err(Malformed::HeadTooLong));
    }

    #[test]
    fn a_body_without_end_is_cut_and_needs_no_more() {
        for head in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        ] {
            let mut bytes = head.as_bytes().to_vec();
            bytes.resize(bytes.len() + HttpTest::BODY_BYTES_MAX + 10, b'x');
            let response = read("GET", &bytes, 4_096).unwrap();
            assert_eq!(response.body().len(), HttpTest::BODY_BYTES_MAX, "{head:?}");
        }
    }

    #[test]
    fn one_byte_chunks_are_not_kept_in_their_wrapping() {
        let mut reader = Reader::new("GET");
        reader
            .buffer()
            .extend_from_slice(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let head = reader.buffer().len();
        for _ in 0..1_000 {
            reader.buffer().extend_from_slice(b"1\r\nx\r\n");
            assert_eq!(reader.received(), Ok(Need::More));
        }
        assert_eq!(reader.buffer().len(), head + 1_000);
    }

    fn chunked(pieces: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_end_in_an_answer(
            begin in prop_oneof![
                Just(&b""[..]),
                Just(&b"HTTP/1.1 "[..]),
                Just(&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..]),
                Just(&b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"[..]),
            ],
            rest in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r'), Just(b':'), Just(b'1')], 0..200
            ),
            size in 1usize..40,
        ) {
            let bytes = [begin, &rest].concat();
            let (whole, pieces) = (read("GET", &bytes, usize::MAX), read("GET", &bytes, size));
            if let (Ok(whole), Ok(pieces)) = (&whole, &pieces) {
                prop_assert_eq!(whole, pieces);
            }
            prop_assert_eq!(whole.is_ok(), pieces.is_ok());
        }

        #[test]
        fn what_is_chunked_is_read_back(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..10),
            size in 1usize..40,
        ) {
            let response = read("GET", &chunked(&pieces), size).unwrap();
            prop_assert_eq!(response.body(), &pieces.concat()[..]);
        }

        #[test]
        fn headers_are_read_back(
            headers in proptest::collection::vec(("[A-Za-z][A-Za-z0-9-]{0,10}", "[!-~]{1,20}"), 0..10)
        ) {
            let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
            for (name, value) in &headers {
                bytes.extend_from_slice(format!("x-{name}: {value}\r\n").as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            let response = read("GET", &bytes, 9).unwrap();
            for (name, value) in &headers {
                let name = format!("X-{name}");
                prop_assert!(response.values(&name).any(|have| have == value.as_bytes()));
            }
        }
    }
}
