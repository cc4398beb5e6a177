//! `replay`: a record through the engine again. By the same policy, which must decide the same; or by another one,
//! beside what was done.

mod against;
mod words;

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read, Take},
    path::Path,
    sync::Arc,
};

use indicatif::{ProgressBar, ProgressBarIter, ProgressDrawTarget, ProgressStyle};
use pitcrew_sim::{
    record::{Reader, RecordError},
    replay::{Decisions, compare, reproduce, survey},
};
use serde::Serialize;

use crate::{
    arguments::{General, ReplayOptions},
    failure::{Answer, Answered, Failure},
    output::{note, print, print_json, stderr_has_colour},
};

use against::{Against, against};

pub(crate) fn replay(options: &ReplayOptions, general: &General) -> Answered {
    match &options.config {
        Some(directory) => other_policy(&options.record, directory, general),
        None => same_policy(options, general),
    }
}

/// As scripts get it.
#[derive(Serialize)]
struct Reproduced<'a> {
    #[serde(flatten)]
    reproduction: &'a pitcrew_sim::replay::Reproduction,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<&'a [Against]>,
}

fn same_policy(options: &ReplayOptions, general: &General) -> Answered {
    let file = Recorded::open(&options.record)?;
    let mut runs: Vec<Decisions> = Vec::new();
    let is_compared = options.data.is_some();
    let reproduction = file.read("replaying", |reader| {
        reproduce(reader, &mut |run| {
            if is_compared {
                runs.push(run);
            }
        })
    })?;
    let ledger = match &options.data {
        Some(directory) => Some(against(directory, &reproduction.runs, &runs)?),
        None => None,
    };
    if general.json {
        print_json(&Reproduced {
            reproduction: &reproduction,
            ledger: ledger.as_deref(),
        })?;
    } else {
        print(&words::reproduced(&reproduction, ledger.as_deref()))?;
    }
    let is_ledger_alike = ledger.is_none_or(|runs| runs.iter().all(Against::is_alike));
    let is_alike = reproduction.differences == 0 && is_ledger_alike;
    Ok(if is_alike { Answer::Yes } else { Answer::No })
}

fn other_policy(record: &Path, directory: &Path, general: &General) -> Answered {
    let loaded = pitcrew_config::load(directory).map_err(|error| {
        note(error.render(stderr_has_colour()).trim_end());
        Failure::Configuration
    })?;
    for warning in &loaded.warnings {
        note(&format!("warning: {warning}"));
    }
    let policy = Arc::new(loaded.production);
    let file = Recorded::open(record)?;
    let past = file.read("reading", survey)?;
    let comparison = file.read("comparing", |reader| {
        compare(reader, &past, Arc::clone(&policy))
    })?;
    if general.json {
        print_json(&comparison)?;
    } else {
        print(&words::compared(&comparison))?;
    }
    Ok(if comparison.is_alike() {
        Answer::Yes
    } else {
        Answer::No
    })
}

/// A record's file as long as it is now: a server may be writing it.
struct Recorded<'a> {
    path: &'a Path,
    bytes: u64,
}

type Input = BufReader<ProgressBarIter<Take<File>>>;

impl<'a> Recorded<'a> {
    fn open(path: &'a Path) -> Result<Self, Failure> {
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if !metadata.is_file() {
            let why = format!("{} is not a file", path.display());
            return Err(Failure::Usage(why));
        }
        Ok(Self {
            path,
            bytes: metadata.len(),
        })
    }

    fn read<T>(
        &self,
        doing: &'static str,
        through: impl FnOnce(&mut Reader<Input>) -> Result<T, RecordError>,
    ) -> Result<T, Failure> {
        let file = File::open(self.path).map_err(|error| unreadable(self.path, &error))?;
        let bar = progress_bar(doing, self.bytes);
        let input = BufReader::with_capacity(1 << 18, bar.wrap_read(file.take(self.bytes)));
        let read = Reader::new(input).and_then(|mut reader| through(&mut reader));
        bar.finish_and_clear();
        read.map_err(|error| Failure::Usage(format!("{}: {error}", self.path.display())))
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("failed to read {}: {error}", path.display()))
}

fn progress_bar(doing: &'static str, bytes: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left");
    bar.with_style(style.unwrap_or_else(|_invalid| ProgressStyle::default_bar()))
        .with_message(doing)
}
