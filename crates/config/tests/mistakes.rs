//! Every mistake that is found, as data: `mistakes.txt` holds small configurations and, after each, the
//! problems it has, as `[FILE:]LINE:COLUMN+LENGTH MESSAGE`; warnings begin with `warning`.
//!
//! `UPDATE=1 cargo nextest run -p pitcrew-config mistakes` writes what is found into the file, to be read.

#![expect(clippy::unwrap_used, reason = "a test ends where it panics")]

use std::fmt::Write as _;

use pitcrew_config::{Problem, parse};

const CASES: &str = include_str!("mistakes.txt");

struct Case<'c> {
    title: &'c str,
    files: Vec<(String, String)>,
    input: &'c str,
    expected: &'c str,
}

fn cases() -> Vec<Case<'static>> {
    let cases = CASES.split("\n## ").skip(1);
    cases
        .map(|case| {
            let (title, rest) = case.split_once('\n').unwrap();
            let (input, expected) = rest.split_once("\n=>\n").unwrap();
            let mut files = Vec::new();
            for (at, text) in input.split("\n-- next file --\n").enumerate() {
                let name = char::from(b"abc"[at]);
                files.push((format!("{name}.yaml"), format!("{text}\n")));
            }
            Case {
                title,
                files,
                input,
                expected: expected.trim_end(),
            }
        })
        .collect()
}

fn line(problem: &Problem) -> String {
    let Problem {
        file,
        line,
        column,
        length,
        message,
        ..
    } = problem;
    let file = if file == "a.yaml" {
        String::new()
    } else {
        format!("{file}:")
    };
    format!("{file}{line}:{column}+{length} {message}")
}

fn found(case: &Case<'_>) -> String {
    let env = |name: &str| (name == "SET").then(|| "value".to_owned());
    let lines: Vec<String> = match parse(&case.files, &env) {
        Err(problems) => problems.problems.iter().map(line).collect(),
        Ok(loaded) if loaded.warnings.is_empty() => vec!["fine".to_owned()],
        Ok(loaded) => {
            let warnings = loaded.warnings.iter();
            warnings
                .map(|problem| format!("warning {}", line(problem)))
                .collect()
        }
    };
    lines.join("\n")
}

#[test]
fn every_mistake_is_found_at_its_place() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut file = CASES.split("\n## ").next().unwrap().to_owned();
    let mut wrong = Vec::new();
    for case in cases() {
        let found = found(&case);
        write!(file, "\n## {}\n{}\n=>\n{found}\n", case.title, case.input).unwrap();
        if found != case.expected {
            wrong.push(format!(
                "{}\nexpected:\n{}\nfound:\n{found}\n",
                case.title, case.expected
            ));
        }
    }
    if update {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mistakes.txt");
        std::fs::write(path, file).unwrap();
    } else {
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
