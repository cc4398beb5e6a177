//! Names of OpenTelemetry in the words of Prometheus: letters, digits and underscores, with the unit at the end.
//!
//! After the specification "Prometheus and OpenMetrics compatibility" of OpenTelemetry.

use std::{borrow::Cow, fmt::Write as _};

/// Units by their codes (UCUM), and what they are called in names.
const UNITS: &[(&str, &str)] = &[
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tebibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("%", "percent"),
];

/// What something happens in one of.
const PER: &[(&str, &str)] = &[
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// What a metric's kind adds to its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    None,
    /// Of counters.
    Total,
    /// Of gauges whose unit is 1.
    Ratio,
}

fn known<'u>(table: &[(&str, &'static str)], code: &'u str) -> Cow<'u, str> {
    let mut entries = table.iter();
    let found = entries.find(|(known, _)| *known == code);
    found.map_or(Cow::Borrowed(code), |(_, word)| Cow::Borrowed(*word))
}

/// Words of letters and digits.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let separates = |character: char| !character.is_ascii_alphanumeric() && character != ':';
    text.split(separates).filter(|word| !word.is_empty())
}

/// `By/s` is `bytes_per_second`; what stands in braces is a remark.
pub(super) fn unit_words(unit: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0_usize;
    for character in unit.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(character),
            _ => {}
        }
    }
    let (unit, per) = match plain.split_once('/') {
        Some((unit, per)) => (unit.trim(), per.trim()),
        None => (plain.trim(), ""),
    };
    let mut out = String::new();
    if unit != "1" {
        out = joined(&known(UNITS, unit));
    }
    let per = joined(&known(PER, per));
    if !per.is_empty() {
        out += if out.is_empty() { "per_" } else { "_per_" };
        out += &per;
    }
    out
}

fn joined(text: &str) -> String {
    words(text).collect::<Vec<_>>().join("_")
}

pub(super) fn metric_name(name: &str, unit: &str, ending: Ending) -> String {
    let mut parts: Vec<&str> = words(name).collect();
    let unit = unit_words(unit);
    let unit_parts: Vec<&str> = words(&unit).collect();
    let has_unit = parts
        .windows(unit_parts.len().max(1))
        .any(|window| window == unit_parts);
    if ending == Ending::Total {
        // It comes after the unit, wherever it stood.
        parts.retain(|part| *part != "total");
    }
    if !has_unit {
        parts.extend(unit_parts);
    }
    match ending {
        Ending::Total => parts.push("total"),
        Ending::Ratio if !parts.contains(&"ratio") => parts.push("ratio"),
        Ending::Ratio | Ending::None => {}
    }
    let mut out = parts.join("_");
    if out.starts_with(|first: char| first.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

pub(super) fn label_name(key: &str) -> String {
    let fit = |character: char| match character.is_ascii_alphanumeric() {
        true => character,
        false => '_',
    };
    let name: String = key.chars().map(fit).collect();
    match name.as_bytes().first() {
        Some(digit) if digit.is_ascii_digit() => format!("key_{name}"),
        Some(b'_') if !name.starts_with("__") => format!("key{name}"),
        _ => name,
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(out, "{byte:02x}").expect("a string takes everything");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_units_and_endings() {
        for (name, unit, ending, expected) in [
            ("system.io", "By", Ending::Total, "system_io_bytes_total"),
            (
                "system.io.total",
                "By",
                Ending::Total,
                "system_io_bytes_total",
            ),
            (
                "http.server.duration",
                "ms",
                Ending::None,
                "http_server_duration_milliseconds",
            ),
            ("wait.seconds", "s", Ending::None, "wait_seconds"),
            (
                "cpu.utilization",
                "1",
                Ending::Ratio,
                "cpu_utilization_ratio",
            ),
            (
                "requests",
                "{request}/s",
                Ending::None,
                "requests_per_second",
            ),
            ("flow", "m/s", Ending::None, "flow_meters_per_second"),
            ("9lives", "", Ending::None, "_9lives"),
            ("queue.size", "{packets}", Ending::None, "queue_size"),
        ] {
            assert_eq!(metric_name(name, unit, ending), expected);
        }
    }

    #[test]
    fn labels_are_made_of_letters_digits_and_underscores() {
        for (key, expected) in [
            ("http.status_code", "http_status_code"),
            ("9", "key_9"),
            ("_x", "key_x"),
            ("__x", "__x"),
            ("größe", "gr__e"),
        ] {
            assert_eq!(label_name(key), expected);
        }
    }
}
