//! Takes the guards of engine and interlock away, one at a time, and shows which scenarios and which seeds notice:
//! `cargo xtask guards`.
//!
//! A guard whose absence nobody notices is either not needed or not tested; both are errors. With all guards in
//! place everything must hold first, or what is noticed proves nothing. The same seed or scenario that never asks
//! for a guard can't miss it and is not run without it; quick ones are run first, until enough of them notice.
//!
//! Engine and interlock hide each other's mistakes, as they should. A scenario shows a missing guard of the engine
//! by the name of the limit that holds something back, and one of the interlock by proposing what no sound planner
//! would. Seeds know only outcomes, so the engine's guards are missed by them with nobody behind it; where the
//! engine alone already has a flaw, a seed is left out.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

#[path = "guards/by_hand.rs"]
mod by_hand;
#[path = "../tests/incidents/mod.rs"]
mod incidents;

use std::{
    collections::BTreeSet,
    fmt,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::Mutex,
    thread,
};

use pitcrew_engine::guards as engine;
use pitcrew_interlock::guards as interlock;
use pitcrew_sim::{scenario::Scenario, trial::Trial};

/// One guard to be taken away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Guard {
    Engine(engine::Guard),
    Interlock(interlock::Guard),
}

/// What is run with a guard away.
enum Work {
    Scenario(Box<Scenario>),
    ByHand(by_hand::Check),
    Seed(u64),
}

struct Watcher {
    name: String,
    work: Work,
    /// Guards that it asks for when all are in place.
    asks_for: BTreeSet<Guard>,
    /// How often it asks for any: the more, the longer it takes.
    cost: u64,
}

/// Somebody noticed: who, and what they saw.
struct Notice {
    by: String,
    is_seed: bool,
    saw: String,
}

struct Arguments {
    list: bool,
    /// Only guards whose name contains this.
    only: Option<String>,
    seeds: u64,
    /// Everybody who notices, not only the first few.
    all: bool,
}

/// So many scenarios that notice are enough, and then one seed.
const ENOUGH: usize = 2;

impl Guard {
    fn all() -> Vec<Self> {
        let engine = engine::Guard::ALL.iter().copied().map(Self::Engine);
        let interlock = interlock::Guard::ALL.iter().copied().map(Self::Interlock);
        engine.chain(interlock).collect()
    }

    fn what(self) -> &'static str {
        match self {
            Self::Engine(guard) => guard.what(),
            Self::Interlock(guard) => guard.what(),
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Engine(guard) => format!("engine.{}", guard.name()),
            Self::Interlock(guard) => format!("interlock.{}", guard.name()),
        };
        f.pad(&name)
    }
}

impl Work {
    /// What is wrong when it is done in this thread without `guard`.
    fn flaw(&self, guard: Option<Guard>) -> Option<String> {
        let alone = match self {
            Self::Seed(_) => true,
            Self::Scenario(_) | Self::ByHand(_) => false,
        };
        self.flaw_of(guard, alone)
    }

    /// `alone`: without the interlock.
    fn flaw_of(&self, guard: Option<Guard>, alone: bool) -> Option<String> {
        let (mut of_engine, mut of_interlock) = (Vec::new(), Vec::new());
        match guard {
            Some(Guard::Engine(guard)) => of_engine.push(guard),
            Some(Guard::Interlock(guard)) => of_interlock.push(guard),
            None => {}
        }
        if alone {
            of_engine.extend([
                engine::Guard::InterlockObeyed,
                engine::Guard::PersonsInterlock,
            ]);
        }
        engine::switch_off(&of_engine);
        interlock::switch_off(&of_interlock);
        let flaw = panic::catch_unwind(AssertUnwindSafe(|| self.run()));
        engine::switch_off(&[]);
        interlock::switch_off(&[]);
        flaw.unwrap_or_else(|_| Some("it panics".to_owned()))
    }

    fn run(&self) -> Option<String> {
        match self {
            Self::Scenario(scenario) => scenario.run().err().map(|failure| {
                let (line, expected, found) = (failure.line, failure.expected, failure.found);
                format!("line {line}: wanted `{expected}`, but {found}")
            }),
            Self::ByHand(check) => check(),
            Self::Seed(seed) => match Trial::of(*seed).and_then(|trial| trial.run()) {
                Ok(verdict) => verdict.flaws.first().map(ToString::to_string),
                Err(error) => Some(error.to_string()),
            },
        }
    }

    /// Whether it could notice that `guard` is away.
    fn may_notice(&self, guard: Guard) -> bool {
        match (self, guard) {
            (Self::Scenario(_) | Self::ByHand(_), _) => true,
            // A sound engine never tries what the interlock would refuse; the one that obeys it is away already.
            (Self::Seed(_), Guard::Interlock(_)) => false,
            (Self::Seed(_), Guard::Engine(guard)) => !matches!(
                guard,
                engine::Guard::InterlockObeyed | engine::Guard::PersonsInterlock
            ),
        }
    }
}

fn take_asked() -> impl Iterator<Item = (Guard, u64)> {
    let of_engine = engine::take_asked().into_iter();
    let of_interlock = interlock::take_asked().into_iter();
    let of_engine = of_engine.map(|(guard, times)| (Guard::Engine(guard), times));
    of_engine.chain(of_interlock.map(|(guard, times)| (Guard::Interlock(guard), times)))
}

impl Watcher {
    /// Everybody, with all guards in place.
    ///
    /// # Errors
    /// Those who are not content as it is.
    fn all(seeds: u64) -> Result<Vec<Self>, String> {
        let mut work = Vec::new();
        for (file, text) in incidents::all() {
            let scenario = incidents::read(&text).map_err(|mistakes| {
                let first = mistakes.first().map(ToString::to_string);
                format!("{file}:{}", first.unwrap_or_default())
            })?;
            let name = file.trim_end_matches(".scenario").to_owned();
            work.push((name, Work::Scenario(Box::new(scenario))));
        }
        let by_hand = by_hand::ALL.into_iter();
        work.extend(by_hand.map(|(name, check)| (name.to_owned(), Work::ByHand(check))));
        work.extend((0..seeds).map(|seed| (format!("seed {seed}"), Work::Seed(seed))));
        let watchers = in_parallel(&work, |(_, work)| {
            let flaw = work.flaw_of(None, false);
            take_asked().for_each(drop);
            let alone = work.flaw(None);
            let asked: Vec<(Guard, u64)> = take_asked().collect();
            (flaw, alone, asked)
        });
        let mut content = Vec::new();
        let mut flaws = Vec::new();
        for ((name, work), (flaw, alone, asked)) in work.into_iter().zip(watchers) {
            if flaw.is_none() && alone.is_some() {
                println!("{name} needs the interlock and is left out");
                continue;
            }
            flaws.extend(flaw.map(|flaw| format!("{name}: {flaw}")));
            let asked = || asked.iter().filter(|(_, times)| *times > 0);
            content.push(Self {
                name,
                work,
                asks_for: asked().map(|(guard, _)| *guard).collect(),
                cost: asked().map(|(_, times)| times).sum(),
            });
        }
        if flaws.is_empty() {
            content.sort_by_key(|watcher| (watcher.is_seed(), watcher.cost));
            return Ok(content);
        }
        flaws.push("with all guards in place everything must hold first".to_owned());
        Err(flaws.join("\n"))
    }

    fn is_seed(&self) -> bool {
        matches!(self.work, Work::Seed(_))
    }

    fn notice(&self, guard: Guard) -> Option<Notice> {
        if !self.asks_for.contains(&guard) || !self.work.may_notice(guard) {
            return None;
        }
        let saw = self.work.flaw(Some(guard))?;
        Some(Notice {
            by: self.name.clone(),
            is_seed: self.is_seed(),
            saw,
        })
    }
}

/// Those who notice that `guard` is away; with `all`, every one of them.
fn notices(watchers: &[Watcher], guard: Guard, all: bool) -> Vec<Notice> {
    let mut notices: Vec<Notice> = Vec::new();
    for watcher in watchers {
        let is_seed = watcher.is_seed();
        let alike = notices.iter().filter(|notice| notice.is_seed == is_seed);
        let enough = if is_seed { 1 } else { ENOUGH };
        if all || alike.count() < enough {
            notices.extend(watcher.notice(guard));
        }
    }
    notices
}

/// On all cores; results in the order of the items.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(0..items.len());
    let done: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let taken = next.lock().expect("nobody panics while holding it").next();
                    let Some(at) = taken else { return };
                    let result = work(&items[at]);
                    done.lock().expect("nobody panics while holding it")[at] = Some(result);
                }
            });
        }
    });
    let done = done.into_inner().expect("nobody panics while holding it");
    done.into_iter()
        .map(|result| result.expect("each item was taken and done"))
        .collect()
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        list: false,
        only: None,
        seeds: 0,
        all: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => arguments.list = true,
            "--all" => arguments.all = true,
            "--only" => arguments.only = Some(words.next().ok_or("--only needs a guard's name")?),
            "--seeds" => {
                let seeds = words.next().and_then(|seeds| seeds.parse().ok());
                arguments.seeds = seeds.ok_or("--seeds needs a number")?;
            }
            _ => return Err(format!("unexpected `{word}`")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, String> {
    let arguments = arguments()?;
    let is_wanted = |guard: &Guard| {
        let only = arguments.only.as_deref().unwrap_or_default();
        guard.to_string().contains(only)
    };
    let guards: Vec<Guard> = Guard::all().into_iter().filter(is_wanted).collect();
    if guards.is_empty() {
        return Err("no guard has that name; see: cargo xtask guards --list".to_owned());
    }
    if arguments.list {
        for guard in guards {
            println!("{guard:40} {}", guard.what());
        }
        return Ok(ExitCode::SUCCESS);
    }
    // What a missing guard breaks may well be an assertion; the table says so.
    panic::set_hook(Box::new(|_| ()));
    let watchers = Watcher::all(arguments.seeds)?;
    let noticed = in_parallel(&guards, |guard| notices(&watchers, *guard, arguments.all));
    Ok(match report(&guards, &noticed, arguments.all) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The table, and how many guards nobody misses.
fn report(guards: &[Guard], noticed: &[Vec<Notice>], all: bool) -> usize {
    for (guard, notices) in guards.iter().zip(noticed) {
        let seeds = notices.iter().filter(|notice| notice.is_seed).count();
        let more = |found: usize, enough: usize| if !all && found >= enough { "+" } else { "" };
        println!(
            "{guard:42} {}{} scenarios, {seeds}{} seeds",
            notices.len() - seeds,
            more(notices.len() - seeds, ENOUGH),
            more(seeds, 1),
        );
        for Notice { by, saw, .. } in notices {
            println!("    {by}: {saw}");
        }
    }
    let missed: Vec<&Guard> = guards
        .iter()
        .zip(noticed)
        .filter(|(_, notices)| notices.is_empty())
        .map(|(guard, _)| guard)
        .collect();
    println!(
        "{} guards, {} of them noticed when they are away",
        guards.len(),
        guards.len() - missed.len()
    );
    for guard in &missed {
        println!("nothing notices without {guard}: {}", guard.what());
    }
    missed.len()
}
