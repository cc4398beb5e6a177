//! The report as one HTML file: no script, no network, light or dark as the reader likes it, and fit to print.
//!
//! It says nothing that the report does not say, and no time of day: the same simulation gives the same bytes.

use pitcrew_sim::{Disruption, Report};

use super::{
    figures::{
        ABOVE_A_LIMIT, Mood, by_count, grouped, headlines, is_above, sentence, setting, used,
    },
    html::{Cell, escaped, table},
    plot::{Plot, Series, Shape},
};

/// The others are in a table.
const PLOTTED: usize = 12;

pub(crate) fn page(report: &Report, hints: &[String], command: &str) -> String {
    let mut body = head(report, hints);
    body.push_str(&broken(report));
    body.push_str(&plots(report));
    body.push_str(&disruption_plots(report));
    body.push_str(&format!(
        "<div class=\"tables\">\n{}{}{}{}</div>\n",
        endings(report),
        orders(report),
        holds(report),
        repairs(report)
    ));
    body.push_str(&services(report));
    body.push_str(&faults(report));
    body.push_str(&disruption_table(report));
    body.push_str(&assumptions(report));
    let style = include_str!("page.css");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Pitcrew: {title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\
         <footer>To see it again: <code>{command}</code><br>Configuration <code>{configuration}</code></footer>\n\
         </body>\n</html>\n",
        title = escaped(&setting(report)),
        command = escaped(command),
        configuration = escaped(&report.configuration),
    )
}

fn head(report: &Report, hints: &[String]) -> String {
    let mut text = format!(
        "<h1>What this policy would do</h1>\n<p class=\"soft\">{}</p>\n<div class=\"heads\">\n",
        escaped(&setting(report))
    );
    for line in headlines(report) {
        let class = match line.mood {
            Mood::Good => " good",
            Mood::Bad => " bad",
            Mood::Plain => "",
        };
        let (about, said) = (escaped(line.about), escaped(&line.text));
        text.push_str(&format!(
            "<div class=\"head{class}\"><b>{about}</b>{said}</div>\n"
        ));
    }
    text.push_str("</div>\n");
    for hint in hints {
        text.push_str(&format!("<p class=\"hint\">{}</p>\n", escaped(hint)));
    }
    text
}

fn plots(report: &Report) -> String {
    let timeline = &report.timeline;
    let one = |title: &str, shape, class, values| Plot {
        title: title.to_owned(),
        shape,
        series: vec![Series {
            name: "",
            class,
            values,
        }],
        limit: None,
        step_seconds: timeline.step_seconds,
        tells: true,
    };
    let down = Plot {
        title: "Targets down".to_owned(),
        shape: Shape::Level,
        series: vec![
            Series {
                name: "without Pitcrew",
                class: "without",
                values: &timeline.down_without,
            },
            Series {
                name: "with Pitcrew",
                class: "with",
                values: &timeline.down_with,
            },
        ],
        limit: None,
        step_seconds: timeline.step_seconds,
        tells: true,
    };
    let figures = [
        down,
        one(
            "Orders in flight",
            Shape::Level,
            "with",
            &timeline.in_flight,
        ),
        one("Cases opened", Shape::Count, "with", &timeline.cases),
        one("People called", Shape::Count, "called", &timeline.called),
    ];
    let figures: String = figures.iter().map(Plot::figure).collect();
    format!("<h2>Over time</h2>\n<div class=\"plots\">\n{figures}</div>\n")
}

fn disruption_plots(report: &Report) -> String {
    let used = used(report);
    let shown = &used[..used.len().min(PLOTTED)];
    let figures: String = shown.iter().map(|used| disrupted(used, report)).collect();
    if figures.is_empty() {
        return String::new();
    }
    let mut said = Vec::new();
    if used.len() > PLOTTED {
        said.push(format!(
            "{PLOTTED} of {}; the others are below.",
            used.len()
        ));
    }
    if shown.iter().any(|used| is_above(used)) {
        said.push(ABOVE_A_LIMIT.to_owned());
    }
    let said = match said.is_empty() {
        true => String::new(),
        false => format!("<p class=\"soft\">{}</p>\n", said.join(" ")),
    };
    format!(
        "<h2>Disruption against its limits</h2>\n{said}<div class=\"plots small\">\n{figures}</div>\n"
    )
}

fn disrupted(used: &Disruption, report: &Report) -> String {
    let plot = Plot {
        title: format!("{}: {}", used.scope, used.limit),
        shape: Shape::Level,
        series: vec![Series {
            name: "",
            class: "with",
            values: &used.over_time,
        }],
        limit: Some(used.allowed),
        step_seconds: report.timeline.step_seconds,
        tells: false,
    };
    plot.figure()
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn broken(report: &Report) -> String {
    let rows = report.broken.iter().map(|broken| {
        vec![
            Cell::Number(u64::from(broken.invariant)),
            Cell::Number(broken.at_seconds),
            text(&broken.what),
        ]
    });
    table(
        "Broken invariants",
        &["invariant", "at second", "what"],
        rows.collect(),
    )
}

fn pairs(title: &str, headings: [&str; 2], counts: Vec<(&str, u64)>) -> String {
    let rows = counts
        .into_iter()
        .map(|(name, count)| vec![text(name), Cell::Number(count)]);
    table(title, &headings, rows.collect())
}

fn endings(report: &Report) -> String {
    let title = format!("{} cases", grouped(report.cases));
    pairs(&title, ["ended", "cases"], by_count(&report.ended))
}

fn orders(report: &Report) -> String {
    let title = format!("{} orders", grouped(report.orders.values().sum()));
    pairs(
        &title,
        ["action and outcome", "orders"],
        by_count(&report.orders),
    )
}

fn holds(report: &Report) -> String {
    pairs(
        "Limits that held",
        ["limit", "cases"],
        by_count(&report.held_by),
    )
}

fn repairs(report: &Report) -> String {
    let counts = vec![
        (
            "false: the target was well, but reported failing",
            report.false_repairs,
        ),
        (
            "missed: a step could have cured it, and no limit held",
            report.missed_repairs,
        ),
        ("breaker trips", report.breaker_trips),
    ];
    pairs("Repairs", ["", "times"], counts)
}

fn services(report: &Report) -> String {
    let headings = [
        "service",
        "targets",
        "cases",
        "orders",
        "people called",
        "target-minutes unavailable",
        "without Pitcrew",
    ];
    let rows = report.services.iter().map(|(name, tally)| {
        let minutes = tally.unavailable_target_minutes;
        let mut row = vec![text(name)];
        row.extend(
            [
                tally.targets,
                tally.cases,
                tally.orders,
                tally.called,
                minutes.with,
                minutes.without,
            ]
            .map(Cell::Number),
        );
        row
    });
    table("Services", &headings, rows.collect())
}

fn faults(report: &Report) -> String {
    let headings = [
        "fault",
        "targets struck",
        "believed",
        "cured by an order",
        "by itself",
        "by a person",
        "lasting at the end",
    ];
    let rows = report.faults.iter().map(|(name, tally)| {
        let mut row = vec![text(&name.replace('_', " "))];
        row.extend(
            [
                tally.targets,
                tally.confirmed,
                tally.cured,
                tally.by_itself,
                tally.by_person,
                tally.lasting,
            ]
            .map(Cell::Number),
        );
        row
    });
    table("Faults", &headings, rows.collect())
}

fn disruption_table(report: &Report) -> String {
    let rows = used(report).into_iter().map(|used| {
        vec![
            text(&used.scope),
            text(&used.limit),
            Cell::Number(used.most),
            Cell::Number(used.allowed),
        ]
    });
    table(
        "Limits that were used",
        &["scope", "limit", "most used", "allowed"],
        rows.collect(),
    )
}

fn assumptions(report: &Report) -> String {
    if report.assumptions.is_empty() {
        return String::new();
    }
    let items = report.assumptions.iter();
    let items: String = items
        .map(|said| format!("<li>{}</li>\n", escaped(&sentence(said))))
        .collect();
    format!("<section>\n<h2>What was assumed</h2>\n<ul>\n{items}</ul>\n</section>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::sample;

    #[test]
    fn the_page_needs_no_script_and_no_network_and_escapes_what_it_is_given() {
        let hint = "a < b".to_owned();
        let page = page(
            &sample::unsafe_report(),
            &[hint],
            "pitcrew simulate '<dir>'",
        );
        for outside in [
            "<script",
            "http:",
            "https:",
            "url(",
            "src=",
            "@import",
            "cache <b>",
            "'<dir>'",
        ] {
            assert!(!page.contains(outside), "{outside} is in the page");
        }
        for part in [
            "&lt;script&gt;alert(1)",
            "cache &lt;b&gt;",
            "a &lt; b",
            "minutes &amp; goes",
            "18,112 target-minutes unavailable instead of 143,310: 87% less",
            "web in zone=a: per_domain",
            "limit 12",
        ] {
            assert!(page.contains(part), "`{part}` is not in the page");
        }
    }

    #[test]
    fn every_tag_that_is_opened_is_closed() {
        let page = page(&sample::unsafe_report(), &["x".to_owned()], "pitcrew");
        let body = &page[page.find("<body>").unwrap()..];
        let mut open = Vec::new();
        for tag in body.split('<').skip(1) {
            let name = tag
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '/')
                .next()
                .unwrap();
            if let Some(closed) = name.strip_prefix('/') {
                if closed != "html" {
                    assert_eq!(open.pop(), Some(closed), "{tag}");
                }
            } else if name != "br" && !tag.split('>').next().unwrap().ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn an_empty_report_is_a_page() {
        assert!(page(&Report::default(), &[], "").ends_with("</html>\n"));
    }

    /// To look at it: `PITCREW_PAGE=/tmp/page.html cargo nextest run -p pitcrew the_sample`.
    #[test]
    fn the_sample_can_be_looked_at() {
        if let Some(file) = std::env::var_os("PITCREW_PAGE") {
            std::fs::write(
                file,
                page(&sample::report(), &[], "pitcrew simulate production"),
            )
            .unwrap();
        }
    }
}
