//! How a process was started, so that it can be started again.
//!
//! Most programs leave their arguments as they were. nginx and Redis write a title over them, each in its own
//! way, and a program may have been called by a name that means something (`redis-server` is a link to
//! `redis-check-rdb`). What can't be known is said, and a command that would be a guess isn't written.

use std::path::{Path, PathBuf};

use super::{machine::Process, redis::Settings};

/// A command that starts the process again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) arguments: Vec<String>,
    /// What was recovered and how, for a comment.
    pub(super) notes: Vec<String>,
}

const WHERE_PROGRAMS_ARE: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The error says why there is none.
pub(super) fn recover(process: &Process, redis: Option<&Settings>) -> Result<CommandLine, String> {
    let title = process.title();
    if let Some(command) = title.strip_prefix("nginx: master process ") {
        return of_nginx(process, command);
    }
    if title.starts_with("nginx: ") {
        return Err(format!(
            "its master process is gone and it calls itself `{title}`"
        ));
    }
    match process.program() {
        Some(program) if is_redis(program) && is_title(process) => of_redis(process, &title, redis),
        _ => as_it_is(process),
    }
}

pub(super) fn is_redis(program: &str) -> bool {
    ["redis-", "valkey-", "keydb-"]
        .iter()
        .any(|name| program.starts_with(name))
}

/// Whether the first argument is no longer the program: titles are one text with spaces.
fn is_title(process: &Process) -> bool {
    let rest_is_empty = process.arguments.iter().skip(1).all(Vec::is_empty);
    rest_is_empty && process.title().contains(' ')
}

fn as_it_is(process: &Process) -> Result<CommandLine, String> {
    if process.arguments.is_empty() {
        return Err("its arguments can't be seen from here".to_owned());
    }
    let title = process.title();
    if is_title(process) && find_program(process, &title).is_none() {
        return Err(format!(
            "it has written a title over its arguments: `{title}`"
        ));
    }
    let text = |argument: &Vec<u8>| String::from_utf8(argument.clone());
    let arguments: Result<Vec<String>, _> = process.arguments.iter().map(text).collect();
    let Ok(mut arguments) = arguments else {
        return Err("its arguments are not UTF-8, which a configuration can't hold".to_owned());
    };
    let mut notes = vec!["The command is the one it runs with.".to_owned()];
    arguments[0] = program(process, &arguments[0].clone(), &mut notes)?;
    Ok(CommandLine { arguments, notes })
}

/// nginx joins its arguments by spaces. Its options are known, and so is which of them take a value.
fn of_nginx(process: &Process, command: &str) -> Result<CommandLine, String> {
    let mut notes = vec![
        "nginx shows its command only as a title, without quotes; this is what it was.".to_owned(),
    ];
    let mut words = command.split(' ');
    let called = words.next().unwrap_or_default();
    let mut arguments = vec![program(process, called, &mut notes)?];
    arguments.extend(nginx_options(words));
    Ok(CommandLine { arguments, notes })
}

/// A value goes on until the next option: `-g daemon off; pid /run/p;`.
fn nginx_options<'w>(words: impl Iterator<Item = &'w str>) -> Vec<String> {
    const WITH_VALUE: [&str; 5] = ["-c", "-p", "-e", "-g", "-s"];
    let mut arguments: Vec<String> = Vec::new();
    let mut is_in_value = false;
    for word in words {
        if WITH_VALUE.contains(&word) {
            arguments.push(word.to_owned());
            is_in_value = false;
        } else if let (true, Some(value)) = (is_in_value, arguments.last_mut()) {
            value.push(' ');
            value.push_str(word);
        } else {
            is_in_value = arguments
                .last()
                .is_some_and(|last| WITH_VALUE.contains(&last.as_str()));
            arguments.push(word.to_owned());
        }
    }
    arguments
}

/// Redis shows `redis-server 127.0.0.1:6379`; where its settings come from only it can say.
fn of_redis(
    process: &Process,
    title: &str,
    settings: Option<&Settings>,
) -> Result<CommandLine, String> {
    let mut notes = Vec::new();
    let called = title.split(' ').next().unwrap_or_default();
    let program = program(process, called, &mut notes)?;
    let Some(settings) = settings else {
        return Err(
            "Redis shows its command only as a title, and wants a password before it tells more"
                .to_owned(),
        );
    };
    let mut arguments = vec![program];
    match &settings.file {
        Some(file) => {
            notes.push(match settings.is_guess {
                false => "Redis named this file as the one its settings come from.".to_owned(),
                true => "Redis wants a password before it names the file of its settings; this is a guess, the one \
                         usual file with its port. Check it before `act`."
                    .to_owned(),
            });
            arguments.push(file.clone());
            arguments.extend(settings.beside_file());
        }
        None => {
            notes.push(
                "Redis shows its command only as a title and has no file of settings; these are the settings \
                 it gave that differ from its defaults. Others may be missing: compare with how it is started."
                    .to_owned(),
            );
            arguments.extend(settings.as_arguments());
        }
    }
    Ok(CommandLine { arguments, notes })
}

/// The path to start the program by. The name it was called by is kept where it leads to the program, since
/// some programs act by their name.
fn program(process: &Process, called: &str, notes: &mut Vec<String>) -> Result<String, String> {
    let exe = process
        .exe
        .as_deref()
        .ok_or("its program can't be seen from here")?;
    if process.is_exe_replaced {
        notes.push(
            "Its program has been replaced since it was started: a restart starts the new one."
                .to_owned(),
        );
    }
    let path = match find_program(process, called) {
        Some(path) => path,
        None if Path::new(called).file_name() == exe.file_name() => exe.to_owned(),
        None => {
            notes.push(format!(
                "It calls itself `{called}`, which isn't found; this is its program."
            ));
            exe.to_owned()
        }
    };
    let text = path
        .to_str()
        .ok_or("the path of its program is not UTF-8")?;
    Ok(text.to_owned())
}

/// The file that `called` means for the process, if that is its program.
fn find_program(process: &Process, called: &str) -> Option<PathBuf> {
    let exe = process.exe.as_deref()?;
    let leads_there =
        |path: &PathBuf| path == exe || path.canonicalize().is_ok_and(|real| real == exe);
    if called.contains('/') {
        let path = process
            .directory
            .as_deref()
            .unwrap_or_else(|| Path::new("/"))
            .join(called);
        return Some(path.components().collect()).filter(leads_there);
    }
    if called.is_empty() {
        return None;
    }
    let own = process.variable("PATH").unwrap_or(WHERE_PROGRAMS_ARE);
    let directories = own.split(':').chain(WHERE_PROGRAMS_ARE.split(':'));
    let candidates = directories.filter(|directory| directory.starts_with('/'));
    candidates
        .map(|directory| Path::new(directory).join(called))
        .find(leads_there)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn process(exe: &str, arguments: &[&str]) -> Process {
        Process {
            exe: Some(PathBuf::from(exe)),
            arguments: arguments
                .iter()
                .map(|argument| argument.as_bytes().to_vec())
                .collect(),
            directory: Some(PathBuf::from("/usr")),
            ..Process::default()
        }
    }

    fn shell() -> PathBuf {
        Path::new("/bin/sh").canonicalize().unwrap()
    }

    #[test]
    fn nginx_is_read_out_of_its_title() {
        let nginx = |title: &str| {
            let found = recover(&process("/opt/nginx", &[title]), None);
            found.map(|found| found.arguments.join("|"))
        };
        for (title, command) in [
            ("nginx: master process nginx", "/opt/nginx"),
            (
                "nginx: master process /opt/nginx -c /tmp/n.conf",
                "/opt/nginx|-c|/tmp/n.conf",
            ),
            (
                "nginx: master process nginx -g daemon on; master_process on;",
                "/opt/nginx|-g|daemon on; master_process on;",
            ),
            (
                "nginx: master process nginx -p /srv/a b/ -c c -e stderr",
                "/opt/nginx|-p|/srv/a b/|-c|c|-e|stderr",
            ),
            ("nginx: master process nginx -q -c c", "/opt/nginx|-q|-c|c"),
        ] {
            assert_eq!(nginx(title).as_deref(), Ok(command));
        }
        assert!(nginx("nginx: worker process").is_err());
    }

    #[test]
    fn the_name_it_was_called_by_is_kept_where_it_leads_to_the_program() {
        let exe = shell();
        let exe = exe.to_str().unwrap();
        let first = |called: &str| {
            recover(&process(exe, &[called, "-c", "x y"]), None)
                .unwrap()
                .arguments
        };
        assert_eq!(first("sh")[1..], ["-c", "x y"]);
        assert!(["/usr/bin/sh", "/bin/sh"].contains(&first("sh")[0].as_str()));
        assert_eq!(first("bin/../bin/sh")[0], "/usr/bin/../bin/sh");
        assert_eq!(first("-other-name")[0], exe);
    }

    #[test]
    fn a_title_that_nobody_knows_is_no_command() {
        let found = recover(
            &process(
                "/usr/bin/ruby",
                &["puma 5.0 (tcp://0.0.0.0:3000) [app]", ""],
            ),
            None,
        );
        assert!(found.unwrap_err().contains("puma 5.0"));
        assert!(recover(&process("/usr/bin/ruby", &[]), None).is_err());
    }

    proptest! {
        #[test]
        fn no_title_panics_the_reader(title in ".{0,80}", exe in "/[a-z:-]{1,20}") {
            recover(&process(&exe, &[&title]), None).ok();
            recover(&process("/usr/bin/redis-server", &[&title]), None).ok();
            recover(&process("/usr/sbin/nginx", &[&format!("nginx: master process {title}")]), None).ok();
        }
    }
}
