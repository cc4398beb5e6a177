//! `metrics import`, `metrics export` and `metrics backup`: samples between files and the server's metrics store.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{
    arguments::{ExportOptions, General, ImportOptions, SampleFormat},
    client::Client,
    failure::{Answer, Answered, Failure},
    output::{GOOD, note, output_failed, painted, print, print_json},
    query::now_ms,
    words::counted,
};

#[derive(Debug, Deserialize)]
struct Imported {
    data: Counts,
}

#[derive(Debug, Serialize, Deserialize)]
struct Counts {
    samples: u64,
    duplicates: u64,
    new_series: u64,
    exemplars: u64,
    refused: Refused,
}

#[derive(Debug, Serialize, Deserialize)]
struct Refused {
    count: u64,
    examples: Vec<String>,
}

pub(crate) fn import(options: ImportOptions, general: &General) -> Answered {
    let is_stdin = options.file.as_os_str() == "-";
    let format = match options.format {
        Some(format) => format,
        None if is_stdin => {
            return Err(Failure::usage(
                "say what comes: --format jsonl, prometheus or openmetrics",
            ));
        }
        None => format_of(&options.file).map_err(|error| unreadable(&options.file, &error))?,
    };
    let opened = match is_stdin {
        true => io::stdin().as_fd().try_clone_to_owned().map(File::from),
        false => File::open(&options.file),
    };
    let file = opened.map_err(|error| unreadable(&options.file, &error))?;
    let query = [("format", name(format))];
    let imported: Imported = Client::new(general)?.upload(&["import"], &query, file)?;
    let counts = imported.data;
    for example in &counts.refused.examples {
        note(&format!("refused: {example}"));
    }
    if general.json {
        print_json(&counts)?;
    } else {
        print(&told(&counts))?;
    }
    Ok(match counts.refused.count {
        0 => Answer::Yes,
        _ => Answer::No,
    })
}

fn told(counts: &Counts) -> String {
    let mut text = format!(
        "{} {} of {} new series",
        painted(GOOD, "stored:"),
        counted(counts.samples, "sample"),
        counts.new_series
    );
    for (count, what) in [
        (counts.exemplars, "exemplars"),
        (counts.duplicates, "samples were there already"),
        (counts.refused.count, "refused"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("failed to read {}: {error}", path.display()))
}

fn name(format: SampleFormat) -> String {
    let value = format.to_possible_value();
    value.expect("no format is hidden").get_name().to_owned()
}

/// By the name's end; otherwise JSON lines begin with a brace, and OpenMetrics ends with its mark.
fn format_of(path: &Path) -> io::Result<SampleFormat> {
    use io::{Read, Seek, SeekFrom};
    match path.extension().and_then(|end| end.to_str()) {
        Some("jsonl" | "ndjson" | "json") => return Ok(SampleFormat::Jsonl),
        Some("om" | "openmetrics") => return Ok(SampleFormat::Openmetrics),
        Some("prom") => return Ok(SampleFormat::Prometheus),
        Some(_) | None => {}
    }
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(16).read_to_end(&mut start)?;
    if start.trim_ascii_start().starts_with(b"{\"metric\"") {
        return Ok(SampleFormat::Jsonl);
    }
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(16)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(match end.trim_ascii_end().ends_with(b"# EOF") {
        true => SampleFormat::Openmetrics,
        false => SampleFormat::Prometheus,
    })
}

pub(crate) fn export(options: ExportOptions, general: &General) -> Answered {
    let now_ms = now_ms();
    let mut query = vec![("format", name(options.format))];
    query.extend(
        options
            .selectors
            .into_iter()
            .map(|selector| ("match[]", selector)),
    );
    for (name, time) in [("start", options.from), ("end", options.to)] {
        query.extend(time.map(|time| (name, time.seconds(now_ms))));
    }
    let mut stdout = BufWriter::new(io::stdout().lock());
    Client::new(general)?.copy(&["export"], &query, &mut stdout)?;
    stdout.flush().map_err(|error| output_failed(&error))?;
    Ok(Answer::Yes)
}

#[derive(Debug, Deserialize)]
struct BackedUp {
    data: Backup,
}

#[derive(Debug, Serialize, Deserialize)]
struct Backup {
    directory: PathBuf,
}

pub(crate) fn backup(name: Option<String>, general: &General) -> Answered {
    let name = name.unwrap_or_else(|| {
        jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H-%M-%SZ")
            .to_string()
    });
    let query = [("name", name)];
    let made: BackedUp = Client::new(general)?.post_query(&["metrics", "backup"], &query)?;
    if general.json {
        print_json(&made.data)?;
    } else {
        print(&made.data.directory.display().to_string())?;
    }
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_format_is_seen_from_its_name_or_its_ends() {
        let directory = tempfile::tempdir().unwrap();
        for (name, content, expected) in [
            ("a.jsonl", "", SampleFormat::Jsonl),
            ("b", "{\"metric\":{}}\n", SampleFormat::Jsonl),
            ("c", "up 1\n# EOF\n", SampleFormat::Openmetrics),
            ("d", "{\"http.requests\"} 1\n", SampleFormat::Prometheus),
            ("e.prom", "# EOF", SampleFormat::Prometheus),
            ("f", "", SampleFormat::Prometheus),
        ] {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            assert_eq!(format_of(&path).unwrap(), expected, "{name}");
        }
    }
}
