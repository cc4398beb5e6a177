//! One source, asked again and again.
//!
//! A source of several files or names has parts, and one bad part fails only itself: its last good targets
//! go on in the answer, and the answer says so. Only when no part has ever answered is there no answer.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use pitcrew_model::{Source, SourceKind};

use crate::{Answer, FindError, answer::Problems, dns, draft::Draft, files, groups::Group, http};

/// How long a peer may take for all of an answer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub struct Asker {
    source: Source,
    /// Relative paths of files begin here.
    directory: PathBuf,
    parts: HashMap<String, Part>,
}

struct Part {
    good: Answer,
    /// It was gone when last looked for.
    missed: bool,
}

/// One part of a source and what it answers now.
pub(crate) type PartAnswer = (String, Result<Answer, FindError>);

impl Asker {
    #[must_use]
    pub fn new(source: Source, directory: &Path) -> Self {
        Self {
            source,
            directory: directory.to_owned(),
            parts: HashMap::new(),
        }
    }

    /// One round. Ends by itself: peers have a deadline of 10 s for all they say.
    pub async fn ask(&mut self) -> Result<Answer, FindError> {
        match &self.source.kind {
            SourceKind::Static { targets } => Ok(fixed(&self.source, targets)),
            SourceKind::Agents => Err(FindError::Aborted(
                "agents speak by themselves and are not asked".to_owned(),
            )),
            SourceKind::Http { url, refresh } => http::ask(&self.source, url, *refresh).await,
            SourceKind::File { paths, .. } => {
                let (source, directory, paths) =
                    (self.source.clone(), self.directory.clone(), paths.clone());
                let parts =
                    tokio::task::spawn_blocking(move || files::ask(&source, &directory, &paths))
                        .await
                        .map_err(|error| FindError::Aborted(error.to_string()))?;
                self.merge(parts)
            }
            SourceKind::Dns {
                names,
                record,
                port,
                server,
                ..
            } => {
                let parts = dns::ask(&self.source, names, *record, *port, *server).await;
                self.merge(parts)
            }
        }
    }

    fn merge(&mut self, parts: Vec<PartAnswer>) -> Result<Answer, FindError> {
        let (mut whole, mut failures) = (Answer::default(), Problems::default());
        let mut answered = false;
        let mut before = std::mem::take(&mut self.parts);
        for (name, part) in parts {
            let last = before.remove(&name);
            match (part, last) {
                (Ok(good), _) => {
                    answered = true;
                    take_in(&mut whole, &good);
                    self.parts.insert(
                        name,
                        Part {
                            good,
                            missed: false,
                        },
                    );
                }
                (Err(error), None) => failures.add(|| error.to_string()),
                (Err(error), Some(last)) => {
                    answered = true;
                    failures.add(|| {
                        format!(
                            "{error}; its last {} targets are kept",
                            last.good.targets.len()
                        )
                    });
                    take_in(&mut whole, &last.good);
                    self.parts.insert(name, last);
                }
            }
        }
        self.keep_missed_once(before, &mut whole);
        if !answered && !failures.is_empty() {
            return Err(FindError::Nothing(failures));
        }
        whole.problems.extend(&failures);
        Ok(whole)
    }

    /// A file that a pattern no longer finds is gone when it is missed twice: replacing a file by deleting and
    /// writing it anew leaves a moment without.
    fn keep_missed_once(&mut self, gone: HashMap<String, Part>, whole: &mut Answer) {
        for (name, part) in gone {
            if !part.missed {
                take_in(whole, &part.good);
                self.parts.insert(
                    name,
                    Part {
                        missed: true,
                        ..part
                    },
                );
            }
        }
    }
}

fn take_in(whole: &mut Answer, part: &Answer) {
    whole.targets.extend_from_slice(&part.targets);
    whole.problems.extend(&part.problems);
}

fn fixed(source: &Source, targets: &[String]) -> Answer {
    let mut draft = Draft::new(source);
    let group = Group {
        targets: targets.to_vec(),
        labels: Vec::new(),
    };
    draft.add("static", &group);
    draft.finish()
}
