//! Takes the guards of engine and interlock away, one at a time, and shows which scenarios and which seeds notice:
//! `cargo xtask guards`.
//!
//! A guard whose absence nobody notices is either not needed or not tested; both are errors. With all guards in
//! place everything must hold first, or what is noticed proves nothing.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

#[path = "../tests/incidents/mod.rs"]
mod incidents;

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::Mutex,
    thread,
};

use pitcrew_engine::guards as engine;
use pitcrew_interlock::guards as interlock;
use pitcrew_sim::scenario::Scenario;

/// One guard to be taken away.
#[derive(Clone, Copy)]
enum Guard {
    Engine(engine::Guard),
    Interlock(interlock::Guard),
}

/// Somebody noticed: who, and what they saw.
struct Notice {
    by: String,
    saw: String,
}

/// What is run with each guard away.
struct Watchers {
    scenarios: Vec<(String, Scenario)>,
}

struct Arguments {
    list: bool,
    /// Only guards whose name contains this.
    only: Option<String>,
    /// Everybody who notices, not only the first few.
    all: bool,
}

/// Names shown in the table for each guard.
const SHOWN: usize = 2;

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

    /// Runs `work` in this thread without the guard.
    fn without<T>(guard: Option<Self>, work: impl FnOnce() -> T) -> T {
        let (mut of_engine, mut of_interlock) = (None, None);
        match guard {
            Some(Self::Engine(guard)) => of_engine = Some(guard),
            Some(Self::Interlock(guard)) => of_interlock = Some(guard),
            None => {}
        }
        engine::switch_off(of_engine);
        interlock::switch_off(of_interlock);
        let done = work();
        engine::switch_off(None);
        interlock::switch_off(None);
        done
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

impl Watchers {
    fn read() -> Result<Self, String> {
        let scenarios = incidents::all().into_iter().map(|(file, text)| {
            let scenario = incidents::read(&text).map_err(|mistakes| {
                let first = mistakes.first().map(ToString::to_string);
                format!("{file}:{}", first.unwrap_or_default())
            })?;
            Ok((file, scenario))
        });
        Ok(Self {
            scenarios: scenarios.collect::<Result<_, String>>()?,
        })
    }

    /// Everybody who notices that `guard` is away; with `None`, everybody who is not content as it is.
    fn notices(&self, guard: Option<Guard>) -> Vec<Notice> {
        let notice = |(file, scenario): &(String, Scenario)| {
            let run = || scenario.run().map(|_| ());
            let saw = match panic::catch_unwind(AssertUnwindSafe(|| Guard::without(guard, run))) {
                Ok(Ok(())) => return None,
                Ok(Err(failure)) => format!(
                    "line {}: wanted `{}`, but {}",
                    failure.line, failure.expected, failure.found
                ),
                Err(_) => "it panicked".to_owned(),
            };
            let by = file.trim_end_matches(".scenario").to_owned();
            Some(Notice { by, saw })
        };
        self.scenarios.iter().filter_map(notice).collect()
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        list: false,
        only: None,
        all: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => arguments.list = true,
            "--all" => arguments.all = true,
            "--only" => arguments.only = Some(words.next().ok_or("--only needs a guard's name")?),
            _ => return Err(format!("unexpected `{word}`")),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            println!("error: {error}");
            ExitCode::from(2)
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
    let watchers = Watchers::read()?;
    let discontent = watchers.notices(None);
    if !discontent.is_empty() {
        for Notice { by, saw } in &discontent {
            println!("{by}: {saw}");
        }
        println!("with all guards in place everything must hold first");
        return Ok(ExitCode::FAILURE);
    }
    // What a missing guard breaks may well be an assertion; the table says so.
    panic::set_hook(Box::new(|_| ()));
    let noticed = all_notices(&watchers, &guards);
    let missed = report(&guards, &noticed, arguments.all);
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// For each guard, those who notice that it is away.
fn all_notices(watchers: &Watchers, guards: &[Guard]) -> Vec<Vec<Notice>> {
    let next = Mutex::new(0..guards.len());
    let noticed: Mutex<Vec<Vec<Notice>>> = Mutex::new(guards.iter().map(|_| Vec::new()).collect());
    let work = || {
        loop {
            let taken = next.lock().expect("nobody panics while holding it").next();
            let Some(at) = taken else { return };
            let notices = watchers.notices(Some(guards[at]));
            noticed.lock().expect("nobody panics while holding it")[at] = notices;
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    noticed.into_inner().expect("nobody panics while holding it")
}

/// The table, and how many guards nobody misses.
fn report(guards: &[Guard], noticed: &[Vec<Notice>], all: bool) -> usize {
    println!("{:42} {:>9}  noticed by", "without", "scenarios");
    for (guard, notices) in guards.iter().zip(noticed) {
        let shown = if all { notices.len() } else { SHOWN };
        let names: Vec<&str> = notices
            .iter()
            .take(shown)
            .map(|notice| notice.by.as_str())
            .collect();
        let more = if notices.len() > shown { ", …" } else { "" };
        println!("{guard:42} {:>9}  {}{more}", notices.len(), names.join(", "));
        if let Some(first) = notices.first() {
            println!("{:42} {:>9}    {}", "", "", first.saw);
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
