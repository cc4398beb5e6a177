//! The state file of one instance: what survives Pitcrew.
//!
//! `NAME.json` in the supervisor's directory (bytes of the name other than letters, digits, `.`, `_`, `-`
//! written as `%XX`), replaced whole and on the disk before the program may begin. A file that can't be read
//! is doubt, not an empty file: whether a person had stopped the instance is then not known.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use pitcrew_model::{OperationId, TargetId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Answer,
    fence::write_durably,
    process::{Identity, stat},
};

use super::Verb;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Desired {
    #[default]
    Running,
    /// By an order to stop it; only an order starts it again.
    Stopped,
}

/// The process that is the instance: the leader of its process group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Leader {
    pub(crate) identity: Identity,
    pub(crate) session: u32,
    pub(crate) boot_id: String,
    /// That started it: an order's, or `configuration`.
    pub(crate) operation: OperationId,
    pub(crate) spec_digest: String,
    /// Where its words begin in the log.
    pub(crate) log_from: u64,
}

impl Leader {
    pub(crate) fn is_alive(&self) -> bool {
        self.identity.is_alive()
    }

    /// Whether its number still means this process or none at all, so that its group is still its group:
    /// the kernel doesn't give a number again while a group has it.
    pub(crate) fn owns_group(&self) -> bool {
        stat(self.identity.pid).is_none_or(|stat| stat.identity == self.identity)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exit {
    pub(crate) detail: String,
    pub(crate) at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operation {
    pub(crate) id: OperationId,
    pub(crate) verb: Verb,
    pub(crate) at: Timestamp,
    /// `None`: Pitcrew died before it ended.
    pub(crate) answer: Option<Answer>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) desired: Desired,
    /// Kept after its exit, since others of its group may remain.
    pub(crate) leader: Option<Leader>,
    pub(crate) exit: Option<Exit>,
    /// The newest, oldest first. Each is on the disk before the operation touches anything.
    pub(crate) operations: Vec<Operation>,
}

/// Operations that an instance remembers.
const OPERATIONS_MAX: usize = 8;

impl Record {
    pub(crate) fn begin(&mut self, id: OperationId, verb: Verb) {
        if self.operations.len() >= OPERATIONS_MAX {
            self.operations.remove(0);
        }
        self.operations.push(Operation {
            id,
            verb,
            at: crate::process::now(),
            answer: None,
        });
    }

    pub(crate) fn end(&mut self, id: &OperationId, answer: &Answer) {
        for operation in &mut self.operations {
            if operation.id == *id {
                operation.answer = Some(answer.clone());
            }
        }
    }

    pub(crate) fn operation(&self, id: &OperationId) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.id == *id)
    }

    /// Whether an operation that isn't here was certainly never begun.
    pub(crate) fn remembers_all(&self) -> bool {
        self.operations.len() < OPERATIONS_MAX
    }

    /// That Pitcrew's death left in the middle.
    pub(crate) fn unfinished(&self) -> Option<&Operation> {
        self.operations
            .last()
            .filter(|operation| operation.answer.is_none())
    }

    /// `Ok(None)`: there is none. `boot_id` is today's: a leader of an earlier boot is gone.
    pub(crate) fn read(
        directory: &Path,
        name: &TargetId,
        boot_id: &str,
    ) -> Result<Option<Self>, String> {
        let path = path(directory, name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{} can't be read: {error}", path.display())),
        };
        let mut record: Self = serde_json::from_slice(&bytes)
            .map_err(|error| format!("{} is broken: {error}", path.display()))?;
        if record
            .leader
            .as_ref()
            .is_some_and(|leader| leader.boot_id != boot_id)
        {
            record.leader = None;
            record.exit.get_or_insert_with(|| Exit {
                detail: "ended with the host's last boot".to_owned(),
                at: crate::process::now(),
            });
        }
        Ok(Some(record))
    }

    pub(crate) fn write(&self, directory: &Path, name: &TargetId) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        write_durably(&path(directory, name), &bytes)
    }

    pub(crate) fn remove(directory: &Path, name: &TargetId) -> io::Result<()> {
        match fs::remove_file(path(directory, name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The names that have a state file.
pub(crate) fn names(directory: &Path) -> io::Result<Vec<TargetId>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let file = entry?.file_name();
        if let Some(stem) = file.to_str().and_then(|name| name.strip_suffix(".json"))
            && let Some(name) = unescape(stem)
            && let Ok(name) = TargetId::new(name)
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn path(directory: &Path, name: &TargetId) -> PathBuf {
    directory.join(format!("{}.json", escape(name.as_str())))
}

/// A file name for any name.
pub(crate) fn escape(name: &str) -> String {
    let mut escaped = String::new();
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => escaped.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> Record {
        Record {
            desired: Desired::Stopped,
            leader: Some(Leader {
                identity: Identity {
                    started_ticks: 7,
                    pid: 4_000_000,
                },
                session: 1,
                boot_id: "today".into(),
                operation: OperationId::new("op").unwrap(),
                spec_digest: "00".into(),
                log_from: 3,
            }),
            exit: None,
            operations: Vec::new(),
        }
    }

    #[test]
    fn a_record_reads_back_and_forgets_processes_of_an_earlier_boot() {
        let directory = tempfile::tempdir().unwrap();
        let name = TargetId::new("../web/1 ä").unwrap();
        record().write(directory.path(), &name).unwrap();
        let read = |boot| {
            Record::read(directory.path(), &name, boot)
                .unwrap()
                .unwrap()
        };
        assert_eq!(read("today"), record());
        assert_eq!(read("tomorrow").leader, None);
        assert_eq!(
            names(directory.path()).unwrap(),
            std::slice::from_ref(&name)
        );
        Record::remove(directory.path(), &name).unwrap();
        assert_eq!(Record::read(directory.path(), &name, "today"), Ok(None));
    }

    #[test]
    fn a_broken_record_is_doubt_and_not_an_empty_one() {
        let directory = tempfile::tempdir().unwrap();
        let name = TargetId::new("web-1").unwrap();
        fs::write(directory.path().join("web-1.json"), "{").unwrap();
        let error = Record::read(directory.path(), &name, "today").unwrap_err();
        assert!(error.contains("web-1.json is broken"), "{error}");
    }

    proptest! {
        #[test]
        fn any_name_makes_a_file_name_that_reads_back(name in ".{1,60}") {
            let escaped = escape(&name);
            prop_assert!(!escaped.contains('/') && !escaped.starts_with('.'));
            prop_assert_eq!(unescape(&escaped), Some(name));
        }

        #[test]
        fn no_file_name_panics_the_reader(name in ".{0,30}") {
            unescape(&name);
        }
    }
}
