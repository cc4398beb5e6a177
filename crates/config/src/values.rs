//! Texts with a syntax of their own: durations, rates, addresses, patterns.

mod address;

use std::{str::FromStr, time::Duration};

use pitcrew_model::{Count, Rate, Timestamp, parse_duration};

use crate::shape::{Kind, Syntax, quoted};
use crate::suggest::nearest;
pub(crate) use address::{listen, name_server, target, web_address};

pub(crate) const DURATION: Kind = Kind::Syntax(&Syntax {
    expected: "a duration such as `5s`, `10m` or `1h30m`",
    pattern: Some("^(0|([0-9]+(y|w|d|h|ms|m|s))+)$"),
    may_be_number: true,
});
pub(crate) const RATE: Kind = Kind::Syntax(&Syntax {
    expected: "a rate such as `6/h` or `1/10m`",
    pattern: Some("^[0-9]+ */ *[0-9a-z]+$"),
    may_be_number: false,
});
const PERCENTAGE: Syntax = Syntax {
    expected: "a percentage such as `25%`",
    pattern: Some("^[0-9]+ *%$"),
    may_be_number: false,
};
pub(crate) const PERCENT: Kind = Kind::Syntax(&PERCENTAGE);
pub(crate) const COUNT: Kind = Kind::Either(&[
    Kind::Syntax(&PERCENTAGE),
    Kind::Whole {
        min: 0,
        max: u32::MAX as u64,
    },
]);
pub(crate) const SIZE: Kind = Kind::Syntax(&Syntax {
    expected: "a size such as `10MiB`",
    pattern: Some("^[0-9]+ *(B|KiB|MiB|GiB|kB|MB|GB)$"),
    may_be_number: false,
});
pub(crate) const TIME: Kind = Kind::Syntax(&Syntax {
    expected: "a time such as `2026-12-24T00:00Z`",
    pattern: None,
    may_be_number: false,
});
pub(crate) const PATTERN: Kind = Kind::Syntax(&Syntax {
    expected: "a regular expression",
    pattern: None,
    may_be_number: true,
});
pub(crate) const PATH: Kind = Kind::Syntax(&Syntax {
    expected: "a path; a relative one begins at this file's directory",
    pattern: None,
    may_be_number: true,
});
pub(crate) const ADDRESS: Kind = Kind::Syntax(&Syntax {
    expected: "an address such as `10.0.0.11:8080`",
    pattern: None,
    may_be_number: true,
});
pub(crate) const WEB_ADDRESS: Kind = Kind::Syntax(&Syntax {
    expected: "an address such as `https://example.org/path`",
    pattern: Some("^https?://"),
    may_be_number: false,
});
pub(crate) const NAME: Kind = Kind::Syntax(&Syntax {
    expected: "text",
    pattern: Some("^.{1,256}$"),
    may_be_number: true,
});
pub(crate) const PORT: Kind = Kind::Whole {
    min: 1,
    max: 65_535,
};
pub(crate) const LABELS: Kind = Kind::Map(&Kind::Text);
pub(crate) const TEXTS: Kind = Kind::List(&Kind::Text);

pub(crate) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

pub(crate) fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(text.to_owned())
}

/// A model's own type of name.
pub(crate) fn name<N: FromStr<Err = pitcrew_model::InvalidName>>(text: &str) -> Result<N, String> {
    text.parse::<N>().map_err(|error| error.to_string())
}

pub(crate) fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{text}` is neither `true` nor `false`")),
    }
}

/// A number within the bounds of `kind`, which must be those of `T` or narrower.
pub(crate) fn whole<T: TryFrom<u64>>(text: &str, kind: &Kind) -> Result<T, String> {
    let Kind::Whole { min, max } = *kind else {
        unreachable!("only whole numbers have bounds");
    };
    let number = text.parse::<u64>().ok();
    number
        .filter(|number| (min..=max).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("`{text}` is not a number from {min} to {max}"))
}

pub(crate) fn one_of<'w>(text: &str, words: &[&'w str]) -> Result<&'w str, String> {
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(word);
    }
    Err(match nearest(text, words.iter().copied()) {
        Some(meant) => format!("`{text}` is not possible, did you mean `{meant}`?"),
        None => format!("`{text}` is not one of {}", quoted(words)),
    })
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

pub(crate) fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than 0".to_owned()),
        duration => Ok(duration),
    }
}

/// `6/h`, `1/10m`
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    let bad = || format!("`{text}` is not a rate; write it like 6/h or 1/10m");
    let (count, per) = text.split_once('/').ok_or_else(bad)?;
    let count: u32 = count.trim().parse().map_err(|_| bad())?;
    let per = per.trim();
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
        duration(per)?
    } else {
        duration(&format!("1{per}")).map_err(|_| bad())?
    };
    if count == 0 || per.is_zero() {
        return Err(format!(
            "`{text}` would never let anything through; to only watch, write `autonomy: observe`"
        ));
    }
    Ok(Rate { count, per })
}

pub(crate) fn percent(text: &str) -> Result<u8, String> {
    text.strip_suffix('%')
        .and_then(|number| number.trim().parse().ok())
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| format!("`{text}` is not a percentage from 0% to 100%"))
}

pub(crate) fn count(text: &str) -> Result<Count, String> {
    if text.ends_with('%') {
        return percent(text).map(Count::Percent);
    }
    text.parse()
        .map(Count::Targets)
        .map_err(|_| format!("`{text}` is neither a number of targets nor a percentage"))
}

pub(crate) fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let bad = || format!("`{text}` is not a size; write it like 10MiB");
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
        .ok_or_else(bad)?;
    let number: u64 = number.trim().parse().map_err(|_| bad())?;
    number
        .checked_mul(*unit)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(bad)
}

/// RFC 3339; seconds may be left out.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    let bad = || format!("`{text}` is not a time with its zone; write it like 2026-12-24T00:00Z");
    let time: jiff::Timestamp = text.parse().map_err(|_| bad())?;
    let millis = u64::try_from(time.as_millisecond()).map_err(|_| bad())?;
    Ok(Timestamp::from_millis(millis))
}

pub(crate) fn pattern(text: &str) -> Result<String, String> {
    match regex::Regex::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            let error = error.to_string();
            let last = error.lines().last().unwrap_or_default();
            let why = last.trim_start_matches("error: ");
            Err(format!("not a regular expression: {why}"))
        }
    }
}

/// Name and value of an HTTP header.
pub(crate) fn header_name(text: &str) -> Result<String, String> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(format!("`{text}` is not the name of a header"));
    }
    Ok(text.to_owned())
}

pub(crate) fn header_value(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("a header's value is one line".to_owned());
    }
    Ok(text.to_owned())
}

pub(crate) fn method(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(format!("`{text}` is not a method such as GET or HEAD"));
    }
    Ok(text.to_owned())
}

pub(crate) fn request_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` must begin with `/`"));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("`{text}` has white space; write it as %20"));
    }
    Ok(text.to_owned())
}
