//! `init`: looks at this machine and writes a configuration that only watches, ready to serve.
//!
//! The way: [`machine`] (sockets, processes) and [`containers`] → [`survey`] (what is one thing, what is left
//! alone) → [`hello`] (what speaks there) → [`questions`] (the tests, asked once) and [`runner`] (what would
//! bring it back) → [`document`] (the file) and [`report`]. It reads and asks, never more than a client would;
//! it changes nothing but the one new file, and never overwrites.

mod command_line;
mod containers;
mod document;
mod hello;
mod left_alone;
mod machine;
mod main_port;
mod names;
mod questions;
mod redis;
mod report;
mod runner;
mod survey;
mod yaml;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::{
    arguments::{General, InitOptions},
    failure::{Answer, Answered, Failure},
    output::{print, print_json},
};

const FILE: &str = "pitcrew.yaml";

pub(crate) fn init(options: &InitOptions, general: &General) -> Answered {
    let (directory, file) = (options.dir.as_path(), options.dir.join(FILE));
    refuse_existing(directory)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::Refused(format!("failed to start: {error}")))?;
    let only = options.port.iter().copied().collect();
    let survey = runtime
        .block_on(Box::pin(survey::survey(&only)))
        .map_err(|error| {
            Failure::Refused(format!("this machine can't be looked at: /proc: {error}"))
        })?;
    let text = document::document(&survey, directory);
    validate(&file, &text)?;
    write(directory, &file, &text)?;
    if general.json {
        print_json(&report::for_scripts(&survey, &file))?;
    } else {
        print(&report::for_people(&survey, &file, directory))?;
    }
    Ok(Answer::Yes)
}

/// Files of a directory are one configuration: a new one beside others would change what they mean.
fn refuse_existing(directory: &Path) -> Result<(), Failure> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::Usage(format!("{}: {error}", directory.display()))),
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml")
        })
        .collect();
    files.sort();
    match files.first() {
        None => Ok(()),
        Some(file) => Err(Failure::Usage(format!(
            "{} is there already and is left as it is; choose another directory: pitcrew init DIR",
            file.display()
        ))),
    }
}

/// What it writes must be right: anything else is a bug, and then nothing is written.
fn validate(file: &Path, text: &str) -> Result<(), Failure> {
    let name = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let files = [(name.display().to_string(), text.to_owned())];
    match pitcrew_config::parse(&files, &|_| None) {
        Ok(_) => Ok(()),
        Err(problems) => Err(Failure::Bug(format!(
            "the configuration it would write is wrong:\n{problems}\n{text}"
        ))),
    }
}

/// Readable by its owner alone: commands of processes may hold secrets.
fn write(directory: &Path, file: &Path, text: &str) -> Result<(), Failure> {
    let written = fs::create_dir_all(directory)
        .and_then(|()| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(file)
        })
        .and_then(|mut new| new.write_all(text.as_bytes()).and_then(|()| new.sync_all()));
    written.map_err(|error| Failure::Usage(format!("{} can't be written: {error}", file.display())))
}
