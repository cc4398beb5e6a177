//! Which operations were begun here and how they ended, so that none is done twice and a crash in the middle
//! is seen afterwards.
//!
//! `operations.jsonl`, one JSON object a line: first `{"since":MS}`, the time from which the journal is
//! complete; then `{"begun":ID,"at":MS}`, on the disk before the operation touches anything, and
//! `{"ended":ID,"outcome":{…}}`; a reboot's beginning also has `"boot":ID`, the boot that it is to end. A last line without its end was never relied on and is dropped. A broken
//! line elsewhere means that something else wrote here: what is left is kept, and the journal counts as
//! complete only from then on. The file is written anew, with the newest operations, when it is opened and
//! when it has grown.

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use pitcrew_model::{OperationId, Outcome, Timestamp};
use serde::{Deserialize, Serialize};

use crate::fence::write_durably;

/// Operations remembered. The fleet brake's default allows 60 an hour, so this is days.
const REMEMBERED_MAX: usize = 4_096;

#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Since {
        since: Timestamp,
    },
    Begun {
        begun: OperationId,
        at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot: Option<String>,
    },
    Ended {
        ended: OperationId,
        outcome: Outcome,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Certainly never begun here.
    Never,
    /// Older than what is remembered.
    Forgotten,
    Begun,
    Ended(Outcome),
}

#[derive(Debug)]
struct Entry {
    at: Timestamp,
    boot: Option<String>,
    outcome: Option<Outcome>,
}

impl Entry {
    /// Without having begun.
    fn ended(at: Timestamp, outcome: &Outcome) -> Self {
        Self {
            at,
            boot: None,
            outcome: Some(outcome.clone()),
        }
    }
}

#[derive(Debug)]
struct Operations {
    since: Timestamp,
    entries: BTreeMap<OperationId, Entry>,
    /// Oldest first.
    order: VecDeque<OperationId>,
    file: fs::File,
    lines: usize,
}

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    operations: Mutex<Operations>,
}

impl Journal {
    pub(crate) fn open(directory: &Path, now: Timestamp) -> io::Result<Self> {
        let path = directory.join("operations.jsonl");
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let (since, entries, order) = read(&text, now);
        let mut operations = Operations {
            since,
            entries,
            order,
            file: fs::File::open("/dev/null")?,
            lines: 0,
        };
        rewrite(&path, &mut operations)?;
        Ok(Self {
            path,
            operations: Mutex::new(operations),
        })
    }

    /// What is known of an operation that was given at `given_at`, by this host's clock as every time here.
    pub(crate) fn look_up(&self, id: &OperationId, given_at: Timestamp) -> Known {
        known(&self.lock(), id, given_at)
    }

    /// What is known of it, and from now on nothing else will be: what was never begun ends with `outcome` and can't
    /// begin any more. As with [`Journal::refuse`] memory is enough, because an order doesn't outlive the connection and the
    /// process that it came to.
    pub(crate) fn deny(&self, id: &OperationId, given_at: Timestamp, outcome: &Outcome) -> Known {
        let mut operations = self.lock();
        let known = known(&operations, id, given_at);
        if known == Known::Never {
            remember(&mut operations, id, Entry::ended(outcome.at, outcome));
        }
        known
    }

    /// On the disk when it returns; only then may the operation begin.
    pub(crate) fn begin(
        &self,
        id: &OperationId,
        at: Timestamp,
        boot: Option<String>,
    ) -> io::Result<()> {
        let mut operations = self.lock();
        if operations.entries.contains_key(id) {
            let why = "what became of it was asked before it began; it doesn't begin any more";
            return Err(io::Error::other(why));
        }
        if operations.lines >= 4 * REMEMBERED_MAX {
            rewrite(&self.path, &mut operations)?;
        }
        append(
            &mut operations,
            &Line::Begun {
                begun: id.clone(),
                at,
                boot: boot.clone(),
            },
        )?;
        let outcome = None;
        remember(&mut operations, id, Entry { at, boot, outcome });
        Ok(())
    }

    /// The boot that an operation was begun in, where that was written down.
    pub(crate) fn boot_before(&self, id: &OperationId) -> Option<String> {
        let operations = self.lock();
        operations.entries.get(id)?.boot.clone()
    }

    /// What was refused before it began: remembered for as long as Pitcrew runs, so that the same word gets
    /// the same answer. After a restart it was never begun, which is as true.
    pub(crate) fn refuse(&self, id: &OperationId, at: Timestamp, outcome: &Outcome) {
        let mut operations = self.lock();
        if !operations.entries.contains_key(id) {
            remember(&mut operations, id, Entry::ended(at, outcome));
        }
    }

    pub(crate) fn end(&self, id: &OperationId, outcome: &Outcome) -> io::Result<()> {
        let mut operations = self.lock();
        if let Some(entry) = operations.entries.get_mut(id) {
            entry.outcome = Some(outcome.clone());
        }
        let line = Line::Ended {
            ended: id.clone(),
            outcome: outcome.clone(),
        };
        append(&mut operations, &line)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Operations> {
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

type Read = (
    Timestamp,
    BTreeMap<OperationId, Entry>,
    VecDeque<OperationId>,
);

fn read(text: &str, now: Timestamp) -> Read {
    let (mut since, mut entries, mut order) = (now, BTreeMap::new(), VecDeque::new());
    let mut is_whole = true;
    for line in text.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        match serde_json::from_str(line) {
            Ok(Line::Since { since: first }) => since = first,
            Ok(Line::Begun { begun, at, boot }) => {
                let outcome = None;
                let entry = Entry { at, boot, outcome };
                if entries.insert(begun.clone(), entry).is_none() {
                    order.push_back(begun);
                }
            }
            Ok(Line::Ended { ended, outcome }) => {
                if let Some(entry) = entries.get_mut(&ended) {
                    entry.outcome = Some(outcome);
                }
            }
            Err(_) => is_whole = false,
        }
    }
    if !is_whole {
        tracing::error!(
            "operations.jsonl holds a broken line; older operations count as forgotten"
        );
        since = now;
    }
    (since, entries, order)
}

fn known(operations: &Operations, id: &OperationId, given_at: Timestamp) -> Known {
    match operations.entries.get(id) {
        Some(Entry {
            outcome: Some(outcome),
            ..
        }) => Known::Ended(outcome.clone()),
        Some(_) => Known::Begun,
        None if given_at < operations.since => Known::Forgotten,
        None => Known::Never,
    }
}

/// `id` is not known yet.
fn remember(operations: &mut Operations, id: &OperationId, entry: Entry) {
    operations.entries.insert(id.clone(), entry);
    operations.order.push_back(id.clone());
    if operations.order.len() > REMEMBERED_MAX {
        forget_oldest(operations);
    }
}

fn forget_oldest(operations: &mut Operations) {
    if let Some(oldest) = operations.order.pop_front()
        && let Some(entry) = operations.entries.remove(&oldest)
    {
        operations.since = operations
            .since
            .max(entry.at + std::time::Duration::from_millis(1));
    }
}

fn append(operations: &mut Operations, line: &Line) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    let written = (&operations.file)
        .write_all(&bytes)
        .and_then(|()| operations.file.sync_data());
    // A line that may be torn must not be appended to: the next begin writes the file anew.
    operations.lines = match written {
        Ok(()) => operations.lines + 1,
        Err(_) => usize::MAX,
    };
    written
}

fn rewrite(path: &Path, operations: &mut Operations) -> io::Result<()> {
    while operations.order.len() > REMEMBERED_MAX {
        forget_oldest(operations);
    }
    let mut lines = vec![Line::Since {
        since: operations.since,
    }];
    for id in &operations.order {
        let Some(entry) = operations.entries.get(id) else {
            continue;
        };
        lines.push(Line::Begun {
            begun: id.clone(),
            at: entry.at,
            boot: entry.boot.clone(),
        });
        if let Some(outcome) = &entry.outcome {
            lines.push(Line::Ended {
                ended: id.clone(),
                outcome: outcome.clone(),
            });
        }
    }
    let mut bytes = Vec::new();
    for line in &lines {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
    }
    write_durably(path, &bytes)?;
    operations.file = fs::OpenOptions::new().append(true).open(path)?;
    operations.lines = lines.len();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pitcrew_model::{OrderId, OutcomeKind};
    use proptest::prelude::*;

    fn id(text: &str) -> OperationId {
        OperationId::new(text).unwrap()
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn outcome() -> Outcome {
        Outcome {
            order: OrderId(1),
            kind: OutcomeKind::Done,
            at: at(5),
            detail: "x".into(),
        }
    }

    #[test]
    fn what_was_begun_and_ended_is_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path(), at(1)).unwrap();
        journal.begin(&id("a"), at(2), None).unwrap();
        journal.end(&id("a"), &outcome()).unwrap();
        journal.begin(&id("b"), at(3), None).unwrap();
        drop(journal);
        let journal = Journal::open(directory.path(), at(9)).unwrap();
        assert_eq!(journal.look_up(&id("a"), at(2)), Known::Ended(outcome()));
        assert_eq!(journal.look_up(&id("b"), at(3)), Known::Begun);
        assert_eq!(journal.look_up(&id("c"), at(3)), Known::Never);
        assert_eq!(journal.look_up(&id("c"), at(0)), Known::Forgotten);
    }

    #[test]
    fn what_was_denied_does_not_begin_and_what_was_begun_is_not_denied() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path(), at(1)).unwrap();
        assert_eq!(journal.deny(&id("a"), at(2), &outcome()), Known::Never);
        assert!(journal.begin(&id("a"), at(2), None).is_err());
        assert_eq!(journal.look_up(&id("a"), at(2)), Known::Ended(outcome()));
        journal.begin(&id("b"), at(3), None).unwrap();
        assert_eq!(journal.deny(&id("b"), at(3), &outcome()), Known::Begun);
        assert!(
            journal.begin(&id("b"), at(3), None).is_err(),
            "a second time"
        );
        assert_eq!(journal.deny(&id("c"), at(0), &outcome()), Known::Forgotten);
    }

    #[test]
    fn a_torn_last_line_was_never_relied_on() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path(), at(1)).unwrap();
        journal.begin(&id("a"), at(2), None).unwrap();
        drop(journal);
        let path = directory.path().join("operations.jsonl");
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"begun\":\"b\"");
        fs::write(&path, text).unwrap();
        let journal = Journal::open(directory.path(), at(9)).unwrap();
        assert_eq!(journal.look_up(&id("a"), at(2)), Known::Begun);
        assert_eq!(journal.look_up(&id("b"), at(3)), Known::Never);
    }

    #[test]
    fn a_journal_with_a_broken_line_claims_nothing_about_what_it_lacks() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(
            directory.path().join("operations.jsonl"),
            "{\"since\":1}\nxx\n",
        )
        .unwrap();
        let journal = Journal::open(directory.path(), at(9)).unwrap();
        assert_eq!(journal.look_up(&id("b"), at(3)), Known::Forgotten);
    }

    #[test]
    fn the_oldest_are_forgotten_and_not_denied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("operations.jsonl");
        let mut text = "{\"since\":1}\n".to_owned();
        for number in 0..REMEMBERED_MAX + 10 {
            text.push_str(&format!(
                "{{\"begun\":\"op-{number}\",\"at\":{}}}\n",
                number + 2
            ));
        }
        fs::write(&path, text).unwrap();
        let journal = Journal::open(directory.path(), at(99_999)).unwrap();
        assert_eq!(journal.look_up(&id("op-3"), at(5)), Known::Forgotten);
        assert_eq!(journal.look_up(&id("op-10"), at(12)), Known::Begun);
        assert_eq!(journal.look_up(&id("op-x"), at(99_999)), Known::Never);
    }

    proptest! {
        #[test]
        fn no_journal_panics_the_reader(text in "[\\{\\}\":a-z0-9,\n]{0,300}") {
            read(&text, Timestamp::ZERO);
        }
    }
}
