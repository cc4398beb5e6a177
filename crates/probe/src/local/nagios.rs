//! Nagios plugins: what is run, and what its exit code and output say.
//!
//! The argument vector is the configuration's and is never seen by a shell. Placeholders are replaced
//! once, in arguments only: what discovery says may choose what is asked, never which program runs.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use pitcrew_model::{NagiosTest, Verdict};
use rustix::fs::{Access, access};

use super::{
    perfdata,
    plugin::{self, Ending, Output},
};
use crate::{Answer, Question};

/// Where distributions put plugins, none of which is in PATH.
const PLUGIN_DIRECTORIES: [&str; 3] = [
    "/usr/lib/nagios/plugins",
    "/usr/lib64/nagios/plugins",
    "/usr/lib/monitoring-plugins",
];
const PATH_BY_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) async fn ask(question: &Question<'_>, test: &NagiosTest) -> Answer {
    match run(question, test).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn run(question: &Question<'_>, test: &NagiosTest) -> Result<Answer, Answer> {
    let Some((name, templates)) = test.command.split_first() else {
        return Err(Answer::unknown("the command is empty"));
    };
    let directories = search_path();
    let program = find(name, &directories)?;
    let arguments = templates
        .iter()
        .map(|template| fill(question, template))
        .collect::<Result<Vec<_>, _>>()?;
    let path = env::join_paths(&directories).map_err(|error| Answer::unknown(error.to_string()))?;
    question.progress.reached("the plugin has not ended");
    let output = plugin::run(&program, &arguments, &path)
        .await
        .map_err(|error| Answer::unknown(format!("{}: {error}", program.display())))?;
    Ok(judge(name, &output))
}

/// PATH's absolute directories, then the plugins' own. The plugin gets the same list as its PATH.
fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| PATH_BY_DEFAULT.into());
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .chain(PLUGIN_DIRECTORIES.map(PathBuf::from))
        .collect()
}

/// A name without `/` is looked for in `directories`; anything else is a path as it stands.
fn find(name: &str, directories: &[PathBuf]) -> Result<PathBuf, Answer> {
    let error = |path: &Path, error: io::Error| {
        Answer::unknown(format!("can't run {}: {error}", path.display()))
    };
    if name.contains('/') {
        let path = std::path::absolute(name).map_err(|cause| error(Path::new(name), cause))?;
        return match access(&path, Access::EXEC_OK) {
            Ok(()) => Ok(path),
            Err(cause) => Err(error(&path, cause.into())),
        };
    }
    directories
        .iter()
        .map(|directory| directory.join(name))
        .find(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok())
        .ok_or_else(|| {
            let places: Vec<_> = directories
                .iter()
                .map(|directory| directory.display().to_string())
                .collect();
            Answer::unknown(format!(
                "no program `{name}`: looked in {}",
                places.join(", ")
            ))
        })
}

/// Replaces `{address}`, `{host}`, `{port}`, `{target}` and every label's `{name}`. Braces around
/// anything that can't be a label's name are left as they are.
fn fill(question: &Question<'_>, template: &str) -> Result<String, Answer> {
    let (mut filled, mut rest) = (String::with_capacity(template.len()), template);
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        match rest[1..].split_once('}') {
            Some((name, after)) if is_name(name) => {
                filled.push_str(&value(question, name)?);
                rest = after;
            }
            _ => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

pub(crate) fn value(question: &Question<'_>, name: &str) -> Result<String, Answer> {
    match name {
        "target" => Ok(question.target.id.to_string()),
        "host" => question.host().map(str::to_owned),
        "port" => question.port(None).map(|port| port.to_string()),
        "address" => match &question.target.address {
            Some(address) => Ok(address.to_string()),
            None => Err(Answer::unknown("the target has no address")),
        },
        label => match question.target.labels.get(label) {
            Some(value) => Ok(value.to_string()),
            None => Err(Answer::unknown(format!(
                "the test wants {{{label}}}, but the target has no such label"
            ))),
        },
    }
}

fn judge(name: &str, output: &Output) -> Answer {
    let (text, figures) = split_output(&String::from_utf8_lossy(&output.stdout));
    let verdict = match output.ending {
        Ending::Exit(0) => Verdict::Pass,
        Ending::Exit(1) => Verdict::Warn,
        Ending::Exit(2) => Verdict::Fail,
        Ending::Exit(3) => Verdict::Unknown,
        ref other => {
            let said = first_line(output, &text);
            let words = match said.as_str() {
                "" => format!("{name} {other}"),
                said => format!("{name} {other}: {said}"),
            };
            return Answer::unknown(words);
        }
    };
    let words = match first_line(output, &text) {
        said if said.is_empty() => format!("{name} {} and said nothing", output.ending),
        said => said,
    };
    let mut answer = Answer::new(verdict, words);
    answer.perfdata = perfdata::parse(&figures);
    answer
}

/// What it said first: on standard output, or else where programs complain.
fn first_line(output: &Output, text: &str) -> String {
    let said = match text {
        "" => String::from_utf8_lossy(&output.stderr).into_owned(),
        text => text.to_owned(),
    };
    said.lines().next().unwrap_or_default().trim().to_owned()
}

/// The first line's text, and all perfdata: after `|` in the first line, and from the first `|` of the
/// further lines to the end.
fn split_output(output: &str) -> (String, String) {
    let (first, further) = output.split_once('\n').unwrap_or((output, ""));
    let (text, mut figures) = match first.split_once('|') {
        Some((text, figures)) => (text, figures.to_owned()),
        None => (first, String::new()),
    };
    if let Some((_, more)) = further.split_once('|') {
        figures.push(' ');
        figures.push_str(more);
    }
    (text.trim().to_owned(), figures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn output(ending: Ending, stdout: &str, stderr: &str) -> Output {
        Output {
            ending,
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn exit_codes_are_verdicts_and_the_first_line_is_the_evidence() {
        for (code, verdict) in [
            (0, Verdict::Pass),
            (1, Verdict::Warn),
            (2, Verdict::Fail),
            (3, Verdict::Unknown),
        ] {
            let answer = judge(
                "check",
                &output(Ending::Exit(code), "words | a=1\nlong", ""),
            );
            assert_eq!(
                (answer.verdict, answer.evidence.as_str()),
                (verdict, "words")
            );
        }
    }

    #[test]
    fn what_is_no_plugins_exit_is_unknown_with_the_reason() {
        for (ending, words) in [
            (Ending::Exit(127), "check exited with 127: oh no"),
            (Ending::Signal(11), "check was killed by signal 11: oh no"),
            (
                Ending::Flood,
                "check wrote more than 16 MiB and was killed: oh no",
            ),
        ] {
            let answer = judge("check", &output(ending, "", "oh no\n"));
            assert_eq!(answer, Answer::unknown(words));
        }
    }

    #[test]
    fn a_silent_plugin_is_named() {
        let answer = judge("check", &output(Ending::Exit(2), "", ""));
        assert_eq!(answer, Answer::fail("check exited with 2 and said nothing"));
    }

    #[test]
    fn perfdata_of_long_output_is_gathered() {
        let (text, figures) =
            split_output("DISK OK | /=1MB\nlong one\nlong two | /boot=2MB\n/home=3MB");
        assert_eq!(text, "DISK OK");
        let figures = perfdata::parse(&figures);
        let labels: Vec<_> = figures.iter().map(|figure| figure.label.as_str()).collect();
        assert_eq!(labels, ["/", "/boot", "/home"]);
    }

    proptest! {
        #[test]
        fn no_output_panics_the_reader(text in "\\PC*", code in 0i32..256) {
            judge("check", &output(Ending::Exit(code), &text, &text));
        }
    }
}
