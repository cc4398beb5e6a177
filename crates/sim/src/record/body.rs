//! Entries within a frame. A passing answer takes about ten bytes; what is rare is JSON.

use std::time::Duration;

use pitcrew_model::{
    Event, Evidence, Observation, ObserverName, TargetId, TestName, Timestamp, Verdict,
};
use serde::{
    Deserialize, Serialize,
    de::value::{Error as ValueError, StrDeserializer},
};

use super::{
    Entered, Entry, Placed,
    bytes::{Cursor, put_difference, put_number, put_text},
    error::{RecordError, Unwritable},
    names::{NumbersOfAll, ThingsOfAll},
};

const OBSERVATIONS: u8 = 1;
const UNCHANGED: u8 = 2;
const TICK: u8 = 3;
const OTHER_EVENT: u8 = 4;
const RECORDS: u8 = 8;
const NOTICES: u8 = 9;
/// Beside an event's kind.
const DRAINING: u8 = 0x80;

/// No observation is shorter: what a count can be trusted with.
const OBSERVATION_BYTES_MIN: usize = 6;

/// Writes entries of one run, one after the other.
#[derive(Default)]
pub(super) struct Encoder {
    names: NumbersOfAll,
    now: Timestamp,
}

impl Encoder {
    /// For a run that begins at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }

    pub(super) fn event(
        &mut self,
        out: &mut Vec<u8>,
        now: Timestamp,
        draining: bool,
        event: &Event,
    ) -> Result<(), Unwritable> {
        let flag = if draining { DRAINING } else { 0 };
        let kind = match event {
            Event::Observations(_) => OBSERVATIONS,
            Event::Unchanged { .. } => UNCHANGED,
            Event::Tick => TICK,
            _ => OTHER_EVENT,
        };
        out.push(kind | flag);
        put_difference(out, self.now.as_millis(), now.as_millis());
        self.now = now;
        match event {
            Event::Observations(seen) => {
                put_number(out, u64::try_from(seen.len()).unwrap_or(u64::MAX));
                for observation in seen {
                    self.observation(out, observation);
                }
            }
            Event::Unchanged { observer, at } => {
                self.observer(out, observer);
                put_difference(out, now.as_millis(), at.as_millis());
            }
            Event::Tick => {}
            other => put_text(out, &serde_json::to_vec(other)?),
        }
        Ok(())
    }

    pub(super) fn made(
        &mut self,
        out: &mut Vec<u8>,
        kind: Made,
        what: &impl Serialize,
    ) -> Result<(), Unwritable> {
        out.push(match kind {
            Made::Records => RECORDS,
            Made::Notices => NOTICES,
        });
        put_text(out, &serde_json::to_vec(what)?);
        Ok(())
    }

    fn observation(&mut self, out: &mut Vec<u8>, seen: &Observation) {
        match self.names.targets.number(seen.target.clone()) {
            Some(number) => put_number(out, number),
            None => put_new(out, &[seen.target.as_str()]),
        }
        let asker = (seen.test.clone(), seen.observer.clone());
        match self.names.askers.number(asker) {
            Some(number) => put_number(out, number),
            None => put_new(out, &[seen.test.as_str(), seen.observer.as_str()]),
        }
        let took_us = u64::try_from(seen.took.as_micros()).unwrap_or(u64::MAX);
        put_difference(out, self.now.as_millis(), seen.asked_at.as_millis());
        put_number(out, took_us);
        let expected = answer_expected(seen.asked_at, took_us);
        put_difference(out, expected.as_millis(), seen.answered_at.as_millis());
        let verdict = number_of(seen.verdict);
        match self
            .names
            .evidence
            .number(seen.evidence.as_str().to_owned())
        {
            Some(number) => put_number(out, number << 2 | verdict),
            None => {
                put_number(out, verdict);
                put_text(out, seen.evidence.as_str().as_bytes());
            }
        }
    }

    fn observer(&mut self, out: &mut Vec<u8>, observer: &ObserverName) {
        match self.names.observers.number(observer.clone()) {
            Some(number) => put_number(out, number),
            None => put_new(out, &[observer.as_str()]),
        }
    }
}

/// What an event made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Made {
    Records,
    Notices,
}

fn put_new(out: &mut Vec<u8>, names: &[&str]) {
    out.push(0);
    for name in names {
        put_text(out, name.as_bytes());
    }
}

/// An answer usually comes when the question was put and as long as it took.
fn answer_expected(asked_at: Timestamp, took_us: u64) -> Timestamp {
    asked_at + Duration::from_millis(took_us / 1_000)
}

fn number_of(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Warn => 1,
        Verdict::Fail => 2,
        Verdict::Unknown => 3,
    }
}

fn verdict_of(number: u64) -> Verdict {
    match number & 3 {
        0 => Verdict::Pass,
        1 => Verdict::Warn,
        2 => Verdict::Fail,
        _ => Verdict::Unknown,
    }
}

/// Reads entries of one run.
#[derive(Default)]
pub(super) struct Decoder {
    names: ThingsOfAll,
    now: Timestamp,
}

impl Decoder {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }

    /// All entries of a frame's body, which begins at `base` in the record.
    pub(super) fn entries(&mut self, body: &[u8], base: u64) -> Result<Vec<Placed>, RecordError> {
        let mut cursor = Cursor::new(body, base);
        let mut entries = Vec::new();
        while !cursor.is_at_end() {
            let at = cursor.position();
            let entry = self.entry(&mut cursor)?;
            entries.push(Placed { at, entry });
        }
        Ok(entries)
    }

    fn entry(&mut self, cursor: &mut Cursor<'_>) -> Result<Entry, RecordError> {
        let tag = cursor.byte()?;
        match tag {
            RECORDS => return Ok(Entry::Records(json(cursor)?)),
            NOTICES => return Ok(Entry::Notices(json(cursor)?)),
            _ => {}
        }
        self.now = cursor.time(self.now)?;
        let event = match tag & !DRAINING {
            OBSERVATIONS => Event::Observations(self.observations(cursor)?),
            UNCHANGED => Event::Unchanged {
                observer: self.observer(cursor)?,
                at: cursor.time(self.now)?,
            },
            TICK => Event::Tick,
            OTHER_EVENT => json(cursor)?,
            _ => return Err(cursor.invalid(format!("there is no entry of kind {tag}"))),
        };
        Ok(Entry::Event(Entered {
            at: self.now,
            draining: tag & DRAINING != 0,
            event,
        }))
    }

    fn observations(&mut self, cursor: &mut Cursor<'_>) -> Result<Vec<Observation>, RecordError> {
        let count = cursor.number()?;
        let room = cursor.room_for(OBSERVATION_BYTES_MIN);
        let count = usize::try_from(count).ok().filter(|count| *count <= room);
        let count = count
            .ok_or_else(|| cursor.invalid("more observations are announced than there are"))?;
        (0..count).map(|_| self.observation(cursor)).collect()
    }

    fn observation(&mut self, cursor: &mut Cursor<'_>) -> Result<Observation, RecordError> {
        let target = match cursor.number()? {
            0 => {
                let target = name(cursor, TargetId::new)?;
                self.names.targets.learn(&target);
                target
            }
            number => known(cursor, "target", number, self.names.targets.thing(number))?,
        };
        let (test, observer) = match cursor.number()? {
            0 => {
                let test = name(cursor, TestName::new)?;
                let asker = (test, name(cursor, ObserverName::new)?);
                self.names.askers.learn(&asker);
                asker
            }
            number => known(cursor, "asker", number, self.names.askers.thing(number))?,
        };
        let asked_at = cursor.time(self.now)?;
        let took_us = cursor.number()?;
        let answered_at = cursor.time(answer_expected(asked_at, took_us))?;
        let number = cursor.number()?;
        let evidence = match number >> 2 {
            0 => {
                let evidence = evidence(cursor)?;
                self.names.evidence.learn(&evidence);
                evidence
            }
            number => known(
                cursor,
                "evidence",
                number,
                self.names.evidence.thing(number),
            )?,
        };
        Ok(Observation {
            target,
            test,
            observer,
            asked_at,
            answered_at,
            took: Duration::from_micros(took_us),
            verdict: verdict_of(number),
            evidence,
        })
    }

    fn observer(&mut self, cursor: &mut Cursor<'_>) -> Result<ObserverName, RecordError> {
        match cursor.number()? {
            0 => {
                let observer = name(cursor, ObserverName::new)?;
                self.names.observers.learn(&observer);
                Ok(observer)
            }
            number => known(
                cursor,
                "observer",
                number,
                self.names.observers.thing(number),
            ),
        }
    }
}

fn known<T>(
    cursor: &Cursor<'_>,
    what: &str,
    number: u64,
    thing: Option<T>,
) -> Result<T, RecordError> {
    thing.ok_or_else(|| cursor.invalid(format!("{what} {number} was never introduced")))
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, RecordError> {
    let bytes = cursor.text()?;
    std::str::from_utf8(bytes).map_err(|error| cursor.invalid(format!("not a text: {error}")))
}

fn name<'a, T, E: std::fmt::Display>(
    cursor: &mut Cursor<'a>,
    new: impl FnOnce(&'a str) -> Result<T, E>,
) -> Result<T, RecordError> {
    let text = text(cursor)?;
    new(text).map_err(|error| cursor.invalid(error.to_string()))
}

/// As it was, not cleaned once more.
fn evidence(cursor: &mut Cursor<'_>) -> Result<Evidence, RecordError> {
    let text = text(cursor)?;
    Evidence::deserialize(StrDeserializer::<ValueError>::new(text))
        .map_err(|error| cursor.invalid(error.to_string()))
}

fn json<T: for<'de> Deserialize<'de>>(cursor: &mut Cursor<'_>) -> Result<T, RecordError> {
    let bytes = cursor.text()?;
    serde_json::from_slice(bytes).map_err(|error| cursor.invalid(error.to_string()))
}
