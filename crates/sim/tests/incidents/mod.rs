//! The scenario files, and how a test reads them.

use std::{fs, path::Path};

use pitcrew_model::Production;
use pitcrew_sim::scenario::{Mistake, Scenario};

/// Name and text of each file, by name.
pub(crate) fn all() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/scenarios");
    let entries = fs::read_dir(&directory).expect("the scenarios");
    let mut files: Vec<(String, String)> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "scenario")
        })
        .map(|path| {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, fs::read_to_string(&path).expect("text"))
        })
        .collect();
    files.sort();
    files
}

pub(crate) fn read(text: &str) -> Result<Scenario, Vec<Mistake>> {
    Scenario::parse(text, None, &production)
}

pub(crate) fn production(yaml: &str) -> Result<Production, Vec<Mistake>> {
    let files = [("scenario".to_owned(), yaml.to_owned())];
    let loaded = pitcrew_config::parse(&files, &|_| None).map_err(|problems| {
        let problems = problems.problems.into_iter();
        problems
            .map(|problem| Mistake {
                line: problem.line,
                column: problem.column,
                message: problem.message,
            })
            .collect::<Vec<_>>()
    })?;
    Ok(loaded.production)
}
