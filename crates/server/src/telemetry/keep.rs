//! What is configured about old samples, as the store takes it.

use pitcrew_model::MetricsSettings;
use pitcrew_promql::labels::Matcher;
use pitcrew_tsdb::{Downsample, Keep};

use super::millis;

pub(super) fn keep(settings: &MetricsSettings) -> Vec<Keep> {
    let rules = settings.keep.iter();
    rules
        .map(|rule| Keep {
            select: matchers(&rule.select),
            for_ms: millis(rule.time),
        })
        .collect()
}

pub(super) fn downsample(settings: &MetricsSettings) -> Vec<Downsample> {
    let rules = settings.downsample.iter();
    rules
        .map(|rule| Downsample {
            select: rule.select.as_deref().map(matchers).unwrap_or_default(),
            after_ms: millis(rule.after),
            every_ms: millis(rule.every),
        })
        .collect()
}

fn matchers(selector: &str) -> Vec<Matcher> {
    pitcrew_config::selector(selector).expect("it was checked when the configuration was read")
}

#[cfg(test)]
mod tests {
    use pitcrew_promql::labels::MatchOp;

    use super::*;

    #[test]
    fn the_store_is_told_what_is_configured() {
        let text = r#"
metrics:
  keep: [{ select: '{job=~"a|b", x!="y"}', for: 1y }]
  downsample:
    - { after: 7d, every: 5m }
    - { select: up, after: 8d, every: 10m }
"#;
        let files = [("pitcrew.yaml".to_owned(), text.to_owned())];
        let loaded = pitcrew_config::parse(&files, &|_| None).unwrap();
        let settings = &loaded.production.metrics;
        let matcher = |name, op, value| Matcher::new(name, op, value).unwrap();
        const DAY_MS: i64 = 86_400_000;
        let kept = Keep {
            select: vec![
                matcher("job", MatchOp::Matches, "a|b"),
                matcher("x", MatchOp::NotEqual, "y"),
            ],
            for_ms: 365 * DAY_MS,
        };
        assert_eq!(keep(settings), [kept]);
        let rule = |select, after_ms, every_ms| Downsample {
            select,
            after_ms,
            every_ms,
        };
        let up = vec![Matcher::equal("__name__", "up")];
        assert_eq!(
            downsample(settings),
            [
                rule(vec![], 7 * DAY_MS, 300_000),
                rule(up, 8 * DAY_MS, 600_000)
            ]
        );
    }
}
