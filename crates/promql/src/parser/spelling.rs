//! How numbers and durations are spelled.

/// A number as Go reads it: decimal, octal with a leading zero, hexadecimal, with `_` between digits.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "inf" | "+inf" => return Some(f64::INFINITY),
        "-inf" => return Some(f64::NEG_INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    let bytes = text.as_bytes();
    let lonely = |index: usize| {
        let digit = |index: Option<usize>| {
            index
                .and_then(|index| bytes.get(index))
                .is_some_and(u8::is_ascii_hexdigit)
        };
        let after_prefix = index == 2 && (text.starts_with("0x") || text.starts_with("0X"));
        !(digit(index.checked_sub(1)) || after_prefix) || !digit(Some(index + 1))
    };
    if (0..bytes.len()).any(|index| bytes[index] == b'_' && lonely(index)) {
        return None;
    }
    let text = text.replace('_', "");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(&text)),
    };
    if let Some(digits) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        return hexadecimal(digits).map(|value| sign * value);
    }
    if digits.len() > 1
        && digits.starts_with('0')
        && let Ok(octal) = i64::from_str_radix(digits, 8)
    {
        return Some(sign * octal as f64);
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || digits.bytes().all(|byte| byte == b'.')
    {
        return None;
    }
    digits.parse().ok().map(|value: f64| sign * value)
}

/// Hexadecimal digits with an optional fraction and binary exponent.
fn hexadecimal(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let (mantissa, exponent) = match lower.split_once('p') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None if lower.contains('.') => return None,
        None => (lower.as_str(), 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for c in whole.chars().chain(part.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    let places = i32::try_from(part.len()).ok()?;
    Some(value * 2f64.powi(exponent.saturating_sub(4 * places)))
}

/// A duration such as `1h30m`, in milliseconds; nothing where the text is no duration at all.
pub(crate) fn duration_ms(text: &str) -> Option<Result<i64, String>> {
    const UNITS: &[(&str, i64)] = &[
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut total: i64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let length = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let position = UNITS.iter().position(|(name, _)| *name == unit)?;
        if number.is_empty() {
            return None;
        }
        if position < next_unit {
            return Some(Err(format!(
                "bad duration {text:?}: units go from years to milliseconds, each once"
            )));
        }
        next_unit = position + 1;
        let amount = number.parse::<i64>().ok();
        let sum = amount
            .and_then(|amount| amount.checked_mul(UNITS[position].1))
            .and_then(|amount| total.checked_add(amount));
        match sum {
            // Prometheus counts in nanoseconds.
            Some(sum) if sum <= i64::MAX / 1_000_000 => total = sum,
            _ => return Some(Err(format!("duration {text:?} is out of range"))),
        }
        rest = after;
    }
    (!text.is_empty()).then_some(Ok(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("1_000", 1000.0),
            ("0x1F", 31.0),
            ("0X_1FFFP-16", 0.124_984_741_210_937_5),
            ("010", 8.0),
            ("089", 89.0),
            ("2.", 2.0),
            (".5", 0.5),
            ("12.34e+6", 12_340_000.0),
            ("1e-3", 0.001),
        ] {
            assert_eq!(parse_number(text), Some(value), "{text}");
        }
        for text in ["1__0", "_1", "1_", "0x", "1e", "12abc", "."] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    #[test]
    fn durations_have_their_units_in_order() {
        assert_eq!(duration_ms("1h30m"), Some(Ok(5_400_000)));
        assert_eq!(duration_ms("1m1ms"), Some(Ok(60_001)));
        assert!(matches!(duration_ms("5m1h"), Some(Err(_))));
        assert!(matches!(duration_ms("5m5m"), Some(Err(_))));
        assert_eq!(duration_ms("5"), None);
        assert_eq!(duration_ms("5x"), None);
    }
}
