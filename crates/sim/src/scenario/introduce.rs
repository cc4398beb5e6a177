//! New names: targets with their labels, hosts and what runs them, as discovery would give them.

use std::sync::Arc;

use pitcrew_model::{Labels, Runner, Target, TargetId};

use super::{
    names::{Names, TARGETS_MAX, range, source},
    sentence::{Parsed, Sentence, Word},
};

impl Names {
    /// `web-1..4 db-1  service=web zone=a,b on=host-1`: names, then labels; values in a list are dealt out in turn.
    pub(super) fn introduce(&mut self, said: &mut Sentence) -> Parsed<Vec<Arc<Target>>> {
        let mut ids: Vec<TargetId> = Vec::new();
        let mut pairs: Vec<(String, Vec<String>)> = Vec::new();
        while let Some(word) = said.take() {
            match word.text.split_once('=').filter(|_| !word.quoted) {
                Some((label, values)) => {
                    let values = values.split(',').map(str::to_owned).collect();
                    pairs.push((label.to_owned(), values));
                }
                None if !pairs.is_empty() => {
                    let message = format!("names come before labels, `{}` after them", word.text);
                    return Err(said.mistake_at(&word, message));
                }
                None => ids.extend(new_names(said, &word)?),
            }
        }
        if ids.is_empty() {
            return Err(said.mistake("a target's name is missing here"));
        }
        if self.targets.len() + ids.len() > TARGETS_MAX {
            let message = format!("a scenario has at most {TARGETS_MAX} targets");
            return Err(said.mistake(message));
        }
        let mut introduced = Vec::new();
        for (at, id) in ids.into_iter().enumerate() {
            let target = Arc::new(self.target_of(said, at, id, &pairs)?);
            self.targets.insert(target.id.clone(), target.clone());
            introduced.push(target);
        }
        Ok(introduced)
    }

    fn target_of(
        &self,
        said: &Sentence,
        at: usize,
        id: TargetId,
        pairs: &[(String, Vec<String>)],
    ) -> Parsed<Target> {
        let mut run_on = None;
        let mut labels = Vec::new();
        for (label, values) in pairs {
            let value = values[at % values.len()].clone();
            if label == "on" {
                let host = TargetId::new(&value);
                run_on = Some(host.map_err(|error| said.mistake(error.to_string()))?);
            } else {
                labels.push((label.clone(), value));
            }
        }
        let labels = Labels::new(labels).map_err(|error| said.mistake(error.to_string()))?;
        Ok(Target {
            runner: self.runner(&id, &labels),
            id,
            address: None,
            labels,
            run_on,
            source: source(),
        })
    }

    /// As discovery would give it: what `run` keeps up is supervised, and a source's `runs_as` is for its targets.
    fn runner(&self, id: &TargetId, labels: &Labels) -> Option<Runner> {
        let production = self.production.as_ref()?;
        let number = |run: &str| {
            id.as_str()
                .strip_prefix(run)?
                .strip_prefix('-')?
                .parse()
                .ok()
        };
        let supervised = production
            .runs
            .iter()
            .any(|run| number(&run.name).is_some_and(|n: u16| (1..=run.instances).contains(&n)));
        if supervised {
            return Some(Runner::Supervised);
        }
        production.sources.iter().find_map(|source| {
            let mut own = source.labels.iter();
            let is_its = own.all(|(name, value)| labels.get(name) == Some(value));
            let template = source.runs_as.as_ref().filter(|_| is_its)?;
            template.fill(labels).ok()
        })
    }

    /// Hosts that do not exist, and labels that no service selects.
    pub(super) fn objection(&self, target: &Target) -> Option<String> {
        if let Some(host) = &target.run_on
            && !self.targets.contains_key(host)
        {
            return Some(format!(
                "there is no target `{host}` for `{}` to run on",
                target.id
            ));
        }
        let is_host = |other: &Arc<Target>| other.run_on.as_ref() == Some(&target.id);
        let production = self.production.as_ref()?;
        let mut services = production.services.iter();
        let is_used = services.any(|service| service.select.selects(&target.labels))
            || self.targets.values().any(is_host);
        if is_used {
            return None;
        }
        let selectors: Vec<String> = production
            .services
            .iter()
            .map(|service| format!("{} selects {}", service.name, service.select.0))
            .collect();
        Some(format!(
            "no service selects `{}` with {}: {}",
            target.id,
            target.labels,
            selectors.join(", ")
        ))
    }
}

fn new_names(said: &Sentence, word: &Word) -> Parsed<Vec<TargetId>> {
    let names = match range(&word.text).filter(|_| !word.quoted) {
        Some(names) => names,
        None => vec![word.text.clone()],
    };
    let parse = |name: &String| TargetId::new(name);
    let ids: Result<Vec<TargetId>, _> = names.iter().map(parse).collect();
    ids.map_err(|error| said.mistake_at(word, error.to_string()))
}
