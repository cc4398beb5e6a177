//! Remote write 1.0, `prometheus.WriteRequest`.

use crate::{
    Exemplar, Float, Metadata, MetricType, Sink,
    histogram::histogram,
    protobuf::{Fields, Malformed},
    series::RawSeries,
};

pub(super) fn read(message: &[u8], sink: &mut impl Sink) -> Result<(), Malformed> {
    let mut fields = Fields(message);
    while let Some(field) = fields.next()?
        && !sink.is_full()
    {
        match field.number {
            1 => series(field.bytes()?, sink)?,
            3 => sink.metadata(metadata(field.bytes()?)?),
            _ => {}
        }
    }
    Ok(())
}

/// Labels come first; a sender that mixes them with samples would have its series read as one without them.
fn series<S: Sink>(message: &[u8], sink: &mut S) -> Result<(), Malformed> {
    let mut fields = Fields(message);
    let mut rest = fields;
    while let Some(field) = fields.next()? {
        if field.number != 1 {
            break;
        }
        rest = fields;
    }
    let labels = &message[..message.len() - rest.0.len()];
    let Some(known) = sink.series(RawSeries::Messages(labels)) else {
        return Ok(());
    };
    while let Some(field) = rest.next()?
        && !sink.is_full()
    {
        match field.number {
            2 => sink.float(known, float(field.bytes()?)?),
            3 => {
                let exemplar = exemplar(field.bytes()?)?;
                sink.exemplar(known, exemplar);
            }
            4 => match histogram(field.bytes()?)? {
                Ok(sample) => sink.histogram(known, sample),
                Err(why) => sink.bad_histogram(known, why),
            },
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn float(message: &[u8]) -> Result<Float, Malformed> {
    let (mut value, mut at_ms, mut start_ms) = (0.0, 0, 0);
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => value = field.double()?,
            2 => at_ms = field.signed()?,
            3 => start_ms = field.signed()?,
            _ => {}
        }
    }
    Ok(Float {
        at_ms: Some(at_ms),
        value,
        start_ms,
    })
}

fn exemplar(message: &[u8]) -> Result<Exemplar<'_>, Malformed> {
    let (mut value, mut at_ms) = (0.0, None);
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field.number {
            2 => value = field.double()?,
            3 => at_ms = Some(field.signed()?),
            _ => {}
        }
    }
    Ok(Exemplar {
        labels: RawSeries::Messages(message),
        value,
        at_ms,
    })
}

fn metadata(message: &[u8]) -> Result<Metadata<'_>, Malformed> {
    let mut metadata = Metadata::default();
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => metadata.kind = MetricType::from_number(field.unsigned()?),
            2 => metadata.family = String::from_utf8_lossy(field.bytes()?),
            4 => metadata.help = String::from_utf8_lossy(field.bytes()?),
            5 => metadata.unit = String::from_utf8_lossy(field.bytes()?),
            _ => {}
        }
    }
    // Proto 3 leaves out what is zero.
    metadata.kind = metadata.kind.or(Some(MetricType::Unknown));
    Ok(metadata)
}
