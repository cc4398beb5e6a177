//! MySQL's packets as far as a health question needs them: the server's greeting, its errors, the first
//! row of a result, and the few commands that ask for them. Everything but `read_packet` is pure.
//!
//! Packets of 16 MiB are split on the wire; none of ours comes near, so a longer one is refused.

use std::io;

use tokio::io::AsyncRead;

use crate::stores::stream::read_exactly;

/// Which of the protocol's options are spoken. Without `CLIENT_DEPRECATE_EOF` results have the form that
/// every server since 4.1 knows; without `CLIENT_LOCAL_FILES` none may ask for our files.
const CAPABILITIES: u32 = 0x0000_0001 // long password
    | 0x0000_0200 // protocol 4.1
    | 0x0000_2000 // transactions' state in answers
    | CONNECTION_IS_SECURE
    | PLUGIN_AUTH;
const CONNECT_WITH_DB: u32 = 0x0000_0008;
const CONNECTION_IS_SECURE: u32 = 0x0000_8000;
const PLUGIN_AUTH: u32 = 0x0008_0000;
/// utf8mb4_general_ci, known to every MySQL since 5.5 and every MariaDB.
const CHARSET: u8 = 45;

pub(super) const COM_QUIT: u8 = 0x01;
pub(super) const COM_QUERY: u8 = 0x03;
pub(super) const COM_PING: u8 = 0x0e;

/// A packet's payload with its sequence number, which the answer continues.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) sequence: u8,
    pub(super) payload: Vec<u8>,
}

pub(super) async fn read_packet<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Packet> {
    let head = read_exactly(reader, 4).await?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    let length = usize::try_from(length).map_err(io::Error::other)?;
    Ok(Packet {
        sequence: head[3],
        payload: read_exactly(reader, length).await?,
    })
}

/// `payload` with its head; it must be shorter than 16 MiB.
pub(super) fn framed(sequence: u8, payload: &[u8]) -> io::Result<Vec<u8>> {
    match u32::try_from(payload.len()).map(u32::to_le_bytes) {
        Ok([low, middle, high, 0]) => Ok([&[low, middle, high, sequence], payload].concat()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "longer than a packet can be",
        )),
    }
}

/// Reads fields off the front of a payload; `None` when it ends too early.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
    }

    /// Up to a zero byte, or to the end where some servers leave it out.
    pub(super) fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        let text = &self.0[..end.unwrap_or(self.0.len())];
        self.0 = end.map_or(&[], |end| &self.0[end + 1..]);
        text
    }

    /// A length-encoded integer; the outer `None` is the end, the inner one SQL's NULL.
    pub(super) fn length(&mut self) -> Option<Option<u64>> {
        let first = self.byte()?;
        let width = match first {
            0xfb => return Some(None),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            0xff => return None,
            small => return Some(Some(u64::from(small))),
        };
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        Some(Some(u64::from_le_bytes(bytes)))
    }

    /// A length-encoded string, or NULL.
    pub(super) fn value(&mut self) -> Option<Option<&'a [u8]>> {
        match self.length()? {
            None => Some(None),
            Some(length) => Some(Some(self.take(usize::try_from(length).ok()?)?)),
        }
    }
}

/// What the server says first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) version: String,
    pub(super) plugin: String,
    pub(super) nonce: Vec<u8>,
}

impl Greeting {
    /// Protocol version 10, spoken since MySQL 3.21.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        if fields.byte()? != 10 {
            return None;
        }
        let version = String::from_utf8_lossy(fields.text()).into_owned();
        fields.take(4)?; // connection id
        let mut nonce = fields.take(8)?.to_vec();
        fields.take(1 + 2 + 1 + 2 + 2)?; // filler, capabilities, charset, status, capabilities
        let nonce_length = usize::from(fields.byte()?);
        fields.take(10)?; // reserved
        let rest = fields.take(nonce_length.saturating_sub(8).max(13))?;
        nonce.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(rest));
        let plugin = String::from_utf8_lossy(fields.text()).into_owned();
        Some(Self {
            version,
            plugin,
            nonce,
        })
    }

    pub(super) fn is_mariadb(&self) -> bool {
        self.version.contains("MariaDB")
    }
}

/// The answer to a greeting. `proof` is what the plugin makes of password and nonce.
pub(super) fn login(user: &str, proof: &[u8], database: Option<&str>, plugin: &str) -> Vec<u8> {
    let database_flag = if database.is_some() {
        CONNECT_WITH_DB
    } else {
        0
    };
    let mut payload = (CAPABILITIES | database_flag).to_le_bytes().to_vec();
    payload.extend_from_slice(&(1u32 << 20).to_le_bytes());
    payload.push(CHARSET);
    payload.extend_from_slice(&[0; 23]);
    payload.extend_from_slice(user.as_bytes());
    payload.push(0);
    let length = u8::try_from(proof.len()).expect("a plugin's proof is a digest, 32 bytes at most");
    payload.push(length);
    payload.extend_from_slice(proof);
    if let Some(database) = database {
        payload.extend_from_slice(database.as_bytes());
        payload.push(0);
    }
    payload.extend_from_slice(plugin.as_bytes());
    payload.push(0);
    payload
}

/// An error packet: `1040 (08004): Too many connections`. Before the login it has no SQL state.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerError {
    pub(super) code: u16,
    pub(super) state: Option<String>,
    pub(super) message: String,
}

impl ServerError {
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        if fields.byte()? != 0xff {
            return None;
        }
        let code = fields.u16()?;
        let state = match fields.0.first() {
            Some(b'#') => fields.take(6).map(|text| lossy(&text[1..])),
            _ => None,
        };
        let message = lossy(fields.0);
        Some(Self {
            code,
            state,
            message,
        })
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The packet that ends a list of columns or of rows; a row can begin with the same byte, but is longer.
pub(super) fn is_end(payload: &[u8]) -> bool {
    payload.first() == Some(&0xfe) && payload.len() < 9
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    fn greeting_bytes(greeting: &Greeting) -> Vec<u8> {
        let mut bytes = vec![10];
        bytes.extend_from_slice(greeting.version.as_bytes());
        bytes.extend_from_slice(&[0, 7, 0, 0, 0]);
        bytes.extend_from_slice(&greeting.nonce[..8]);
        bytes.extend_from_slice(&[0; 8]);
        bytes.push(21);
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&greeting.nonce[8..]);
        bytes.push(0);
        bytes.extend_from_slice(greeting.plugin.as_bytes());
        bytes.push(0);
        bytes
    }

    #[test]
    fn errors_before_and_after_login_are_read() {
        for (payload, state) in [
            (&b"\xff\x10\x04Too many connections"[..], None),
            (b"\xff\x10\x04#08004Too many connections", Some("08004")),
        ] {
            let error = ServerError::decode(payload).unwrap();
            assert_eq!((error.code, error.state.as_deref()), (1040, state));
            assert_eq!(error.message, "Too many connections");
        }
    }

    proptest! {
        #[test]
        fn a_greeting_is_read_back(
            version in "[!-~]{0,30}",
            plugin in "[a-z0-9_]{0,30}",
            nonce in proptest::collection::vec(1u8.., 20),
        ) {
            let greeting = Greeting { version, plugin, nonce };
            prop_assert_eq!(Greeting::decode(&greeting_bytes(&greeting)), Some(greeting));
        }

        #[test]
        fn no_bytes_panic_the_decoders(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            Greeting::decode(&payload);
            ServerError::decode(&payload);
            is_end(&payload);
            let mut fields = Fields(&payload);
            while fields.value().is_some() {}
            read_packet(&mut &payload[..]).now_or_never().expect("a slice is always ready").ok();
        }

        #[test]
        fn a_framed_packet_is_read_back(sequence: u8, payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = framed(sequence, &payload).unwrap();
            let packet = read_packet(&mut &bytes[..]).now_or_never().expect("a slice is always ready").unwrap();
            prop_assert_eq!((packet.sequence, packet.payload), (sequence, payload));
        }
    }
}
