//! The side that writes: entries in, frames out, whenever whoever has the file asks for them.

use pitcrew_model::{Event, Notice, Record, Timestamp};

use super::{
    Start, VERSION,
    body::{Encoder, Made},
    error::Unwritable,
    frame::{BODY_BYTES_MAX, HEADER_BYTES, Header, Kind, preamble},
};

/// Frames of one run. Entries gather in an open frame until [`Writer::take`] closes it.
pub struct Writer {
    encoder: Encoder,
    sequence: u64,
    /// Entries of the frame that is open.
    open: Vec<u8>,
    /// Whole frames.
    closed: Vec<u8>,
}

impl Writer {
    /// What stands before the first frame of a record.
    #[must_use]
    pub fn preamble() -> Vec<u8> {
        preamble(VERSION).to_vec()
    }

    /// A run as it begins; `sequence` is the number of frames that the record already has.
    pub fn start(sequence: u64, start: &Start) -> Result<Self, Unwritable> {
        let mut writer = Self {
            encoder: Encoder::new(start.at),
            sequence,
            open: Vec::new(),
            closed: Vec::new(),
        };
        let body = serde_json::to_vec(start)?;
        check(body.len())?;
        writer.frame(Kind::Start, &body);
        Ok(writer)
    }

    /// After an error the entry is not in the record, and nothing may follow but [`Writer::gap`].
    pub fn event(
        &mut self,
        now: Timestamp,
        draining: bool,
        event: &Event,
    ) -> Result<(), Unwritable> {
        self.entry(|encoder, out| encoder.event(out, now, draining, event))
    }

    /// What the event before made the ledger write.
    pub fn records(&mut self, records: &[Record]) -> Result<(), Unwritable> {
        self.entry(|encoder, out| encoder.made(out, Made::Records, &records))
    }

    /// What the event before made people be told.
    pub fn notices(&mut self, notices: &[Notice]) -> Result<(), Unwritable> {
        self.entry(|encoder, out| encoder.made(out, Made::Notices, &notices))
    }

    /// The last of a run: nothing is recorded from here on though the server goes on.
    pub fn gap(&mut self, why: &str) {
        self.close();
        self.frame(Kind::Gap, why.as_bytes());
    }

    /// The same behind `sequence` frames, for whoever could not write the newest of them.
    #[must_use]
    pub fn gap_after(sequence: u64, why: &str) -> Vec<u8> {
        let header = Header::of(Kind::Gap, sequence, why.as_bytes());
        [&header.to_bytes()[..], why.as_bytes()].concat()
    }

    /// The last of a run that ends in good order.
    pub fn end(&mut self) {
        self.close();
        self.frame(Kind::End, &[]);
    }

    /// How many frames the record has with all that [`Writer::take`] gave.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.sequence
    }

    /// Bytes that [`Writer::take`] would give, about.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.open.len() + self.closed.len()
    }

    /// Everything written so far as whole frames.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        self.close();
        std::mem::take(&mut self.closed)
    }

    fn entry(
        &mut self,
        put: impl FnOnce(&mut Encoder, &mut Vec<u8>) -> Result<(), Unwritable>,
    ) -> Result<(), Unwritable> {
        let before = self.open.len();
        let put = put(&mut self.encoder, &mut self.open);
        let put = put.and_then(|()| check(self.open.len() - before));
        if put.is_err() {
            self.open.truncate(before);
            return put;
        }
        if self.open.len() > BODY_BYTES_MAX {
            let last = self.open.split_off(before);
            self.close();
            self.open = last;
        }
        Ok(())
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let body = std::mem::take(&mut self.open);
            self.frame(Kind::Entries, &body);
        }
    }

    fn frame(&mut self, kind: Kind, body: &[u8]) {
        let header = Header::of(kind, self.sequence, body);
        self.sequence += 1;
        self.closed.reserve(HEADER_BYTES + body.len());
        self.closed.extend_from_slice(&header.to_bytes());
        self.closed.extend_from_slice(body);
    }
}

fn check(bytes: usize) -> Result<(), Unwritable> {
    if bytes > BODY_BYTES_MAX {
        return Err(Unwritable::TooLarge {
            bytes,
            max: BODY_BYTES_MAX,
        });
    }
    Ok(())
}
