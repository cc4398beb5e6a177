//! Files → production: the only place that reads a configuration's directory.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use pitcrew_model::{HostSettings, Production};
use sha2::{Digest, Sha256};

use crate::{
    check,
    place::{Span, TextFile},
    problem::{LoadError, Problem, Problems},
    read::{self, Draft},
    reader::Reader,
    render, tree,
};

/// A file larger than this is refused; a million static targets are a fraction of it.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub production: Production,
    /// What is probably not meant.
    pub warnings: Vec<Problem>,
    pub files: Vec<PathBuf>,
}

impl Loaded {
    /// Each warning with the line it is about; empty when there are none.
    #[must_use]
    pub fn render_warnings(&self, colour: bool) -> String {
        render::each(&self.warnings, render::Severity::Warning, colour)
    }
}

/// Reads a configuration: every `*.yaml` and `*.yml` of a directory, or one file. Hidden files and
/// subdirectories are not read. Relative paths in a file begin at its directory; `${ENV}` is the
/// environment of this process.
///
/// # Errors
/// A file can't be read, there is none, or what they say is wrong: then with every problem at once.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let files = files_of(path)?;
    if files.is_empty() {
        return Err(LoadError::NoFiles {
            path: path.to_owned(),
        });
    }
    with_texts(&files, |sources, variable| read_files(sources, variable))
}

/// Reads the configuration of a host, which is one file.
///
/// # Errors
/// It can't be read, or what it says is wrong: then with every problem at once.
pub fn load_host(path: &Path) -> Result<HostSettings, LoadError> {
    with_texts(&[path.to_owned()], |sources, variable| {
        let mut reader = Reader::new(sources, variable);
        let (roots, _complete) = trees(&mut reader, sources);
        let settings = roots
            .first()
            .map(|root| read::host::host(&mut reader, root));
        let (errors, _warnings) = reader.finish();
        match settings {
            Some(settings) if errors.problems.is_empty() => Ok(settings),
            Some(_) | None => Err(errors),
        }
    })
}

type Variable<'v> = &'v dyn Fn(&str) -> Option<String>;

/// All files as text, with the environment of this process.
fn with_texts<T>(
    files: &[PathBuf],
    read_all: impl FnOnce(&[TextFile<'_>], Variable<'_>) -> Result<T, Problems>,
) -> Result<T, LoadError> {
    let mut texts = Vec::new();
    let mut problems = Vec::new();
    for file in files {
        match text_of(file)? {
            Ok(text) => texts.push((file, file.display().to_string(), text)),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        let omitted = 0;
        return Err(Problems { problems, omitted }.into());
    }
    let mut sources = Vec::new();
    for (file, name, text) in &texts {
        let read = |source| LoadError::Read {
            path: (*file).clone(),
            source,
        };
        let absolute = std::path::absolute(file).map_err(read)?;
        let directory = absolute.parent().unwrap_or_else(|| Path::new("/"));
        sources.push(TextFile::new(name, text, directory));
    }
    let variable = |name: &str| std::env::var(name).ok();
    Ok(read_all(&sources, &variable)?)
}

/// The same from texts: the name of each file is shown in messages, and relative paths begin at the
/// directory it names. `env` gives the variables of the environment. Files that hold secrets are read.
///
/// # Errors
/// Everything that is wrong, in the order of the files.
pub fn parse(
    files: &[(String, String)],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Problems> {
    let sources: Vec<TextFile<'_>> = files
        .iter()
        .map(|(name, text)| {
            let directory = Path::new(name).parent().unwrap_or_else(|| Path::new(""));
            TextFile::new(name, text, directory)
        })
        .collect();
    read_files(&sources, env)
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let read = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    if !fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let file = entry.map_err(read)?.path();
        let is_hidden = file
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_yaml = file
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && !is_hidden && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// A file's text, or why it can't be one.
fn text_of(path: &Path) -> Result<Result<String, Problem>, LoadError> {
    let read = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    // Asked before it is opened: opening a pipe would wait for somebody to write.
    if !fs::metadata(path).map_err(read)?.is_file() {
        return Err(read(io::Error::other("it is not a regular file")));
    }
    let file = fs::File::open(path).map_err(read)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(read)?;
    Ok(String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..good]);
        let name = path.display().to_string();
        let file = TextFile::new(&name, &text, Path::new(""));
        let at = Span {
            file: 0,
            start: good,
            end: good,
        };
        Problem::at(&file, at, "not UTF-8 from here on", None)
    }))
}

fn read_files(
    files: &[TextFile<'_>],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Problems> {
    if files.is_empty() {
        let message = "there are no files".to_owned();
        return Err(Problem::of_file("", message, None).into());
    }
    let mut reader = Reader::new(files, env);
    let (roots, complete) = trees(&mut reader, files);
    let draft = read::production(&mut reader, &roots, complete);
    check::check(&mut reader, &draft);
    let (errors, warnings) = reader.finish();
    if !errors.problems.is_empty() {
        return Err(errors);
    }
    Ok(Loaded {
        production: finished(draft, digest(files)),
        warnings: warnings.problems,
        files: files.iter().map(|file| PathBuf::from(file.name)).collect(),
    })
}

/// The root of each file that has one, and whether every file was read to its end.
fn trees<'t>(reader: &mut Reader<'_>, files: &'t [TextFile<'_>]) -> (Vec<tree::Node<'t>>, bool) {
    let (mut roots, mut complete) = (Vec::new(), true);
    for (at, file) in files.iter().enumerate() {
        if let Some((span, message)) = not_text(at, file.text) {
            reader.error(span, message);
            complete = false;
            continue;
        }
        let tree = tree::read(at, file.text);
        complete &= tree.complete;
        for fault in tree.faults {
            reader.fault(fault);
        }
        roots.extend(tree.root.or_else(|| tree.complete.then(|| nothing(at))));
    }
    (roots, complete)
}

/// A file without any content.
fn nothing<'t>(file: usize) -> tree::Node<'t> {
    tree::Node {
        at: Span {
            file,
            start: 0,
            end: 0,
        },
        value: tree::Value::Null,
    }
}

/// What makes a file unreadable before its YAML is looked at.
fn not_text(file: usize, text: &str) -> Option<(Span, String)> {
    let at = |start, end| Span { file, start, end };
    if text.len() > FILE_BYTES_MAX {
        let message = format!("larger than {} MiB", FILE_BYTES_MAX >> 20);
        return Some((at(0, 0), message));
    }
    let is_bad = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    let (start, bad) = text.char_indices().find(|(_, c)| is_bad(*c))?;
    let message = format!(
        "a control character, U+{:04X}, can't be in a configuration",
        u32::from(bad)
    );
    Some((at(start, start + bad.len_utf8()), message))
}

fn finished(draft: Draft, digest: String) -> Production {
    let receivers = draft.receivers.iter();
    Production {
        sources: draft.sources.into_iter().map(|read| read.source).collect(),
        receivers: receivers.filter_map(|read| read.receiver()).collect(),
        services: draft
            .services
            .into_iter()
            .map(|read| Arc::new(read.service))
            .collect(),
        power: draft.power,
        runs: draft.runs.into_iter().map(|read| read.run).collect(),
        limits: draft.limits,
        server: draft.server,
        metrics: draft.metrics,
        scrapes: draft.scrapes,
        digest,
    }
}

/// Hex SHA-256 of each file's name within its directory, length and content.
fn digest(files: &[TextFile<'_>]) -> String {
    let mut digest = Sha256::new();
    for file in files {
        let name = Path::new(file.name).file_name().unwrap_or_default();
        for part in [name.as_encoded_bytes(), file.text.as_bytes()] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
