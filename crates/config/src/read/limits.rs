//! What must hold after an order takes effect.

use pitcrew_model::{BreakerRule, FleetLimits, Lemon, Limits, Release};

use crate::{
    fields::Fields,
    reader::Reader,
    shape::{Kind, Shape, defaulted, optional},
    suggest::nearest,
    values,
};

const AT_LEAST_ONE: Kind = Kind::Whole {
    min: 1,
    max: u32::MAX as u64,
};

pub(crate) const LIMITS: Shape = Shape::new(
    "set of limits",
    "What must hold after an order takes effect.",
    &[
        defaulted(
            "max_unavailable",
            values::COUNT,
            "25%",
            "Targets that may be unavailable at once: a number, or a share rounded down, but at least 1 of 2 or more.",
        ),
        defaulted(
            "max_in_flight",
            AT_LEAST_ONE,
            "1",
            "Orders under way at once.",
        ),
        optional(
            "per_domain",
            Kind::Map(&AT_LEAST_ONE),
            "Orders under way at once per value of a domain label; 1 for those not named.",
        ),
        defaulted(
            "rate",
            values::RATE,
            "6/h",
            "Disruptive orders in any window of that length.",
        ),
        optional(
            "breaker",
            Kind::Shape(&BREAKER),
            "Stops new disruption when many targets fail together.",
        ),
        defaulted(
            "cooldown",
            values::DURATION,
            "10m",
            "Rest for a target after a case; doubles with each further one, up to 6h.",
        ),
        defaulted(
            "probation",
            values::DURATION,
            "30m",
            "Quiet time before a repaired case is closed as cured.",
        ),
        optional(
            "lemon",
            Kind::Shape(&LEMON),
            "A target that keeps failing goes to a person.",
        ),
    ],
);

const BREAKER: Shape = Shape::new(
    "breaker",
    "Stops new disruption when this many targets, and this share of the service, newly fail within a time.",
    &[
        defaulted("count", AT_LEAST_ONE, "5", "Targets."),
        defaulted("percent", values::PERCENT, "20%", "Share of the service."),
        defaulted("within", values::DURATION, "10m", "The time."),
        defaulted(
            "release",
            Kind::OneOf(&["auto", "manual"]),
            "auto",
            "`auto`: by itself after that time below half the threshold; `manual`: by a person.",
        ),
    ],
);

const LEMON: Shape = Shape::new(
    "lemon",
    "This many cases on one target within a time are a person's business.",
    &[
        defaulted("cases", AT_LEAST_ONE, "3", "Cases."),
        defaulted("within", values::DURATION, "7d", "The time."),
    ],
);

pub(crate) const FLEET_LIMITS: Shape = Shape::new(
    "set of fleet limits",
    "Limits over everything.",
    &[defaulted(
        "fleet_rate",
        values::RATE,
        "60/h",
        "Disruptive orders over everything; when it is used up, a person releases it.",
    )],
);

pub(crate) fn limits(reader: &mut Reader<'_>, fields: &Fields<'_>, domains: &[String]) -> Limits {
    let Some(fields) = fields.inner(reader, "limits") else {
        return Limits::default();
    };
    Limits {
        max_unavailable: fields.or_default(reader, "max_unavailable", values::count),
        max_in_flight: fields.whole_or_default(reader, "max_in_flight"),
        per_domain: per_domain(reader, &fields, domains),
        rate: fields.or_default(reader, "rate", values::rate),
        breaker: fields.inner(reader, "breaker").map_or_else(
            || Limits::default().breaker,
            |fields| breaker(reader, &fields),
        ),
        cooldown: fields.or_default(reader, "cooldown", values::duration),
        probation: fields.or_default(reader, "probation", values::duration),
        lemon: fields
            .inner(reader, "lemon")
            .map_or_else(|| Limits::default().lemon, |fields| lemon(reader, &fields)),
    }
}

fn per_domain(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    domains: &[String],
) -> Vec<(String, u32)> {
    let mut limits = Vec::new();
    for entry in fields.map(reader, "per_domain") {
        let label = &*entry.key;
        if !domains.iter().any(|domain| domain == label) {
            let meant = nearest(label, domains.iter().map(String::as_str));
            let message = match meant {
                Some(meant) => format!("`{label}` is not a domain, did you mean `{meant}`?"),
                None => format!("`{label}` is not among the service's `domains`"),
            };
            reader.error(entry.key_at, message);
        }
        let number = |text: &str| values::whole(text, &AT_LEAST_ONE);
        if let Some(limit) = reader.parsed(label, &entry.node, &AT_LEAST_ONE, number) {
            limits.push((label.to_owned(), limit));
        }
    }
    limits
}

fn breaker(reader: &mut Reader<'_>, fields: &Fields<'_>) -> BreakerRule {
    BreakerRule {
        count: fields.whole_or_default(reader, "count"),
        percent: fields.or_default(reader, "percent", values::percent),
        within: fields.or_default(reader, "within", values::some_duration),
        release: fields.or_default(reader, "release", |text| {
            values::one_of(text, &["auto", "manual"]).map(|word| match word {
                "manual" => Release::Manual,
                _ => Release::Auto,
            })
        }),
    }
}

fn lemon(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Lemon {
    Lemon {
        cases: fields.whole_or_default(reader, "cases"),
        within: fields.or_default(reader, "within", values::some_duration),
    }
}

pub(crate) fn fleet_limits(reader: &mut Reader<'_>, fields: &Fields<'_>) -> FleetLimits {
    FleetLimits {
        fleet_rate: fields.or_default(reader, "fleet_rate", values::rate),
    }
}
