//! What is checked and laid out before a program is started: everything that can be known to fail is found
//! here, while nothing has happened yet.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use crate::user::{User, environment};

/// A program as it will be started. Made by [`Launch::prepare`], which says what is wrong before anything is
/// touched.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    command: Vec<String>,
    user: Option<User>,
    directory: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

impl Launch {
    /// `extra` wins over the clean environment. The error names what is missing; nothing was done.
    pub(crate) fn prepare(
        command: &[String],
        user: Option<&str>,
        directory: Option<&Path>,
        extra: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let Some(program) = command.first().filter(|program| !program.is_empty()) else {
            return Err("the command is empty".to_owned());
        };
        if command.iter().any(|argument| argument.contains('\0')) {
            return Err(format!("an argument of `{program}` holds a NUL character"));
        }
        let user = user.map(User::lookup).transpose()?;
        if let Some(directory) = directory
            && !directory.is_dir()
        {
            return Err(format!("{} is not a directory", directory.display()));
        }
        let mut variables = environment(user.as_ref());
        for (name, value) in extra {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(format!("`{name}` can't be set in an environment"));
            }
            variables.retain(|(have, _)| *have != name);
            variables.push((name, value));
        }
        let launch = Self {
            command: command.to_vec(),
            user,
            directory: directory.map(Path::to_owned),
            environment: variables,
        };
        launch.find_program(program)?;
        Ok(launch)
    }

    /// Adds or replaces a variable whose name and value are known to be fit.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(have, _)| have != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn program(&self) -> &str {
        &self.command[0]
    }

    /// The program itself, in a process group of its own, with no input.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        self.dress(&mut command);
        command
    }

    /// A shell that waits for a line on its input and then becomes the program; see `supervise::gate`.
    pub(crate) fn behind(&self, script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "pitcrew-gate"]);
        command.args(&self.command);
        self.dress(&mut command);
        command
    }

    fn dress(&self, command: &mut Command) {
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        // With a user given, the standard library also clears the supplementary groups.
        if let Some(user) = self.user.as_ref().filter(|user| !user.is_own()) {
            command.uid(user.uid).gid(user.gid);
        }
    }

    fn find_program(&self, program: &str) -> Result<(), String> {
        let path = self
            .environment
            .iter()
            .find(|(name, _)| name == "PATH")
            .map_or("", |(_, value)| value.as_str());
        let base = self.directory.as_deref().unwrap_or_else(|| Path::new(""));
        let candidates: Vec<PathBuf> = if program.contains('/') {
            vec![base.join(program)]
        } else {
            path.split(':')
                .map(|directory| base.join(directory).join(program))
                .collect()
        };
        let Some(file) = candidates.iter().find(|file| file.exists()) else {
            let place = if program.contains('/') {
                ""
            } else {
                " in PATH"
            };
            return Err(format!("program `{program}` not found{place}"));
        };
        let is_file = fs::metadata(file).is_ok_and(|data| data.is_file());
        if !is_file || rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_err() {
            return Err(format!("{} can't be executed", file.display()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(command: &[&str], user: Option<&str>, directory: Option<&str>) -> String {
        let command: Vec<String> = command.iter().map(ToString::to_string).collect();
        match Launch::prepare(&command, user, directory.map(Path::new), []) {
            Ok(_) => "fine".to_owned(),
            Err(error) => error,
        }
    }

    #[test]
    fn what_can_be_known_to_fail_is_said_before_anything_happens() {
        for (command, user, directory, expected) in [
            (&["sh"][..], None, None, "fine"),
            (&["./sh"], None, Some("/bin"), "fine"),
            (&[], None, None, "the command is empty"),
            (
                &["no-such-program-x"],
                None,
                None,
                "program `no-such-program-x` not found in PATH",
            ),
            (&["/no/such"], None, None, "program `/no/such` not found"),
            (
                &["/etc/passwd"],
                None,
                None,
                "/etc/passwd can't be executed",
            ),
            (&["/etc"], None, None, "/etc can't be executed"),
            (
                &["sh"],
                Some("nobody-x"),
                None,
                "user `nobody-x` is not in /etc/passwd",
            ),
            (&["sh"], None, Some("/no/dir"), "/no/dir is not a directory"),
            (
                &["sh", "a\0b"],
                None,
                None,
                "an argument of `sh` holds a NUL character",
            ),
        ] {
            assert_eq!(prepare(command, user, directory), expected, "{command:?}");
        }
    }
}
