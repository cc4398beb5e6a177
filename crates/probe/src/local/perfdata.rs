//! The figures that Nagios plugins print after `|`: `'label'=value[UOM];[warn];[crit];[min];[max]`.
//!
//! An item that isn't well formed is left out and the rest is read, because one plugin's bad figure must
//! not cost the others. Format: the Monitoring Plugins' development guidelines.

/// One figure of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Perfdata {
    pub label: String,
    /// `None` is `U`: the plugin could not measure it.
    pub value: Option<f64>,
    /// As printed: empty, `s`, `ms`, `us`, `%`, `B`, `KB`, `c` and so on.
    pub unit: String,
    pub warn: Option<AlertRange>,
    pub critical: Option<AlertRange>,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

/// Alerts when the value lies outside `start..=end`, or inside where `is_inside`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRange {
    /// Negative infinity for `~`.
    pub start: f64,
    /// Infinity when it is left out.
    pub end: f64,
    pub is_inside: bool,
}

/// All well-formed figures of the text after `|`, in its order.
pub(super) fn parse(mut text: &str) -> Vec<Perfdata> {
    let mut figures = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return figures;
        }
        let (label, rest) = split_label(text);
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        if let Some(figure) = label.and_then(|label| figure(label, &rest[..end])) {
            figures.push(figure);
        }
        text = &rest[end..];
    }
}

/// The label and what follows its `=`. Without a label, what follows the word that isn't one.
fn split_label(text: &str) -> (Option<String>, &str) {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return match text[..end].split_once('=') {
            Some((label, _)) => (Some(label.to_owned()), &text[label.len() + 1..]),
            None => (None, &text[end..]),
        };
    };
    let (mut label, mut rest) = (String::new(), quoted);
    while let Some(at) = rest.find('\'') {
        label.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        // Two quotes in a row are one quote of the label.
        match rest.strip_prefix('\'') {
            Some(after) => {
                label.push('\'');
                rest = after;
            }
            None => {
                return match rest.strip_prefix('=') {
                    Some(after) => (Some(label), after),
                    None => (None, rest),
                };
            }
        }
    }
    (None, "")
}

fn figure(label: String, fields: &str) -> Option<Perfdata> {
    if label.is_empty() {
        return None;
    }
    let mut fields = fields.split(';');
    let measured = fields.next()?;
    let (value, unit) = match measured {
        "U" => (None, ""),
        _ => {
            let (value, unit) = measured.split_at(number_length(measured));
            (Some(number(value)?), unit)
        }
    };
    let mut next = || fields.next().filter(|field| !field.is_empty());
    Some(Perfdata {
        label,
        value,
        unit: unit.to_owned(),
        warn: next().and_then(range),
        critical: next().and_then(range),
        min: next().and_then(number),
        max: next().and_then(number),
    })
}

/// How much of the front of `text` is a decimal number, with an exponent where a digit follows its `e`.
fn number_length(text: &str) -> usize {
    let is_mantissa = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.');
    let mantissa = text.find(|c| !is_mantissa(c)).unwrap_or(text.len());
    let exponent = text[mantissa..]
        .strip_prefix(['e', 'E'])
        .map(|rest| rest.strip_prefix(['-', '+']).unwrap_or(rest));
    match exponent {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit()) => {
            let after = digits.trim_start_matches(|c: char| c.is_ascii_digit());
            text.len() - after.len()
        }
        _ => mantissa,
    }
}

/// Numbers as people write them; `inf` and `nan`, which Rust would read too, are none here.
fn number(text: &str) -> Option<f64> {
    (number_length(text) == text.len()).then(|| text.parse().ok())?
}

/// `10`, `10:`, `~:10`, `10:20`, `@10:20`.
fn range(text: &str) -> Option<AlertRange> {
    let (is_inside, bounds) = match text.strip_prefix('@') {
        Some(bounds) => (true, bounds),
        None => (false, text),
    };
    let (start, end) = match bounds.split_once(':') {
        Some((start, end)) => (start, end),
        None => ("0", bounds),
    };
    Some(AlertRange {
        start: match start {
            "~" => f64::NEG_INFINITY,
            start => number(start)?,
        },
        end: match end {
            "" => f64::INFINITY,
            end => number(end)?,
        },
        is_inside,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(range: &AlertRange) -> String {
        let at = if range.is_inside { "@" } else { "" };
        let start = match range.start {
            f64::NEG_INFINITY => "~".to_owned(),
            start => start.to_string(),
        };
        let end = match range.end {
            f64::INFINITY => String::new(),
            end => end.to_string(),
        };
        format!("{at}{start}:{end}")
    }

    fn printed(figure: &Perfdata) -> String {
        let number = |number: Option<f64>| number.map_or_else(String::new, |n| n.to_string());
        let range = |range: &Option<AlertRange>| range.as_ref().map_or_else(String::new, written);
        format!(
            "'{}'={}{};{};{};{};{}",
            figure.label.replace('\'', "''"),
            figure
                .value
                .map_or_else(|| "U".to_owned(), |n| n.to_string()),
            figure.unit,
            range(&figure.warn),
            range(&figure.critical),
            number(figure.min),
            number(figure.max),
        )
    }

    fn plain() -> impl Strategy<Value = f64> {
        (-1_000_000i32..1_000_000).prop_map(|n| f64::from(n) / 64.0)
    }

    fn ranges() -> impl Strategy<Value = AlertRange> {
        (
            prop_oneof![Just(f64::NEG_INFINITY), plain()],
            prop_oneof![Just(f64::INFINITY), plain()],
            any::<bool>(),
        )
            .prop_map(|(start, end, is_inside)| AlertRange {
                start,
                end,
                is_inside,
            })
    }

    fn figures() -> impl Strategy<Value = Perfdata> {
        let unit = prop_oneof![Just(""), Just("s"), Just("%"), Just("MB"), Just("c")];
        let option = proptest::option::of::<BoxedStrategy<f64>>;
        (
            "[ -~]{1,20}",
            option(plain().boxed()),
            unit,
            proptest::option::of(ranges()),
            proptest::option::of(ranges()),
            option(plain().boxed()),
            option(plain().boxed()),
        )
            .prop_map(|(label, value, unit, warn, critical, min, max)| Perfdata {
                label,
                unit: if value.is_some() { unit } else { "" }.to_owned(),
                value,
                warn,
                critical,
                min,
                max,
            })
    }

    #[test]
    fn what_real_plugins_print_is_read() {
        let read = parse(
            "load1=0.260;15.000;30.000;0; /=2643MB;5948;5958;0;5968 'a ''b'' c'=U time=0.000012s;;;0.000000;10.0",
        );
        let labels: Vec<_> = read.iter().map(|figure| figure.label.as_str()).collect();
        assert_eq!(labels, ["load1", "/", "a 'b' c", "time"]);
        assert_eq!((read[1].value, read[1].unit.as_str()), (Some(2643.0), "MB"));
        assert_eq!(read[1].warn.as_ref().map(|warn| warn.end), Some(5948.0));
        assert_eq!((read[2].value, read[3].max), (None, Some(10.0)));
    }

    #[test]
    fn a_bad_figure_does_not_cost_the_others() {
        let read = parse("nonsense =1 a=b 'open=1 x=2");
        assert!(read.is_empty(), "{read:?}");
        let read = parse("nonsense a=b c=inf d=1.5e-3s 'q'x=1 good=1e");
        let labels: Vec<_> = read.iter().map(|figure| figure.label.as_str()).collect();
        assert_eq!(labels, ["d", "good"]);
        assert_eq!((read[0].value, read[0].unit.as_str()), (Some(0.0015), "s"));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(figures in proptest::collection::vec(figures(), 0..5)) {
            let text: Vec<String> = figures.iter().map(printed).collect();
            prop_assert_eq!(parse(&text.join(" ")), figures);
        }

        #[test]
        fn no_text_panics_the_parser(text in ".{0,200}") {
            parse(&text);
        }

        #[test]
        fn no_near_miss_panics_the_parser(text in "[a-c'=;:@~0-9.U% |-]{0,80}") {
            parse(&text);
        }
    }
}
