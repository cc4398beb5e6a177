//! What can only be seen when everything is read: names, references, ports, who claims which target, and
//! whether anything runs what is to be restarted.

mod claims;

use std::collections::HashMap;

use pitcrew_model::{Autonomy, Source, SourceKind, TestKind, format_duration};

use crate::{
    place::Span,
    read::{Draft, runner::why_not},
    reader::Reader,
    suggest::nearest,
};

use claims::{Claim, Claims, Index, check_claims, check_selectors};

pub(crate) fn check(reader: &mut Reader<'_>, draft: &Draft) {
    check_names(reader, draft);
    check_targets_once(reader, draft);
    check_ports(reader, draft);
    check_receivers(reader, draft);
    check_settles(reader, draft);
    check_power(reader, draft);
    check_agents(reader, draft);
    check_several_servers(reader, draft);
    let index = Index::new(&draft.services);
    let overlaps = check_selectors(reader, &draft.services, &index);
    let claims = Claims::new(draft, &index);
    check_claims(reader, draft, &claims, &overlaps);
    if draft.knows_targets {
        check_selected(reader, draft, &claims);
        check_runners(reader, draft, &claims);
    }
}

fn check_names(reader: &mut Reader<'_>, draft: &Draft) {
    let services = draft.services.iter();
    reader.unique(
        "services",
        services.map(|read| (read.service.name.as_str(), read.name_at)),
    );
    let runs = draft.runs.iter();
    reader.unique(
        "runs",
        runs.map(|read| (read.run.name.as_str(), read.name_at)),
    );
    let receivers = draft.receivers.iter();
    reader.unique(
        "receivers",
        receivers.map(|read| (read.name.as_str(), read.name_at)),
    );
    let sources = draft.sources.iter();
    reader.unique(
        "sources",
        sources.map(|read| (read.source.name.as_str(), read.at)),
    );
}

fn static_targets(source: &Source) -> &[String] {
    match &source.kind {
        SourceKind::Static { targets } => targets,
        SourceKind::File { .. }
        | SourceKind::Http { .. }
        | SourceKind::Dns { .. }
        | SourceKind::Agents => &[],
    }
}

/// A target is known by its address or, under `run`, by its name: each is one thing, in one place.
fn check_targets_once(reader: &mut Reader<'_>, draft: &Draft) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for read in &draft.sources {
        for (target, at) in static_targets(&read.source).iter().zip(&read.targets_at) {
            if let Some(first) = seen.insert(target, *at) {
                let place = reader.place(first);
                reader.error(
                    *at,
                    format!("target `{target}` is listed twice; first at {place}"),
                );
                seen.insert(target, first);
            }
        }
    }
    for read in &draft.runs {
        for id in read.ids() {
            if let Some(first) = seen.get(&*id) {
                let place = reader.place(*first);
                reader.error(
                    read.name_at,
                    format!("target `{id}` of this run is listed at {place} too"),
                );
            }
        }
    }
}

fn check_ports(reader: &mut Reader<'_>, draft: &Draft) {
    for (at, read) in draft.runs.iter().enumerate() {
        let Some((from, to)) = read.port_range() else {
            continue;
        };
        let overlapping = draft.runs[..at].iter().find(|other| {
            let range = other.port_range();
            range.is_some_and(|(other_from, other_to)| from <= other_to && other_from <= to)
        });
        if let Some(other) = overlapping {
            let place = reader.place(other.ports_at);
            reader.error(
                read.ports_at,
                format!(
                    "ports {from} to {to} overlap with those of run `{}` at {place}",
                    other.run.name
                ),
            );
        }
    }
}

fn check_power(reader: &mut Reader<'_>, draft: &Draft) {
    let ladders = draft.services.iter().flat_map(|read| &read.repairs);
    let mut steps = ladders.flat_map(|repair| &repair.power_cycles);
    if let Some(at) = steps.next().filter(|_| draft.power.is_empty()) {
        reader.warn(
            *at,
            "nothing under `power` says which controller a host has",
            "add it there, or leave the step out",
        );
    }
}

/// What a server runs itself would run on every host whose server has led, and nobody would look after the others.
fn check_several_servers(reader: &mut Reader<'_>, draft: &Draft) {
    if let (Some(_), Some(run)) = (&draft.server.postgres, draft.runs.first()) {
        reader.error_with_help(
            run.name_at,
            "with `server.state.postgres` no server runs processes itself: another one may lead",
            "give the host an agent, and write `run` into that host's configuration",
        );
    }
}

fn check_agents(reader: &mut Reader<'_>, draft: &Draft) {
    let mut sources = draft.sources.iter();
    let agents = sources.find(|read| read.source.kind == SourceKind::Agents);
    let repairs = draft.services.iter().flat_map(|read| &read.repairs);
    let host_command = repairs.flat_map(|repair| &repair.host_commands).next();
    if let (Some(at), None, true) = (host_command, agents, draft.knows_targets) {
        reader.error(
            *at,
            "a command step needs `command`: no host has an agent whose configuration could have it",
        );
    }
    let mut by_hosts = draft
        .services
        .iter()
        .filter_map(|read| read.drained_by_hosts);
    if let (None, Some(at), true) = (&agents, by_hosts.next(), draft.knows_targets) {
        reader.error(
            at,
            "a drain by name is done by the target's host: no host has an agent whose configuration could have it",
        );
    }
    if let (Some(read), None) = (agents, &draft.server.agents) {
        reader.error_with_help(
            read.at,
            "no agent can connect: the server listens for none",
            "write `server: { agents: { listen: \"0.0.0.0:7443\" } }`",
        );
    }
}

fn check_receivers(reader: &mut Reader<'_>, draft: &Draft) {
    let names = || draft.receivers.iter().map(|read| read.name.as_str());
    let repairs = draft.services.iter().flat_map(|read| &read.repairs);
    for (to, at) in repairs.flat_map(|repair| &repair.hand_overs) {
        if !draft.knows_receivers || names().any(|name| name == to.as_str()) {
            continue;
        }
        let message = match nearest(to.as_str(), names()) {
            Some(meant) => format!("there is no receiver `{to}`, did you mean `{meant}`?"),
            None => format!("there is no receiver `{to}` under `notify`"),
        };
        reader.error(*at, message);
    }
    let acting = draft
        .services
        .iter()
        .find(|read| read.service.autonomy > Autonomy::Observe && !read.service.repairs.is_empty());
    if let (true, Some(read)) = (draft.receivers.is_empty() && draft.knows_receivers, acting) {
        reader.warn(
            read.name_at,
            "nobody is told when a repair doesn't help: there are no receivers",
            "add one under `notify`",
        );
    }
}

/// A repair is proven by tests that pass again, and they take their time; one asked while the target was still
/// starting may have failed.
fn check_settles(reader: &mut Reader<'_>, draft: &Draft) {
    for read in &draft.services {
        for repair in &read.repairs {
            let tests = repair
                .when_at
                .iter()
                .filter_map(|(name, _)| read.service.test(name));
            let slowest = tests
                .filter(|test| test.kind != TestKind::Push)
                .map(|test| (test.interval * u32::from(test.success_threshold), test))
                .max_by_key(|(needed, _)| *needed);
            let Some((needed, test)) = slowest else {
                continue;
            };
            let mut settles = repair.settles.iter();
            if let Some((settle, at)) = settles.find(|(settle, _)| *settle < needed) {
                reader.warn(
                    *at,
                    format!(
                        "its time to settle, {}, may be over before `{}` can show that it helped",
                        format_duration(*settle),
                        test.name
                    ),
                    format!(
                        "it asks for {} passes {} apart: set `settle` to {} or more",
                        test.success_threshold,
                        format_duration(test.interval),
                        format_duration(needed)
                    ),
                );
            }
        }
    }
}

fn discovers(draft: &Draft) -> impl Iterator<Item = &Source> {
    let sources = draft.sources.iter().map(|read| &read.source);
    sources.filter(|source| !matches!(source.kind, SourceKind::Static { .. }))
}

fn check_selected(reader: &mut Reader<'_>, draft: &Draft, claims: &Claims<'_>) {
    if discovers(draft).next().is_some() {
        return;
    }
    for (read, claim) in draft.services.iter().zip(&claims.by_service) {
        if claim.targets == 0 && !read.service.select.0.is_empty() {
            reader.warn(
                read.select_at,
                format!(
                    "service `{}` selects none of the targets",
                    read.service.name
                ),
                "labels are compared as they are written, case included",
            );
        }
    }
}

/// A step that restarts needs something that runs the target. Targets that are found later are given the
/// benefit of the doubt, with a warning.
fn check_runners(reader: &mut Reader<'_>, draft: &Draft, claims: &Claims<'_>) {
    for (read, claim) in draft.services.iter().zip(&claims.by_service) {
        let steps: Vec<_> = read.repairs.iter().flat_map(|r| &r.runner_steps).collect();
        let runners = read
            .service
            .runs_as
            .iter()
            .chain(claim.runners.iter().copied());
        for runner in runners {
            for (action, at) in &steps {
                if let Some(why) = why_not(runner, action) {
                    reader.error(*at, format!("`{}` is not possible: {why}", action.name()));
                }
            }
        }
        if let (Some((_, at)), false) = (steps.first(), read.has_runs_as) {
            check_has_runner(reader, draft, claim, *at);
        }
    }
}

fn check_has_runner(reader: &mut Reader<'_>, draft: &Draft, claim: &Claim<'_>, at: Span) {
    const HELP: &str = "set `runs_as` on the service or on the source, for example `runs_as: { unit: web.service }`";
    if let Some(target) = claim.without_runner {
        reader.error_with_help(
            at,
            format!("nothing runs target `{target}`: set `runs_as`"),
            HELP,
        );
        return;
    }
    if claim.has_run || !claim.runners.is_empty() {
        return;
    }
    let brings_runners =
        |source: &Source| source.runs_as.is_some() || source.kind == SourceKind::Agents;
    if discovers(draft).any(brings_runners) {
        return;
    }
    match discovers(draft).next() {
        Some(source) => reader.warn(
            at,
            format!(
                "nothing runs targets from `{}`, as far as is known: set `runs_as`",
                source.name
            ),
            HELP,
        ),
        None => reader.error_with_help(at, "nothing runs these targets: set `runs_as`", HELP),
    }
}
