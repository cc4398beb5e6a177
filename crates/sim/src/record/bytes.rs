//! Numbers and texts as bytes, and a cursor that reads them and knows where it stands.
//!
//! Whole numbers are LEB128: seven bits a byte, the lowest first, the high bit says that more follow. Differences
//! wrap around and are folded (zigzag), so that small ones of either sign are short and any two times have one.

use pitcrew_model::Timestamp;

use super::error::RecordError;

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits are a byte");
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// `to` as seen from `from`.
pub(super) fn put_difference(out: &mut Vec<u8>, from: u64, to: u64) {
    let difference = to.wrapping_sub(from).cast_signed();
    put_number(
        out,
        ((difference << 1) ^ (difference >> 63)).cast_unsigned(),
    );
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_number(out, u64::try_from(text.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(text);
}

/// Reads the body of one frame.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Position of the body in the record.
    base: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, at: 0, base }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// In the record.
    pub(super) fn position(&self) -> u64 {
        self.base + u64::try_from(self.at).unwrap_or(u64::MAX)
    }

    pub(super) fn invalid(&self, why: impl Into<String>) -> RecordError {
        RecordError::Invalid {
            at: self.position(),
            why: why.into(),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, RecordError> {
        let byte = self.bytes.get(self.at).copied();
        let byte = byte.ok_or_else(|| self.invalid("the frame ends within an entry"))?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, RecordError> {
        let began = self.at;
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let is_last = byte & 0x80 == 0;
            // One way to write each number: no bits beyond the 64th and no empty byte at the end.
            if bits << shift >> shift != bits || (is_last && bits == 0 && shift > 0) {
                break;
            }
            number |= bits << shift;
            if is_last {
                return Ok(number);
            }
        }
        self.at = began;
        Err(self.invalid("a number is not written as numbers are"))
    }

    pub(super) fn time(&mut self, from: Timestamp) -> Result<Timestamp, RecordError> {
        let folded = self.number()?;
        let difference = (folded >> 1) ^ (folded & 1).wrapping_neg();
        let millis = from.as_millis().wrapping_add(difference);
        Ok(Timestamp::from_millis(millis))
    }

    /// The bytes of a text, which must all be there.
    pub(super) fn text(&mut self) -> Result<&'a [u8], RecordError> {
        let length = self.number()?;
        let rest = &self.bytes[self.at..];
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= rest.len());
        let length = length.ok_or_else(|| self.invalid("a text is longer than its frame"))?;
        self.at += length;
        Ok(&rest[..length])
    }

    /// How many things of at least `size` bytes can still come: what a count may be trusted with.
    pub(super) fn room_for(&self, size: usize) -> usize {
        (self.bytes.len() - self.at) / size
    }
}
