//! Pages of one target, one after the other.

use pitcrew_ingest::text;
use pitcrew_model::RelabelRule;

use super::*;
use crate::telemetry::{
    GATHERED_BYTES_MAX,
    scrape::plan::tests::scrape,
    tests::{samples, start},
};

const LABELS: [(&str, &str); 2] = [("instance", "i"), ("job", "j")];

struct Target {
    telemetry: Arc<Telemetry>,
    pages: Pages,
    at_ms: i64,
    _data: tempfile::TempDir,
}

impl Target {
    fn by(scrape: pitcrew_model::Scrape) -> Self {
        let data = tempfile::tempdir().unwrap();
        let telemetry = start(data.path());
        let plan = Arc::new(Plan::new(Arc::new(scrape)).unwrap());
        Self {
            at_ms: telemetry.now_ms() - 60_000,
            telemetry,
            pages: Pages::new(plan, &Labels::from_pairs(LABELS), GATHERED_BYTES_MAX),
            _data: data,
        }
    }

    fn says(&mut self, text: &str) -> Result<Scraped, String> {
        self.at_ms += 1_000;
        let scraped = Scraped {
            at_ms: self.at_ms,
            ..Scraped::default()
        };
        let format = Format::Text(text::Format::Prometheus);
        let page = Ok((format, text.as_bytes()));
        self.pages.take(&self.telemetry, page, scraped)
    }

    fn change(&mut self, scrape: pitcrew_model::Scrape) {
        let plan = Plan::new(Arc::new(scrape)).unwrap();
        self.pages.change(Arc::new(plan));
    }

    /// The samples of the only series of that name.
    fn samples(&self, name: &str) -> String {
        let found = samples(&self.telemetry, name);
        assert_eq!(found.len(), 1, "{found:?}");
        let labels = format!("{{__name__=\"{name}\", instance=\"i\", job=\"j\"}} ");
        found[0]
            .strip_prefix(&labels)
            .unwrap_or(&found[0])
            .to_owned()
    }
}

fn dropping(name: &str) -> pitcrew_model::Scrape {
    let mut scrape = scrape();
    scrape.metric_relabel.push(RelabelRule {
        source_labels: vec!["__name__".to_owned()],
        separator: ";".to_owned(),
        target_label: String::new(),
        regex: name.to_owned(),
        modulus: 0,
        replacement: String::new(),
        action: "drop".to_owned(),
    });
    scrape
}

#[test]
fn a_page_over_its_limit_of_samples_is_not_read_any_further() {
    let mut limited = scrape();
    limited.limits.samples_max = Some(2);
    let mut target = Target::by(limited);
    assert_eq!(target.says("a 1\nb 1\n").unwrap().kept, 2);
    let error = target.says("a 1\nb 1\nc 1\nd 1\ne 1\n").unwrap_err();
    assert!(error.contains("`sample_max` 2"), "{error}");
    assert_eq!(target.samples("up"), "1 0");
    assert_eq!(target.samples("scrape_samples_scraped"), "2 3");
    assert_eq!(target.samples("a"), "1 end");
}

#[test]
fn a_page_that_takes_more_memory_than_a_page_may_is_refused_with_the_setting_that_helps() {
    let mut target = Target::by(scrape());
    target.pages.bytes_max = 10_000;
    let page: String = (0..1_000).map(|number| format!("a{number} 1\n")).collect();
    let error = target.says(&page).unwrap_err();
    assert!(
        error.contains("10000 bytes") && error.contains("memory"),
        "{error}"
    );
    assert_eq!(target.samples("up"), "0");
    assert_eq!(samples(&target.telemetry, "a0"), [""; 0]);
}

#[test]
fn series_go_on_when_a_rule_changes_and_only_what_the_rule_drops_ends() {
    let mut target = Target::by(scrape());
    target.says("a 1\nb 1\nc 1\n").unwrap();
    target.change(dropping("b"));
    target.says("a 2\nb 2\n").unwrap();
    target.change(scrape());
    target.says("a 3\nb 3\n").unwrap();
    for (name, expected) in [
        ("a", "1 2 3"),
        ("b", "1 end 3"),
        ("c", "1 end"),
        ("up", "1 1 1"),
    ] {
        assert_eq!(target.samples(name), expected, "{name}");
    }
}

#[test]
fn a_target_that_goes_ends_what_the_last_page_had_and_what_no_page_came_to_end() {
    let mut target = Target::by(scrape());
    target.says("a 1\nb 1\n").unwrap();
    target.says("a 2\n").unwrap();
    target.change(dropping("a"));
    target.at_ms += 1_000;
    let Target {
        telemetry,
        pages,
        at_ms,
        ..
    } = target;
    pages.end(&telemetry, at_ms);
    for (name, expected) in [("a", "1 2 end"), ("b", "1 end"), ("up", "1 1 end")] {
        let found = samples(&telemetry, name);
        assert!(
            found.len() == 1 && found[0].ends_with(&format!("}} {expected}")),
            "{found:?}"
        );
    }
}

#[test]
fn targets_that_describe_a_family_differently_do_not_write_it_down_again_and_again() {
    let mut target = Target::by(scrape());
    let plan = Arc::clone(&target.pages.naming.plan);
    let mut other = Pages::new(
        plan,
        &Labels::from_pairs([("instance", "other")]),
        GATHERED_BYTES_MAX,
    );
    let catalogue = |target: &Target| {
        let files = std::fs::read_dir(target._data.path()).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let catalogues = files.filter(|path| path.to_string_lossy().contains("catalogue"));
        catalogues
            .map(|path| std::fs::metadata(path).unwrap().len())
            .sum::<u64>()
    };
    let mut lengths = Vec::new();
    for _ in 0..10 {
        target.says("# HELP a What one says.\na 1\n").unwrap();
        let page = b"# HELP a What another says.\na 1\n";
        let format = Format::Text(text::Format::Prometheus);
        let scraped = Scraped {
            at_ms: target.at_ms,
            ..Scraped::default()
        };
        other
            .take(&target.telemetry, Ok((format, page)), scraped)
            .unwrap();
        lengths.push(catalogue(&target));
    }
    assert!(lengths[0] > 0, "{lengths:?}");
    assert!(
        lengths.iter().all(|length| *length == lengths[0]),
        "{lengths:?}"
    );
    let known = target.telemetry.store().unwrap().metadata(Some("a"), 1);
    assert_eq!(known[0].help, "What one says.");
}

#[test]
fn what_rules_decided_is_forgotten_with_its_series_also_of_pages_that_are_refused() {
    let mut target = Target::by(dropping("b"));
    let mut round = 0;
    let mut decided = |target: &mut Target, series: usize| {
        round += 1;
        let dropped = (0..series).map(|number| format!("b{{n=\"{round} {number}\"}} 1\n"));
        let page: String = dropped.chain(["no page\n".to_owned()]).collect();
        target.says(&page).unwrap_err();
        target.pages.decided.len()
    };
    assert_eq!(decided(&mut target, 1_000), 1_000);
    for _ in 0..5 {
        assert!(decided(&mut target, 1_000) <= 2 * 1_000 + 1_000);
    }
    target.pages.bytes_max = 64 << 10;
    for _ in 0..5 {
        assert!(decided(&mut target, 1_000) <= 256);
    }
    assert_eq!(
        target.samples("scrape_samples_scraped"),
        [" 1000"; 11].concat()[1..]
    );
}
