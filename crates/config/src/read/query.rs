//! `metrics.query`: what each query may take.

use pitcrew_model::QuerySettings;

use crate::{
    fields::Fields,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional},
    values,
};

pub(crate) const QUERY: Shape = Shape::new(
    "budget of queries",
    "What each query may take. One that needs more fails and names what it needed.",
    &[
        defaulted(
            "timeout",
            values::DURATION,
            "2m",
            "How long an answer may take, waiting for others included.",
        ),
        defaulted(
            "samples",
            Kind::Whole {
                min: 1,
                max: 10_000_000_000,
            },
            "50000000",
            "Samples that it may hold at a time.",
        ),
        optional(
            "memory",
            values::SIZE,
            "What samples and answer may take. Default: its share of a quarter of `metrics.memory`.",
        ),
        optional(
            "concurrency",
            Kind::Whole { min: 1, max: 1_000 },
            "How many run at once; others wait. Default: as many as there are processors, 2 to 20.",
        ),
        defaulted(
            "lookback",
            values::DURATION,
            "5m",
            "How long a sample counts as current.",
        ),
    ],
);

/// The defaults where it isn't there.
pub(crate) fn query(reader: &mut Reader<'_>, metrics: &Fields<'_>) -> QuerySettings {
    let Some(fields) = metrics.inner(reader, "query") else {
        return QuerySettings::default();
    };
    QuerySettings {
        timeout: fields.or_default(reader, "timeout", values::some_duration),
        samples: fields.whole_or_default(reader, "samples"),
        memory_bytes: fields.value(reader, "memory", values::size),
        concurrency: fields.whole(reader, "concurrency"),
        lookback: fields.or_default(reader, "lookback", values::some_duration),
    }
}
