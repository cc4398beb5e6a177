//! Tests of a host from inside.

use std::time::Duration;

use pitcrew_model::{HostTest, Left, format_duration};

use crate::{
    fields::Fields,
    reader::Reader,
    shape::{Kind, Shape, defaulted},
    values,
};

pub(crate) const DISK: Shape = Shape::new(
    "disk test",
    "A file system of the host: it takes writes, and has room and inodes left.",
    &[
        defaulted(
            "path",
            values::PATH,
            "/",
            "Any path on it, from the host's root.",
        ),
        defaulted("warn_below", values::PERCENT, "20%", "Share that is left."),
        defaulted("fail_below", values::PERCENT, "10%", "Share that is left."),
    ],
);

pub(crate) const MEMORY: Shape = Shape::new(
    "memory test",
    "Memory that programs of the host could still get.",
    &[
        defaulted("warn_below", values::PERCENT, "10%", "Share that is left."),
        defaulted("fail_below", values::PERCENT, "5%", "Share that is left."),
    ],
);

const PER_CORE: Kind = Kind::Whole { min: 1, max: 1_000 };

pub(crate) const LOAD: Shape = Shape::new(
    "load test",
    "Load average of five minutes, for each core of the host.",
    &[
        defaulted("warn_above", PER_CORE, "2", "For each core."),
        defaulted("fail_above", PER_CORE, "4", "For each core."),
    ],
);

pub(crate) const FAILED_UNITS: Shape = Shape::new(
    "test of failed units",
    "No unit of the host's systemd has failed.",
    &[],
);

pub(crate) const CLOCK_OFFSET: Shape = Shape::new(
    "test of a clock",
    "The clock of an agent's host beside its server's, as far as a round trip tells.",
    &[
        defaulted(
            "warn_above",
            values::DURATION,
            "500ms",
            "In either direction.",
        ),
        defaulted("fail_above", values::DURATION, "5s", "In either direction."),
    ],
);

pub(crate) const KERNEL_ERRORS: Shape = Shape::new(
    "test of the kernel's log",
    "The kernel has logged nothing of level `err` or worse.",
    &[defaulted(
        "within",
        values::DURATION,
        "10m",
        "How long an error counts, up to 1d.",
    )],
);

pub(crate) fn disk(reader: &mut Reader<'_>, fields: &Fields<'_>) -> HostTest {
    HostTest::Disk {
        path: fields.or_default(reader, "path", whole_path),
        left: left(reader, fields),
    }
}

pub(crate) fn memory(reader: &mut Reader<'_>, fields: &Fields<'_>) -> HostTest {
    HostTest::Memory {
        left: left(reader, fields),
    }
}

pub(crate) fn load(reader: &mut Reader<'_>, fields: &Fields<'_>) -> HostTest {
    let warn_above = fields.whole_or_default(reader, "warn_above");
    let fail_above = fields.whole_or_default(reader, "fail_above");
    if warn_above > fail_above {
        reader.error(
            fields.place_of("warn_above"),
            format!("it would fail above {fail_above} before it warns above {warn_above}"),
        );
    }
    HostTest::Load {
        warn_above,
        fail_above,
    }
}

pub(crate) fn clock_offset(reader: &mut Reader<'_>, fields: &Fields<'_>) -> HostTest {
    let warn_above = fields.or_default(reader, "warn_above", values::some_duration);
    let fail_above = fields.or_default(reader, "fail_above", values::some_duration);
    if warn_above > fail_above {
        reader.error(
            fields.place_of("warn_above"),
            format!(
                "it would fail above {} before it warns above {}",
                format_duration(fail_above),
                format_duration(warn_above)
            ),
        );
    }
    HostTest::ClockOffset {
        warn_above,
        fail_above,
    }
}

pub(crate) fn kernel_errors(reader: &mut Reader<'_>, fields: &Fields<'_>) -> HostTest {
    HostTest::KernelErrors {
        within: fields.or_default(reader, "within", within_a_day),
    }
}

fn within_a_day(text: &str) -> Result<Duration, String> {
    const DAY: Duration = Duration::from_secs(86_400);
    match values::some_duration(text)? {
        within if within > DAY => Err("errors are remembered for 1d".to_owned()),
        within => Ok(within),
    }
}

fn whole_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!(
            "`{text}` must begin with `/`: it is a path on the host"
        ));
    }
    Ok(text.to_owned())
}

fn left(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Left {
    let left = Left {
        warn_below: fields.or_default(reader, "warn_below", values::percent),
        fail_below: fields.or_default(reader, "fail_below", values::percent),
    };
    if left.warn_below < left.fail_below {
        reader.error(
            fields.place_of("warn_below"),
            format!(
                "it would fail below {}% before it warns below {}%",
                left.fail_below, left.warn_below
            ),
        );
    }
    left
}
