//! `metrics`: what the metrics store may take and how long it keeps.

use std::sync::Arc;

use pitcrew_model::{MetricsSettings, Scrape};

use super::{
    keep::{self, DOWNSAMPLE, KEEP},
    query,
    scrape::{SCRAPE, scrape},
};
use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional},
    values,
};

pub(crate) const METRICS: Shape = Shape::new(
    "metrics",
    "What the metrics store may take and how long it keeps.",
    &[
        defaulted(
            "retention",
            values::DURATION,
            "30d",
            "Samples older than this are deleted.",
        ),
        optional(
            "keep",
            Kind::List(&Kind::Shape(&KEEP)),
            "Series that are kept for another time; the first that selects a series decides.",
        ),
        optional(
            "downsample",
            Kind::List(&Kind::Shape(&DOWNSAMPLE)),
            "What is left of old samples: the last one of each interval.",
        ),
        optional(
            "disk_max",
            values::SIZE,
            "When the files of samples are larger than this, the oldest are deleted. Without it only their age counts.",
        ),
        defaulted(
            "out_of_order_window",
            values::DURATION,
            "2h",
            "How far in the past a sample may be when it comes.",
        ),
        optional(
            "memory",
            values::SIZE,
            "What samples, caches and queries may take. Default: a quarter of the memory that this process may have.",
        ),
        defaulted(
            "series_max",
            SERIES,
            "5000000",
            "Series that report at a time; samples of further ones are dropped and counted, and answers say so.",
        ),
        defaulted(
            "source_series_max",
            SERIES,
            "1000000",
            "The same for each source: each target that is scraped, each client that writes.",
        ),
        optional(
            "query",
            Kind::Shape(&query::QUERY),
            "What each query may take.",
        ),
        optional(
            "scrape",
            Kind::List(&Kind::Shape(&SCRAPE)),
            "Targets whose metrics are read again and again.",
        ),
    ],
);

const SERIES: Kind = Kind::Whole {
    min: 1,
    max: 1_000_000_000,
};

/// The store's settings, and what is scraped into it.
pub(crate) fn metrics(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
) -> (MetricsSettings, Vec<Arc<Scrape>>) {
    let nodes = fields.list(reader, "scrape");
    let scrapes: Vec<(Arc<Scrape>, Span)> = nodes
        .iter()
        .filter_map(|node| scrape(reader, node))
        .collect();
    let names = scrapes.iter().map(|(scrape, at)| (&*scrape.name, *at));
    reader.unique("scrapes", names);
    let mut settings = MetricsSettings {
        retention: fields.or_default(reader, "retention", values::some_duration),
        keep: keep::keep(reader, fields),
        downsample: Vec::new(),
        disk_bytes_max: fields.value(reader, "disk_max", values::size),
        out_of_order_window: fields.or_default(
            reader,
            "out_of_order_window",
            values::some_duration,
        ),
        memory_bytes: fields.value(reader, "memory", memory_size),
        series_max: fields.whole_or_default(reader, "series_max"),
        source_series_max: fields.whole_or_default(reader, "source_series_max"),
        query: query::query(reader, fields),
    };
    settings.downsample = keep::downsample(reader, fields, &settings);
    let scrapes = scrapes.into_iter().map(|(scrape, _)| scrape);
    (settings, scrapes.collect())
}

/// What the metrics store may take, in bytes.
///
/// # Errors
/// It is no size, or too small.
pub fn memory_size(text: &str) -> Result<u64, String> {
    let bytes = values::size(text)?;
    let min = MetricsSettings::MEMORY_BYTES_MIN;
    if bytes < min {
        return Err(format!("it must be {} MiB or more", min >> 20));
    }
    Ok(bytes)
}
