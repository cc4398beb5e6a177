//! `check`: is the configuration right, and what would it do?

use pitcrew_config::{LoadError, Loaded, Problem};
use pitcrew_model::{Labels, Production, Service, SourceKind, format_duration};
use serde::Serialize;

use crate::{
    arguments::{CheckOptions, General},
    failure::{Answer, Answered, Failure},
    output::{BOLD, GOOD, note, painted, print, print_json, stderr_has_colour},
    words::{counted, listed},
};

#[derive(Serialize)]
struct Checked {
    ok: bool,
    errors: Vec<ProblemPlace>,
    warnings: Vec<ProblemPlace>,
    services: usize,
    sources: usize,
    runs: usize,
    receivers: usize,
    digest: Option<String>,
}

#[derive(Serialize)]
struct ProblemPlace {
    file: String,
    line: usize,
    column: usize,
    length: usize,
    message: String,
    help: Option<String>,
}

impl From<&Problem> for ProblemPlace {
    fn from(problem: &Problem) -> Self {
        Self {
            file: problem.file.clone(),
            line: problem.line,
            column: problem.column,
            length: problem.length,
            message: problem.message.clone(),
            help: problem.help.clone(),
        }
    }
}

pub(crate) fn check(options: &CheckOptions, general: &General) -> Answered {
    match pitcrew_config::load(&options.dir) {
        Ok(loaded) => {
            if general.json {
                print_json(&checked(&loaded))?;
            } else {
                for warning in &loaded.warnings {
                    note(&format!("warning: {warning}"));
                }
                print(&summary(&loaded.production))?;
            }
            Ok(Answer::Yes)
        }
        Err(error) => {
            if general.json {
                print_json(&refused(&error))?;
            } else {
                note(error.render(stderr_has_colour()).trim_end());
            }
            Err(Failure::Configuration)
        }
    }
}

fn checked(loaded: &Loaded) -> Checked {
    let production = &loaded.production;
    Checked {
        ok: true,
        errors: Vec::new(),
        warnings: loaded.warnings.iter().map(ProblemPlace::from).collect(),
        services: production.services.len(),
        sources: production.sources.len(),
        runs: production.runs.len(),
        receivers: production.receivers.len(),
        digest: Some(production.digest.clone()),
    }
}

fn refused(error: &LoadError) -> Checked {
    let errors = match error {
        LoadError::Problems(problems) => problems.problems.iter().map(ProblemPlace::from).collect(),
        LoadError::Read { path, .. } | LoadError::NoFiles { path } => vec![ProblemPlace {
            file: path.display().to_string(),
            line: 1,
            column: 1,
            length: 0,
            message: error
                .render(false)
                .trim()
                .trim_start_matches("error: ")
                .to_owned(),
            help: None,
        }],
    };
    Checked {
        ok: false,
        errors,
        warnings: Vec::new(),
        services: 0,
        sources: 0,
        runs: 0,
        receivers: 0,
        digest: None,
    }
}

fn summary(production: &Production) -> String {
    let mut text = String::new();
    let known = known_targets(production);
    for service in &production.services {
        text.push_str(&service_summary(service, &known));
    }
    let mut lines = vec![
        ("find", source_names(production)),
        (
            "run",
            production
                .runs
                .iter()
                .map(|run| format!("{} × {}", run.name, run.instances))
                .collect(),
        ),
        (
            "notify",
            production
                .receivers
                .iter()
                .map(|receiver| receiver.name.to_string())
                .collect(),
        ),
    ];
    lines.retain(|(_, names)| !names.is_empty());
    for (what, names) in lines {
        text.push_str(&format!("{what}: {}\n", listed(&names)));
    }
    text.push_str(&format!(
        "{} {}, {} named by the files themselves\n",
        painted(GOOD, "right:"),
        counted(count(production.services.len()), "service"),
        counted(count(known.len()), "target"),
    ));
    text
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Targets that the files themselves name: those of static sources and of what Pitcrew runs.
fn known_targets(production: &Production) -> Vec<Labels> {
    let mut known: Vec<Labels> = pitcrew_server::supervised_targets(&production.runs)
        .into_iter()
        .map(|target| target.labels)
        .collect();
    for source in &production.sources {
        if let SourceKind::Static { targets } = &source.kind {
            known.extend(targets.iter().map(|_| source.labels.clone()));
        }
    }
    known
}

fn source_names(production: &Production) -> Vec<String> {
    let sources = production.sources.iter().map(|source| match &source.kind {
        SourceKind::Static { targets } => format!(
            "{} ({})",
            source.name,
            counted(count(targets.len()), "target")
        ),
        SourceKind::File { paths, .. } => format!("{} (files {})", source.name, paths.join(", ")),
        SourceKind::Http { url, .. } => format!("{} ({url})", source.name),
        SourceKind::Dns { names, .. } => format!("{} (DNS {})", source.name, names.join(", ")),
        SourceKind::Agents => format!("{} (enrolled hosts)", source.name),
    });
    sources.collect()
}

fn service_summary(service: &Service, known: &[Labels]) -> String {
    let selected = known
        .iter()
        .filter(|labels| service.select.selects(labels))
        .count();
    let mut text = format!(
        "{}  selects {}  autonomy {}  {}\n",
        painted(BOLD, service.name.as_str()),
        service.select.0,
        service.autonomy,
        match selected {
            0 => String::new(),
            selected => format!("{selected} known"),
        }
    );
    text.truncate(text.trim_end().len());
    text.push('\n');
    for test in &service.tests {
        text.push_str(&format!(
            "  test    {}: {} every {}, believed after {} failures\n",
            test.name,
            test.kind.name(),
            format_duration(test.interval),
            test.failure_threshold
        ));
    }
    for repair in &service.repairs {
        let when: Vec<String> = repair.when.iter().map(ToString::to_string).collect();
        let steps: Vec<String> = repair
            .steps
            .iter()
            .map(|step| step.action.to_string())
            .collect();
        text.push_str(&format!(
            "  repair  {}: when {} fails: {}\n",
            repair.name,
            listed(&when),
            steps.join(", then ")
        ));
    }
    text
}
