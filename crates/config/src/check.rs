//! What can only be seen when everything is read: names, references, ports, who claims which target, and
//! whether anything runs what is to be restarted.

use std::collections::HashMap;

use pitcrew_model::{Autonomy, Labels, Runner, Source, SourceKind};

use crate::{
    place::Span,
    read::{Draft, runner::why_not, service::ReadService},
    reader::Reader,
    suggest::nearest,
};

pub(crate) fn check(reader: &mut Reader<'_>, draft: &Draft) {
    check_names(reader, draft);
    check_targets_once(reader, draft);
    check_ports(reader, draft);
    check_receivers(reader, draft);
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
        SourceKind::File { .. } | SourceKind::Http { .. } | SourceKind::Dns { .. } => &[],
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

/// Services by the rarest pair of their selector, so that a target meets only services it may belong to.
struct Index<'d> {
    services: &'d [ReadService],
    by_pair: HashMap<(&'d str, &'d str), Vec<usize>>,
}

impl<'d> Index<'d> {
    fn new(services: &'d [ReadService]) -> Self {
        let pairs = |at: usize| {
            let labels = services[at].service.select.0.iter();
            labels.map(|(name, value)| (&**name, &**value))
        };
        let mut uses: HashMap<(&str, &str), usize> = HashMap::new();
        for pair in (0..services.len()).flat_map(pairs) {
            *uses.entry(pair).or_default() += 1;
        }
        let mut by_pair: HashMap<_, Vec<usize>> = HashMap::new();
        for at in 0..services.len() {
            if let Some(rarest) = pairs(at).min_by_key(|pair| uses[pair]) {
                by_pair.entry(rarest).or_default().push(at);
            }
        }
        Self { services, by_pair }
    }

    /// Services that select a target with these labels.
    fn selecting(&self, labels: &Labels) -> Vec<usize> {
        let pairs = labels.iter();
        let mut found: Vec<usize> = pairs
            .filter_map(|(name, value)| self.by_pair.get(&(&**name, &**value)))
            .flatten()
            .copied()
            .filter(|at| self.services[*at].service.select.selects(labels))
            .collect();
        found.sort_unstable();
        found
    }
}

/// A target belongs to one service, so a selector that contains another's pairs can never be right.
/// The pairs of services that were reported.
fn check_selectors(
    reader: &mut Reader<'_>,
    services: &[ReadService],
    index: &Index<'_>,
) -> Vec<(usize, usize)> {
    let mut reported = Vec::new();
    for (narrow, read) in services.iter().enumerate() {
        for wide in index.selecting(&read.service.select.0) {
            let pair = (narrow.min(wide), narrow.max(wide));
            if wide == narrow || reported.contains(&pair) {
                continue;
            }
            let other = &services[wide];
            let (name, other_name) = (&read.service.name, &other.service.name);
            let place = reader.place(other.select_at);
            let message = if read.service.select == other.service.select {
                format!(
                    "`{name}` and `{other_name}` select the same targets; the other is at {place}"
                )
            } else {
                format!("every target of `{name}` is claimed by `{other_name}` too, at {place}")
            };
            reader.error_with_help(
                read.select_at,
                message,
                "a target belongs to one service: make the labels exclude each other",
            );
            reported.push(pair);
        }
    }
    reported
}

/// What is known of the targets that are written down, by service.
struct Claims<'d> {
    by_service: Vec<Claim<'d>>,
    /// Two services, a target that both select, and how many there are.
    disputed: Vec<Disputed>,
}

struct Disputed {
    services: (usize, usize),
    target: String,
    count: usize,
}

#[derive(Default)]
struct Claim<'d> {
    targets: usize,
    without_runner: Option<&'d str>,
    runners: Vec<&'d Runner>,
    has_run: bool,
}

impl<'d> Claims<'d> {
    fn new(draft: &'d Draft, index: &Index<'d>) -> Self {
        let mut claims = Self {
            by_service: draft.services.iter().map(|_| Claim::default()).collect(),
            disputed: Vec::new(),
        };
        for read in &draft.sources {
            let Some(first) = static_targets(&read.source).first() else {
                continue;
            };
            let count = static_targets(&read.source).len();
            for at in claims.claim(index, &read.source.labels, first, count) {
                let claim = &mut claims.by_service[at];
                match &read.source.runs_as {
                    Some(runner) => claim.runners.push(runner),
                    None => claim.without_runner = claim.without_runner.or(Some(first)),
                }
            }
        }
        for read in &draft.runs {
            for (number, id) in (1..=read.run.instances).zip(read.ids()) {
                for at in claims.claim(index, &read.labels_of(number), &id, 1) {
                    claims.by_service[at].has_run = true;
                }
            }
        }
        claims
    }

    /// The services that select these targets.
    fn claim(
        &mut self,
        index: &Index<'_>,
        labels: &Labels,
        target: &str,
        count: usize,
    ) -> Vec<usize> {
        let selecting = index.selecting(labels);
        for at in &selecting {
            self.by_service[*at].targets += count;
        }
        if let [first, second, ..] = selecting[..] {
            let services = (first, second);
            match self
                .disputed
                .iter_mut()
                .find(|disputed| disputed.services == services)
            {
                Some(disputed) => disputed.count += count,
                None => self.disputed.push(Disputed {
                    services,
                    target: target.to_owned(),
                    count,
                }),
            }
        }
        selecting
    }
}

fn check_claims(
    reader: &mut Reader<'_>,
    draft: &Draft,
    claims: &Claims<'_>,
    reported: &[(usize, usize)],
) {
    for disputed in &claims.disputed {
        if reported.contains(&disputed.services) {
            continue;
        }
        let (first, second) = disputed.services;
        let (first, second) = (&draft.services[first], &draft.services[second]);
        let more = match disputed.count - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        reader.error_with_help(
            second.select_at,
            format!(
                "target `{}` is claimed by `{}` and `{}`{more}",
                disputed.target, first.service.name, second.service.name
            ),
            "a target belongs to one service: make the labels exclude each other",
        );
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
    if discovers(draft).any(|source| source.runs_as.is_some()) {
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
