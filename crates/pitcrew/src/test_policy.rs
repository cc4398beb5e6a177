//! `test-policy`: does the policy decide in every incident as its owners expect?
//!
//! Scenarios are files beside the configuration; nothing is started, asked or written. They run on the engine and
//! the interlock that `serve` runs.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use pitcrew_model::{Production, Service};
use pitcrew_sim::scenario::{Failure as Unfulfilled, Mistake, Scenario};
use serde::Serialize;

use crate::{
    arguments::{General, TestPolicyOptions},
    failure::{Answer, Answered, Failure},
    output::{BAD, FAINT, GOOD, note, painted, print, print_json, stderr_has_colour},
    words::counted,
};

/// Read at most; more than a scenario may have, so that too long a one is refused and not cut.
const BYTES_MAX: u64 = 8 << 20;

#[derive(Serialize)]
struct Tested {
    ok: bool,
    scenarios: Vec<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    file: String,
    /// The comment at its beginning.
    title: String,
    ok: bool,
    failure: Option<Unfulfilled>,
    /// What is wrong with the text; then it was not run.
    mistakes: Vec<Mistake>,
}

pub(crate) fn test_policy(options: &TestPolicyOptions, general: &General) -> Answered {
    let loaded = pitcrew_config::load(&options.dir).map_err(|error| {
        note(error.render(stderr_has_colour()).trim_end());
        Failure::Configuration
    })?;
    let files = if options.files.is_empty() {
        beside(&options.dir)?
    } else {
        options.files.clone()
    };
    if files.is_empty() {
        return Err(Failure::Usage(first_scenario(
            &options.dir,
            &loaded.production,
        )));
    }
    let scenarios: Vec<Outcome> = files
        .iter()
        .map(|file| outcome(file, &loaded.production))
        .collect();
    let tested = Tested {
        ok: scenarios.iter().all(|outcome| outcome.ok),
        scenarios,
    };
    if general.json {
        print_json(&tested)?;
    } else {
        print(&told(&tested))?;
    }
    let mut outcomes = tested.scenarios.iter();
    match tested.ok {
        true => Ok(Answer::Yes),
        false if outcomes.any(|outcome| !outcome.mistakes.is_empty()) => {
            Err(Failure::Configuration)
        }
        false => Ok(Answer::No),
    }
}

/// Every `*.scenario` of the configuration's directory, by name.
fn beside(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let directory = match dir.parent() {
        _ if dir.is_dir() => dir,
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let failed = |error: io::Error| {
        Failure::Usage(format!("failed to read {}: {error}", directory.display()))
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let is_scenario = file.extension().is_some_and(|is| is == "scenario");
        if is_scenario && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn outcome(file: &Path, policy: &Production) -> Outcome {
    let mut outcome = Outcome {
        file: file.display().to_string(),
        title: String::new(),
        ok: false,
        failure: None,
        mistakes: Vec::new(),
    };
    let parsed = text(file).and_then(|text| {
        let read = |yaml: &str| production(&outcome.file, yaml);
        Scenario::parse(&text, Some(policy), &read)
    });
    match parsed {
        Err(mistakes) => outcome.mistakes = mistakes,
        Ok(scenario) => {
            outcome.failure = scenario.run().err().map(|failure| *failure);
            outcome.ok = outcome.failure.is_none();
            outcome.title = scenario.title;
        }
    }
    outcome
}

fn text(file: &Path) -> Result<String, Vec<Mistake>> {
    let wrong = |message: String| {
        vec![Mistake {
            line: 1,
            column: 1,
            message,
        }]
    };
    let mut text = Vec::new();
    fs::File::open(file)
        .and_then(|file| file.take(BYTES_MAX).read_to_end(&mut text))
        .map_err(|error| wrong(format!("failed to read it: {error}")))?;
    String::from_utf8(text).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        vec![Mistake {
            line: text.matches('\n').count() + 1,
            column: text
                .rsplit('\n')
                .next()
                .map_or(0, |last| last.chars().count())
                + 1,
            message: "not UTF-8 from here on".to_owned(),
        }]
    })
}

/// A scenario's own production.
fn production(file: &str, yaml: &str) -> Result<Production, Vec<Mistake>> {
    let variable = |name: &str| std::env::var(name).ok();
    let files = [(file.to_owned(), yaml.to_owned())];
    match pitcrew_config::parse(&files, &variable) {
        Ok(loaded) => Ok(loaded.production),
        Err(problems) => Err(problems
            .problems
            .into_iter()
            .map(|problem| Mistake {
                line: problem.line,
                column: problem.column,
                message: match problem.help {
                    Some(help) => format!("{} ({help})", problem.message),
                    None => problem.message,
                },
            })
            .collect()),
    }
}

fn told(tested: &Tested) -> String {
    let mut text = String::new();
    for outcome in &tested.scenarios {
        let (style, mark) = if outcome.ok {
            (GOOD, "✓")
        } else {
            (BAD, "✗")
        };
        let name = Path::new(&outcome.file).file_name();
        let name = name.map_or_else(
            || outcome.file.as_str().into(),
            |name| name.to_string_lossy(),
        );
        let title = first_sentence(&outcome.title);
        let line = format!("{} {name}  {}", painted(style, mark), painted(FAINT, title));
        text.push_str(line.trim_end());
        text.push('\n');
        for mistake in &outcome.mistakes {
            text.push_str(&format!("  {}:{mistake}\n", outcome.file));
        }
        if let Some(failure) = &outcome.failure {
            let failure = failure.in_file(&outcome.file);
            text.extend(failure.lines().map(|line| format!("  {line}\n")));
        }
    }
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let all = count(tested.scenarios.len());
    let hold = count(tested.scenarios.iter().filter(|outcome| outcome.ok).count());
    text.push_str(&if tested.ok && all == 1 {
        "1 scenario holds\n".to_owned()
    } else if tested.ok {
        format!("all {} hold\n", counted(all, "scenario"))
    } else {
        format!("{hold} of {} hold\n", counted(all, "scenario"))
    });
    text
}

fn first_sentence(title: &str) -> &str {
    title
        .split_inclusive(". ")
        .next()
        .unwrap_or(title)
        .trim_end()
}

/// What to write when there is none yet: it holds for this very policy.
fn first_scenario(dir: &Path, policy: &Production) -> String {
    let directory = dir.display();
    let Some(service) = policy.services.first() else {
        return format!(
            "{directory} has no *.scenario file, and its configuration has no service to test"
        );
    };
    format!(
        "{directory} has no *.scenario file. Begin with this one, as first.scenario:\n\n{}",
        example(service, policy)
    )
}

fn example(service: &Service, policy: &Production) -> String {
    let run = policy.runs.iter().find(|run| {
        let mut wanted = service.select.0.iter();
        wanted.all(|(name, value)| run.labels.get(name) == Some(value))
    });
    let name = run.map_or(service.name.as_str(), |run| run.name.as_str());
    let mut labels: Vec<String> = service
        .select
        .0
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let domains = service.domains.iter();
    let further = domains.filter(|label| service.select.0.get(label).is_none());
    labels.extend(further.map(|label| format!("{label}=a,b,c")));
    format!(
        "\
# What happens when one target of {} goes down?
targets:
  {name}-1..3  {}

at 1m      {name}-1 down
within 1h  expect line \"{name}-1 confirmed\"
",
        service.name,
        labels.join(" ")
    )
}
