//! What may be named in a scenario: targets, observers, and what the production defines.
//!
//! A misspelt name would be an act on nothing or an expectation about nobody, so every name is known or a mistake.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use pitcrew_model::{
    Action, ObserverName, Order, Production, Scope, ServiceName, Target, TargetId, TestName,
};

use super::{
    mistake::instead_of,
    sentence::{Parsed, Sentence, Word},
};

/// More targets than an incident on paper needs.
pub(super) const TARGETS_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct Names {
    pub(super) targets: BTreeMap<TargetId, Arc<Target>>,
    pub(super) observers: Vec<ObserverName>,
    services: BTreeSet<ServiceName>,
    tests: BTreeSet<TestName>,
    /// Names of commands and webhooks.
    pub(super) actions: BTreeSet<String>,
    pub(super) production: Option<Arc<Production>>,
}

impl Names {
    /// What this production defines can be named from here on, beside what was before.
    pub(super) fn learn(&mut self, production: &Arc<Production>) {
        for service in &production.services {
            self.services.insert(service.name.clone());
            self.tests
                .extend(service.tests.iter().map(|test| test.name.clone()));
            let steps = service.repairs.iter().flat_map(|repair| &repair.steps);
            self.actions
                .extend(steps.filter_map(|step| own_name(&step.action)));
        }
        self.production = Some(production.clone());
    }

    /// Words up to the first of `verbs`: `web-1`, `web-1..5`, `zone=a` for all that have the label.
    pub(super) fn targets(&self, said: &mut Sentence, verbs: &[&str]) -> Parsed<Vec<TargetId>> {
        let mut found: Vec<TargetId> = Vec::new();
        while let Some(word) = said.peek() {
            if !word.quoted && verbs.contains(&word.text.as_str()) {
                break;
            }
            let named = self.named(said, word, verbs)?;
            found.extend(named);
            said.take();
        }
        if found.is_empty() {
            return Err(said.mistake("a target is missing here"));
        }
        let mut seen = BTreeSet::new();
        found.retain(|id| seen.insert(id.clone()));
        Ok(found)
    }

    fn named(&self, said: &Sentence, word: &Word, verbs: &[&str]) -> Parsed<Vec<TargetId>> {
        if self.targets.contains_key(word.text.as_str()) {
            return Ok(self.known(said, word, &word.text).into_iter().collect());
        }
        if let Some((label, value)) = word.text.split_once('=') {
            let has = |target: &Target| target.labels.get(label).is_some_and(|is| **is == *value);
            let all: Vec<TargetId> = self
                .targets
                .values()
                .filter(|target| has(target))
                .map(|target| target.id.clone())
                .collect();
            if all.is_empty() {
                let message = format!("no target has the label {}", word.text);
                return Err(said.mistake_at(word, message));
            }
            return Ok(all);
        }
        if let Some(names) = range(&word.text) {
            return names
                .iter()
                .map(|name| self.known(said, word, name))
                .collect();
        }
        let ids = self.targets.keys().map(TargetId::as_str);
        let instead = instead_of(&word.text, ids.chain(verbs.iter().copied()));
        let message = format!("there is no target `{}`{instead}", word.text);
        Err(said.mistake_at(word, message))
    }

    fn known(&self, said: &Sentence, word: &Word, name: &str) -> Parsed<TargetId> {
        match self.targets.get_key_value(name) {
            Some((id, _)) => Ok(id.clone()),
            None => {
                let instead = instead_of(name, self.targets.keys().map(TargetId::as_str));
                Err(said.mistake_at(word, format!("there is no target `{name}`{instead}")))
            }
        }
    }

    pub(super) fn target(&self, said: &mut Sentence) -> Parsed<TargetId> {
        let word = said.any("a target")?;
        self.known(said, &word, &word.text)
    }

    pub(super) fn observer(&self, said: &mut Sentence) -> Parsed<ObserverName> {
        let word = said.any("an observer")?;
        let known = self
            .observers
            .iter()
            .find(|have| have.as_str() == word.text);
        known.cloned().ok_or_else(|| {
            let names = self.observers.iter().map(ObserverName::as_str);
            let instead = instead_of(&word.text, names);
            said.mistake_at(
                &word,
                format!("there is no observer `{}`{instead}", word.text),
            )
        })
    }

    pub(super) fn test(&self, said: &mut Sentence) -> Parsed<TestName> {
        let word = said.any("a test")?;
        self.tests.get(word.text.as_str()).cloned().ok_or_else(|| {
            let instead = instead_of(&word.text, self.tests.iter().map(TestName::as_str));
            said.mistake_at(&word, format!("there is no test `{}`{instead}", word.text))
        })
    }

    pub(super) fn service(&self, said: &Sentence, word: &Word, name: &str) -> Parsed<ServiceName> {
        self.services.get(name).cloned().ok_or_else(|| {
            let instead = instead_of(name, self.services.iter().map(ServiceName::as_str));
            said.mistake_at(word, format!("there is no service `{name}`{instead}"))
        })
    }

    /// `fleet`, `web` or `web:zone=a`, as on the command line.
    pub(super) fn scope(&self, said: &mut Sentence) -> Parsed<Scope> {
        let word = said.any("`fleet`, a service, or a part of one such as `web:zone=a`")?;
        if word.text == "fleet" && !word.quoted {
            return Ok(Scope::Fleet);
        }
        let Some((service, domain)) = word.text.split_once(':') else {
            return Ok(Scope::Service(self.service(said, &word, &word.text)?));
        };
        let service = self.service(said, &word, service)?;
        match domain.split_once('=') {
            Some((label, value)) => Ok(Scope::Domain {
                service,
                label: label.to_owned(),
                value: value.to_owned(),
            }),
            None => {
                let message = format!("`{domain}` is not a label and its value such as `zone=a`");
                Err(said.mistake_at(&word, message))
            }
        }
    }
}

/// The one discovery source that a scenario has.
pub(super) fn source() -> pitcrew_model::SourceName {
    "discovery"
        .parse()
        .expect("a word without blanks is a valid name")
}

/// `web-1..3` → `web-1`, `web-2`, `web-3`.
pub(super) fn range(text: &str) -> Option<Vec<String>> {
    let (first, last) = text.split_once("..")?;
    let digits = first.len() - first.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (name, from) = first.split_at(first.len() - digits);
    let (from, to): (usize, usize) = (from.parse().ok()?, last.parse().ok()?);
    if from > to || to - from >= TARGETS_MAX {
        return None;
    }
    Some(
        (from..=to)
            .map(|number| format!("{name}{number}"))
            .collect(),
    )
}

fn own_name(action: &Action) -> Option<String> {
    match action {
        Action::Command { name, .. } | Action::Webhook { name, .. } => Some(name.clone()),
        Action::Restart
        | Action::Start
        | Action::Stop
        | Action::Reboot
        | Action::PowerCycle
        | Action::Drain(_)
        | Action::Undrain(_)
        | Action::HandOver { .. } => None,
    }
}

/// How such orders are called in a scenario.
pub(super) fn order_name(order: &Order) -> String {
    match &order.action {
        Action::Drain(_) if order.is_upkeep() => RENEW.to_owned(),
        action => own_name(action).unwrap_or_else(|| action.name().to_owned()),
    }
}

/// A drain that renews the lease of one before.
pub(super) const RENEW: &str = "renew";
/// Beside the commands and webhooks of the production.
pub(super) const ACTIONS: [&str; 8] = [
    "restart",
    "start",
    "stop",
    "reboot",
    "power_cycle",
    "drain",
    "undrain",
    RENEW,
];

/// The action of that name on this target: one of the catalogue, or a command or webhook of some service's repairs.
pub(super) fn action_named(
    name: &str,
    target: Option<&Arc<Target>>,
    production: &Production,
) -> Option<Action> {
    let mut services = production.services.iter();
    let own = services
        .find(|service| target.is_some_and(|target| service.select.selects(&target.labels)));
    let drain = own.and_then(|service| service.drain.clone());
    match name {
        "drain" | RENEW => return drain.map(Action::Drain),
        "undrain" => return drain.map(|drain| Action::Undrain(drain.by)),
        "restart" => return Some(Action::Restart),
        "start" => return Some(Action::Start),
        "stop" => return Some(Action::Stop),
        "reboot" => return Some(Action::Reboot),
        "power_cycle" => return Some(Action::PowerCycle),
        _ => {}
    }
    let services = production.services.iter();
    let mut steps = services
        .flat_map(|service| &service.repairs)
        .flat_map(|repair| &repair.steps);
    steps
        .find(|step| own_name(&step.action).as_deref() == Some(name))
        .map(|step| step.action.clone())
}

/// An upper bound of how much a scenario asks.
pub(super) fn questions(names: &Names, production: &Production, lasts: Duration) -> u128 {
    let observers = names.observers.len() as u128;
    let of_service = |service: &Arc<pitcrew_model::Service>| {
        let targets = names.targets.values();
        let members = targets.filter(|target| service.select.selects(&target.labels));
        let rounds: u128 = service
            .tests
            .iter()
            .map(|test| lasts.as_millis() / test.interval.as_millis().max(1) + 1)
            .sum();
        members.count() as u128 * rounds
    };
    production.services.iter().map(of_service).sum::<u128>() * observers
}
