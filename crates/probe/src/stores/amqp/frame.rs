//! AMQP 0-9-1 as far as a health question needs it: frames, the methods of a connection's life, and the
//! passive declaration of a queue. Numbers are the specification's.

use std::io;

use tokio::io::AsyncRead;

use crate::stores::stream::read_exactly;

pub(super) const PROTOCOL: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
const METHOD: u8 = 1;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xce;

/// A method that the server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Start {
        mechanisms: String,
        product: String,
    },
    Tune {
        channels: u16,
        frame_bytes: u32,
    },
    OpenOk,
    /// The connection's or, on another channel than 0, the channel's end.
    Close {
        code: u16,
        text: String,
    },
    CloseOk,
    ChannelOpenOk,
    DeclareOk {
        messages: u32,
        consumers: u32,
    },
    /// Anything else that may come unasked, by class and method.
    Other {
        class: u16,
        method: u16,
    },
}

/// The next method, with its channel; heartbeats are skipped.
pub(super) async fn read_method<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<(u16, Method)> {
    loop {
        let head = read_exactly(reader, 7).await?;
        if head.starts_with(b"AMQP") {
            return Err(malformed("it speaks another version of AMQP than 0-9-1"));
        }
        let channel = u16::from_be_bytes([head[1], head[2]]);
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        if head[0] != METHOD && head[0] != HEARTBEAT {
            return Err(malformed(
                "it does not speak AMQP: a frame of an unknown kind",
            ));
        }
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let payload = read_exactly(reader, length).await?;
        if read_exactly(reader, 1).await? != [END] {
            return Err(malformed("it does not speak AMQP: a frame without its end"));
        }
        if head[0] == METHOD {
            let method = Method::decode(&payload)
                .ok_or_else(|| malformed("it does not speak AMQP: a method that ends too early"))?;
            return Ok((channel, method));
        }
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Method {
    fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let (class, method) = (fields.u16()?, fields.u16()?);
        Some(match (class, method) {
            (10, 10) => {
                fields.take(2)?; // version, 0-9
                let properties = fields.long_string()?;
                Self::Start {
                    mechanisms: lossy(fields.long_string()?),
                    product: product(properties).unwrap_or_else(|| "AMQP server".to_owned()),
                }
            }
            (10, 30) => Self::Tune {
                channels: fields.u16()?,
                frame_bytes: fields.u32()?,
            },
            (10, 41) => Self::OpenOk,
            (10, 50) | (20, 40) => Self::Close {
                code: fields.u16()?,
                text: lossy(fields.short_string()?),
            },
            (10, 51) | (20, 41) => Self::CloseOk,
            (20, 11) => Self::ChannelOpenOk,
            (50, 11) => {
                fields.short_string()?; // the queue's name
                Self::DeclareOk {
                    messages: fields.u32()?,
                    consumers: fields.u32()?,
                }
            }
            (class, method) => Self::Other { class, method },
        })
    }
}

/// `RabbitMQ 3.10.8`, when the server's properties begin as they do there: flat text values are read,
/// whatever else is in the table ends the search.
fn product(table: &[u8]) -> Option<String> {
    let (mut fields, mut name, mut version) = (Fields(table), None, None);
    while let Some(key) = fields.short_string() {
        match fields.take(1)?[0] {
            b'S' => {
                let value = fields.long_string()?;
                match key {
                    b"product" => name = Some(lossy(value)),
                    b"version" => version = Some(lossy(value)),
                    _ => {}
                }
            }
            b'F' => {
                fields.long_string()?;
            }
            b't' => {
                fields.take(1)?;
            }
            _ => break,
        }
    }
    Some(format!("{} {}", name?, version?))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads fields off the front of a payload; `None` when it ends too early.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)
            .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn short_string(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(usize::from(length))
    }

    fn long_string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }
}

/// A method to send, built field by field.
pub(super) struct Outgoing(Vec<u8>);

impl Outgoing {
    pub(super) fn new(class: u16, method: u16) -> Self {
        let mut payload = class.to_be_bytes().to_vec();
        payload.extend_from_slice(&method.to_be_bytes());
        Self(payload)
    }

    /// The fields of a table, without its length.
    pub(super) fn table() -> Self {
        Self(Vec::new())
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn u8(mut self, number: u8) -> Self {
        self.0.push(number);
        self
    }

    pub(super) fn u16(mut self, number: u16) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn u32(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// At most 255 bytes: AMQP's limit on names of queues and virtual hosts.
    pub(super) fn short_string(self, text: &str) -> Result<Self, String> {
        let length = u8::try_from(text.len())
            .map_err(|_| format!("`{:.40}…` is longer than AMQP's names can be", text))?;
        let mut longer = self.u8(length);
        longer.0.extend_from_slice(text.as_bytes());
        Ok(longer)
    }

    pub(super) fn long_string(self, bytes: &[u8]) -> Result<Self, String> {
        let length = u32::try_from(bytes.len()).map_err(|error| error.to_string())?;
        let mut longer = self.u32(length);
        longer.0.extend_from_slice(bytes);
        Ok(longer)
    }

    pub(super) fn frame(self, channel: u16) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("a method of ours is short");
        let mut bytes = vec![METHOD];
        bytes.extend_from_slice(&channel.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.0);
        bytes.push(END);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    fn read(mut bytes: &[u8]) -> io::Result<(u16, Method)> {
        read_method(&mut bytes)
            .now_or_never()
            .expect("a slice is always ready")
    }

    #[test]
    fn the_products_name_and_version_are_read_among_other_properties() {
        let text = |key: &str, value: &str| {
            Outgoing::table()
                .short_string(key)
                .unwrap()
                .u8(b'S')
                .long_string(value.as_bytes())
                .unwrap()
                .0
        };
        let capabilities = Outgoing::table()
            .short_string("capabilities")
            .unwrap()
            .u8(b'F')
            .long_string(b"\x01at\x01")
            .unwrap()
            .0;
        let table = [
            capabilities,
            text("product", "RabbitMQ"),
            text("version", "3.10.8"),
        ]
        .concat();
        assert_eq!(product(&table).as_deref(), Some("RabbitMQ 3.10.8"));
        assert_eq!(product(b"\x01xZ"), None);
    }

    #[test]
    fn other_versions_and_other_protocols_are_named() {
        for (bytes, words) in [
            (&b"AMQP\x03\x01\x00\x00"[..], "another version"),
            (b"HTTP/1.1 400 Bad Request\r\n", "unknown kind"),
            (b"\x01\x00\x00\x00\x00\x00\x01xx", "without its end"),
            (b"\x01\x00\x00\x00\x00\x00\x01x\xce", "ends too early"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_close_is_read_back(channel: u16, code: u16, text in "[ -~]{0,255}") {
            let bytes = Outgoing::new(10, 50).u16(code).short_string(&text).unwrap().u16(0).u16(0).frame(channel);
            prop_assert_eq!(read(&bytes).unwrap(), (channel, Method::Close { code, text }));
        }

        #[test]
        fn counts_are_read_back_after_heartbeats(messages: u32, consumers: u32, name in "[ -~]{0,60}") {
            let heartbeat = b"\x08\x00\x00\x00\x00\x00\x00\xce".to_vec();
            let declared = Outgoing::new(50, 11).short_string(&name).unwrap().u32(messages).u32(consumers).frame(1);
            let bytes = [heartbeat, declared].concat();
            prop_assert_eq!(read(&bytes).unwrap(), (1, Method::DeclareOk { messages, consumers }));
        }

        #[test]
        fn no_bytes_panic_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes).ok();
            Method::decode(&bytes);
            product(&bytes);
        }

        #[test]
        fn no_method_panics_the_decoder(class in 0u16..60, method in 0u16..60, rest in proptest::collection::vec(any::<u8>(), 0..80)) {
            let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), &rest].concat();
            Method::decode(&payload);
        }
    }
}
