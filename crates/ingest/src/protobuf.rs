//! The wire format of protocol buffers, read where it lies.
//!
//! A generated decoder would make strings and vectors of a message whose labels are only hashed and whose samples are
//! read once. Lengths are checked against the bytes that are there, groups (long deprecated, never sent) are refused.

/// A message that is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the message ends within a field")]
    Truncated,
    #[error("a number has more than 64 bits")]
    LongNumber,
    #[error("field {field} has the wire type {wire_type}, which is not the field's")]
    WireType { field: u32, wire_type: u8 },
    #[error("a field has the number 0 or one that is too large")]
    FieldNumber,
}

/// One field's value, uninterpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    value: Value<'a>,
}

impl<'a> Field<'a> {
    fn mismatch<T>(&self) -> Result<T, Malformed> {
        let wire_type = match self.value {
            Value::Varint(_) => 0,
            Value::Fixed64(_) => 1,
            Value::Bytes(_) => 2,
            Value::Fixed32(_) => 5,
        };
        Err(Malformed::WireType {
            field: self.number,
            wire_type,
        })
    }

    pub(crate) fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => self.mismatch(),
        }
    }

    pub(crate) fn double(&self) -> Result<f64, Malformed> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => self.mismatch(),
        }
    }

    pub(crate) fn unsigned(&self) -> Result<u64, Malformed> {
        match self.value {
            Value::Varint(number) => Ok(number),
            _ => self.mismatch(),
        }
    }

    /// `int64`: two's complement in as many bits.
    pub(crate) fn signed(&self) -> Result<i64, Malformed> {
        self.unsigned().map(u64::cast_signed)
    }

    /// `sint64` and `sint32`.
    pub(crate) fn zigzag(&self) -> Result<i64, Malformed> {
        self.unsigned().map(unzigzag)
    }

    /// A repeated number, packed or one by one.
    pub(crate) fn each_unsigned<E: From<Malformed>>(
        &self,
        mut each: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.value {
            Value::Varint(number) => each(number),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    each(varint(&mut packed)?)?;
                }
                Ok(())
            }
            Value::Fixed32(_) | Value::Fixed64(_) => Ok(self.mismatch()?),
        }
    }

    /// A repeated `double`, packed or one by one.
    pub(crate) fn each_double(&self, mut each: impl FnMut(f64)) -> Result<(), Malformed> {
        match self.value {
            Value::Fixed64(bits) => each(f64::from_bits(bits)),
            Value::Bytes(packed) => {
                let (doubles, rest) = packed.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(Malformed::Truncated);
                }
                doubles
                    .iter()
                    .for_each(|bytes| each(f64::from_le_bytes(*bytes)));
            }
            Value::Fixed32(_) | Value::Varint(_) => return self.mismatch(),
        }
        Ok(())
    }
}

pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// The fields of a message, in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = varint(&mut self.0)?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed::FieldNumber)?;
        if number == 0 {
            return Err(Malformed::FieldNumber);
        }
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.0)?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = varint(&mut self.0)?;
                let length = usize::try_from(length).map_err(|_| Malformed::Truncated)?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            other => {
                let wire_type = u8::try_from(other).expect("it has three bits");
                return Err(Malformed::WireType {
                    field: number,
                    wire_type,
                });
            }
        };
        Ok(Some(Field { number, value }))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }
}

pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if index == 9 && bits > 1 {
            return Err(Malformed::LongNumber);
        }
        number |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Ok(number);
        }
    }
    Err(if bytes.len() < 10 {
        Malformed::Truncated
    } else {
        Malformed::LongNumber
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes messages for tests.
    #[derive(Default)]
    pub(crate) struct Message(pub(crate) Vec<u8>);

    pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
        while number >= 0x80 {
            out.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        out.push(number.to_le_bytes()[0]);
    }

    impl Message {
        fn key(&mut self, field: u32, wire_type: u64) {
            put_varint(&mut self.0, u64::from(field) << 3 | wire_type);
        }

        pub(crate) fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
            self.key(field, 2);
            put_varint(&mut self.0, bytes.len() as u64);
            self.0.extend_from_slice(bytes);
            self
        }

        pub(crate) fn message(self, field: u32, message: Self) -> Self {
            self.bytes(field, &message.0)
        }

        pub(crate) fn varint(mut self, field: u32, number: u64) -> Self {
            self.key(field, 0);
            put_varint(&mut self.0, number);
            self
        }

        pub(crate) fn zigzag(self, field: u32, number: i64) -> Self {
            self.varint(field, (number << 1 ^ number >> 63).cast_unsigned())
        }

        pub(crate) fn double(mut self, field: u32, number: f64) -> Self {
            self.key(field, 1);
            self.0.extend_from_slice(&number.to_le_bytes());
            self
        }
    }

    #[test]
    fn a_length_beyond_the_message_reserves_nothing() {
        let mut claimed = Message::default();
        claimed.key(1, 2);
        put_varint(&mut claimed.0, u64::MAX);
        assert_eq!(Fields(&claimed.0).next().unwrap_err(), Malformed::Truncated);
    }

    proptest! {
        #[test]
        fn numbers_are_read_back(number: u64, signed: i64) {
            let message = Message::default().varint(3, number).zigzag(4, signed);
            let mut fields = Fields(&message.0);
            prop_assert_eq!(fields.next().unwrap().unwrap().unsigned(), Ok(number));
            prop_assert_eq!(fields.next().unwrap().unwrap().zigzag(), Ok(signed));
            prop_assert!(fields.next().unwrap().is_none());
        }

        #[test]
        fn no_bytes_make_the_reader_panic_or_go_on_for_ever(bytes: Vec<u8>) {
            let mut fields = Fields(&bytes);
            let mut count = 0;
            while let Ok(Some(_)) = fields.next() {
                count += 1;
            }
            prop_assert!(count <= bytes.len());
        }
    }
}
