//! `metrics.keep` and `metrics.downsample`: what becomes of samples as they age.

use std::time::Duration;

use pitcrew_model::{DownsampleRule, KeepRule, MetricsSettings, format_duration};
use pitcrew_promql::{
    labels::Matcher,
    parser::{ExprKind, TimeModifiers, parse},
};

use crate::{
    fields::Fields,
    place::Span,
    reader::Reader,
    shape::{Kind, Shape, Syntax, optional, required},
    values,
};

const SELECTOR: Kind = Kind::Syntax(&Syntax {
    expected: "a selector such as `{__name__=~\"node_.*\"}`",
    pattern: None,
    may_be_number: false,
});

pub(crate) const KEEP: Shape = Shape::new(
    "keep rule",
    "How long some series are kept.",
    &[
        required("select", SELECTOR, "Which series, as in PromQL."),
        required(
            "for",
            values::DURATION,
            "How long, instead of `retention`; longer or shorter.",
        ),
    ],
)
.refusing(&[("match", "write `select`"), ("retention", "write `for`")]);

pub(crate) const DOWNSAMPLE: Shape = Shape::new(
    "downsample rule",
    "Of old samples the last one of each interval stays, as it is.",
    &[
        optional("select", SELECTOR, "Which series, as in PromQL. Default: all."),
        required(
            "after",
            values::DURATION,
            "How old samples are when they are left out.",
        ),
        required(
            "every",
            values::DURATION,
            "The interval; a multiple of all shorter ones. Of several for a series the longest decides.",
        ),
    ],
)
.refusing(&[
    ("match", "write `select`"),
    ("interval", "write `every`"),
    ("resolution", "write `every`"),
]);

/// The conditions of a selector: one that says when to look selects samples, not series.
///
/// # Errors
/// It is none.
pub fn selector(text: &str) -> Result<Vec<Matcher>, String> {
    let parsed = parse(text).map_err(|error| error.to_string())?;
    match parsed.kind {
        ExprKind::Selector(selector)
            if selector.time == TimeModifiers::default() && selector.extension.is_none() =>
        {
            Ok(selector.matchers)
        }
        _ => Err("it must be a selector and no more, such as `{__name__=~\"node_.*\"}`".to_owned()),
    }
}

fn selector_text(text: &str) -> Result<String, String> {
    selector(text).map(|_| text.to_owned())
}

/// What is kept for a time of its own.
pub(crate) fn keep(reader: &mut Reader<'_>, metrics: &Fields<'_>) -> Vec<KeepRule> {
    let mut rules: Vec<KeepRule> = Vec::new();
    for node in metrics.list(reader, "keep") {
        let Some(fields) = reader.fields(node, &KEEP) else {
            continue;
        };
        let select = fields.value(reader, "select", selector_text);
        let time = fields.value(reader, "for", values::some_duration);
        let Some((select, time)) = select.zip(time) else {
            continue;
        };
        if rules.iter().any(|rule| rule.select == select) {
            let message = format!("`{select}` is decided by the first rule that says it");
            reader.error(fields.place_of("select"), message);
        }
        rules.push(KeepRule { select, time });
    }
    rules
}

/// `settings`: all else that is said of metrics.
pub(crate) fn downsample(
    reader: &mut Reader<'_>,
    metrics: &Fields<'_>,
    settings: &MetricsSettings,
) -> Vec<DownsampleRule> {
    let mut rules: Vec<DownsampleRule> = Vec::new();
    for node in metrics.list(reader, "downsample") {
        let Some(fields) = reader.fields(node, &DOWNSAMPLE) else {
            continue;
        };
        let after = fields.value(reader, "after", values::some_duration);
        let every = fields.value(reader, "every", values::some_duration);
        let select = fields.value(reader, "select", selector_text);
        let Some((after, every)) = after.zip(every) else {
            continue;
        };
        let rule = DownsampleRule {
            select,
            after,
            every,
        };
        check(reader, &fields, settings, &rule);
        check_beside(reader, &fields, &rules, &rule);
        rules.push(rule);
    }
    rules
}

fn check(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    settings: &MetricsSettings,
    rule: &DownsampleRule,
) {
    let DownsampleRule { after, every, .. } = *rule;
    if every > after {
        let help = format!("write `after: {}` or more", format_duration(every));
        reader.error_with_help(
            fields.place_of("every"),
            "`every` is longer than `after`",
            help,
        );
    }
    let kept = settings.keep.iter().map(|keep| keep.time);
    let longest = kept.fold(settings.retention, Duration::max);
    if after >= longest {
        let message = format!("nothing is kept longer than {}", format_duration(longest));
        reader.error(fields.place_of("after"), message);
    }
    let lookback = settings.query.lookback;
    if every > lookback {
        reader.warn(
            fields.place_of("every"),
            format!(
                "`every` is longer than a sample counts as current (`query.lookback`, {}): plain values have gaps there",
                format_duration(lookback)
            ),
            format!(
                "ask for `last_over_time(…[{}])`, and for rates over twice that",
                format_duration(every)
            ),
        );
    }
}

/// What is left must not depend on which of two rules came first, and each must have an effect.
fn check_beside(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    others: &[DownsampleRule],
    rule: &DownsampleRule,
) {
    let at: Span = fields.place_of("every");
    for other in others {
        let (short, long) = (rule.every.min(other.every), rule.every.max(other.every));
        if !long.as_millis().is_multiple_of(short.as_millis()) {
            let (short, long) = (format_duration(short), format_duration(long));
            reader.error_with_help(
                at,
                format!("`{long}` is no multiple of `{short}`"),
                format!("write intervals of which each is a multiple of the shorter ones, such as `{short}` and ten times that"),
            );
        }
        let later = |one: &DownsampleRule, two: &DownsampleRule| {
            one.after >= two.after && one.every <= two.every
        };
        if rule.select == other.select && (later(rule, other) || later(other, rule)) {
            reader.error_with_help(
                at,
                "of this rule and another one for the same series one has no effect",
                "what is older must have a longer `every`",
            );
        }
    }
}
