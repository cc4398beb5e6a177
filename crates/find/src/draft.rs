//! From the entries of one part of a source, a file or a name or a page, to its targets.
//!
//! An entry that makes no sense is left out and reported with its place; the others go on. Texts of labels
//! are shared: a million targets have few different ones.

use std::{collections::HashSet, fmt::Display, sync::Arc};

use pitcrew_model::{Address, Labels, Runner, Source, Target, TargetId};

use crate::{
    address,
    answer::{Answer, Problems},
    groups::Group,
};

pub(crate) struct Draft<'a> {
    source: &'a Source,
    texts: HashSet<Arc<str>>,
    targets: Vec<Target>,
    problems: Problems,
}

/// All labels of a group, those of the source among them.
struct Context {
    shown: Labels,
    /// With those that begin with `__`.
    all: Labels,
    runner: Result<Option<Runner>, String>,
    run_on: Option<TargetId>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        Self {
            source,
            texts: HashSet::new(),
            targets: Vec::new(),
            problems: Problems::default(),
        }
    }

    pub(crate) fn finish(self) -> Answer {
        Answer {
            targets: self.targets,
            problems: self.problems,
        }
    }

    pub(crate) fn add_groups(&mut self, place: &str, groups: &[Group]) {
        for (number, group) in (1..).zip(groups) {
            self.add(format_args!("{place}: entry {number}"), group);
        }
    }

    /// `place` says where the group stands, for a person who will look there.
    pub(crate) fn add(&mut self, place: impl Display, group: &Group) {
        let context = match self.context(&place, group) {
            Ok(context) => context,
            Err(why) => {
                let count = group.targets.len();
                self.problems
                    .add(|| format!("{place}: {why}; its {count} targets are left out"));
                return;
            }
        };
        if let Err(why) = &context.runner {
            self.problems
                .add(|| format!("{place}: {why}; nothing is known to run its targets"));
        }
        for text in &group.targets {
            match self.target(text, &context) {
                Ok(target) => self.targets.push(target),
                Err(why) => self.problems.add(|| {
                    let text: String = text.chars().take(80).collect();
                    format!("{place}: `{}` {why}; it is left out", text.escape_debug())
                }),
            }
        }
    }

    fn context(&mut self, place: &impl Display, group: &Group) -> Result<Context, String> {
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        for (name, value) in &group.labels {
            // An empty value is the same as no label, as in Prometheus.
            if value.is_empty() {
                continue;
            }
            let pair = (self.share(name), self.share(value));
            match Labels::new([pair.clone()]) {
                Ok(_) => pairs.push(pair),
                // No configuration can name such a label, so that nothing is decided by its absence.
                Err(error @ pitcrew_model::InvalidLabel::Name(_)) => self
                    .problems
                    .add(|| format!("{place}: {error}; the label is left out")),
                Err(error) => return Err(error.to_string()),
            }
        }
        for (name, value) in self.source.labels.iter() {
            if !group.labels.iter().any(|(have, _)| **have == **name) {
                pairs.push((Arc::clone(name), Arc::clone(value)));
            }
        }
        let all = Labels::new(pairs.iter().cloned()).map_err(|error| error.to_string())?;
        let shown = pairs
            .into_iter()
            .filter(|(name, _)| !name.starts_with("__"));
        Ok(Context {
            shown: Labels::new(shown).map_err(|error| error.to_string())?,
            runner: self.runner(&all),
            run_on: all
                .get("__run_on__")
                .map(TargetId::new)
                .transpose()
                .map_err(|error| format!("label `__run_on__`: {error}"))?,
            all,
        })
    }

    fn runner(&self, labels: &Labels) -> Result<Option<Runner>, String> {
        if let Some(name) = labels.get("__runner_unit__") {
            return Ok(Some(Runner::Unit {
                name: name.to_string(),
                bus: None,
            }));
        }
        if let Some(name) = labels.get("__runner_container__") {
            return Ok(Some(Runner::Container {
                name: name.to_string(),
                socket: None,
            }));
        }
        let Some(template) = &self.source.runs_as else {
            return Ok(None);
        };
        template
            .fill(labels)
            .map(Some)
            .map_err(|label| format!("`runs_as` needs the label `{label}`, which it lacks"))
    }

    fn target(&mut self, text: &str, context: &Context) -> Result<Target, String> {
        let own_address = context.all.get("__address__");
        let address = address::parse(own_address.map_or(text, |address| &**address))
            .map_err(|why| format!("is not an address: {why}"))?;
        let id = context.all.get("__id__").map_or(text, |id| &**id);
        Ok(Target {
            id: TargetId::new(id).map_err(|error| error.to_string())?,
            address: Some(Address(address.into())),
            labels: context.shown.clone(),
            run_on: context.run_on.clone(),
            runner: context.runner.clone().ok().flatten(),
            source: self.source.name.clone(),
        })
    }

    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pitcrew_model::{SourceKind, SourceName};

    fn source(labels: &[(&str, &str)], runs_as: Option<Runner>) -> Source {
        Source {
            name: SourceName::new("file-1").unwrap(),
            kind: SourceKind::Static {
                targets: Vec::new(),
            },
            labels: Labels::new(labels.iter().copied()).unwrap(),
            runs_as,
        }
    }

    fn answer(source: &Source, targets: &[&str], labels: &[(&str, &str)]) -> Answer {
        let mut draft = Draft::new(source);
        draft.add_groups(
            "web.yaml",
            &[Group {
                targets: targets.iter().map(|text| (*text).to_owned()).collect(),
                labels: labels
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            }],
        );
        draft.finish()
    }

    fn unit(name: &str) -> Runner {
        Runner::Unit {
            name: name.to_owned(),
            bus: None,
        }
    }

    #[test]
    fn an_entry_s_own_labels_win_over_the_source_s() {
        let source = source(&[("zone", "a"), ("service", "web")], None);
        let answer = answer(&source, &["a:1"], &[("zone", "b"), ("empty", "")]);
        assert_eq!(
            answer.targets[0].labels.to_string(),
            r#"{service="web", zone="b"}"#
        );
        assert!(answer.problems.is_empty());
    }

    #[test]
    fn prometheus_own_labels_are_not_kept_but_runs_as_may_use_them() {
        let source = source(&[], Some(unit("{__meta_name}@{zone}.service")));
        let answer = answer(&source, &["a:1"], &[("__meta_name", "web"), ("zone", "b")]);
        assert_eq!(answer.targets[0].labels.to_string(), r#"{zone="b"}"#);
        assert_eq!(answer.targets[0].runner, Some(unit("web@b.service")));
    }

    #[test]
    fn own_labels_name_address_id_host_and_runner() {
        let source = source(&[], Some(unit("other.service")));
        let answer = answer(
            &source,
            &["the web server"],
            &[
                ("__address__", "10.0.0.1:80"),
                ("__id__", "web-1"),
                ("__run_on__", "host-1"),
                ("__runner_unit__", "nginx.service"),
            ],
        );
        let target = &answer.targets[0];
        assert_eq!(target.id.as_str(), "web-1");
        assert_eq!(target.address, Some(Address("10.0.0.1:80".into())));
        assert_eq!(target.run_on, Some(TargetId::new("host-1").unwrap()));
        assert_eq!(target.runner, Some(unit("nginx.service")));
        assert!(target.labels.is_empty());
    }

    #[test]
    fn an_invalid_entry_is_left_out_with_its_place_and_text_and_the_rest_goes_on() {
        let source = source(&[], None);
        let answer = answer(&source, &["a:1", "b b:2", "c:3"], &[]);
        assert_eq!(answer.targets.len(), 2);
        let problem = answer.problems.to_string();
        assert!(
            problem.contains("web.yaml: entry 1: `b b:2` is not an address"),
            "{problem}"
        );
    }

    #[test]
    fn a_label_that_nothing_can_name_is_left_out_and_its_targets_stay() {
        let source = source(&[], None);
        let answer = answer(&source, &["a:1"], &[("not-a-name", "x"), ("zone", "a")]);
        assert_eq!(answer.targets[0].labels.to_string(), r#"{zone="a"}"#);
        assert!(answer.problems.to_string().contains("`not-a-name`"));
    }

    #[test]
    fn a_label_that_runs_as_lacks_leaves_a_target_without_runner() {
        let source = source(&[], Some(unit("web@{instance}.service")));
        let answer = answer(&source, &["a:1"], &[]);
        assert_eq!(answer.targets[0].runner, None);
        assert!(answer.problems.to_string().contains("`instance`"));
    }

    #[test]
    fn a_million_bad_entries_are_a_few_lines() {
        let source = source(&[], None);
        let bad = vec!["no address"; 1_000];
        let problems = answer(&source, &bad, &[]).problems.to_string();
        assert!(problems.len() < 1_000, "{problems}");
        assert!(problems.contains("995 more"), "{problems}");
    }
}
