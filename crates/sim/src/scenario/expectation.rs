//! Reads what is expected: lines of the story, or where a target stands.

use pitcrew_model::Ending;

use super::{
    names::Names,
    order::action,
    parse::Item,
    said::{Count, Expectation, Standing, StoryLine, Subject},
    sentence::{Parsed, Sentence},
};

const SUBJECTS: [&str; 5] = ["order", "line", "notice", "refusal", "objection"];
const PLURALS: [&str; 5] = ["orders", "lines", "notices", "refusals", "objections"];
const STANDINGS: [&str; 12] = [
    "healthy",
    "failing",
    "unknown",
    "suspected",
    "confirmed",
    "held",
    "repairing",
    "verifying",
    "probation",
    "closed",
    "drained",
    "undrained",
];
/// As [`pitcrew_model::Hold::name`] names them.
const LIMITS: [&str; 20] = [
    "autonomy",
    "awaiting_approval",
    "denied",
    "paused",
    "held_by_person",
    "ledger_unwritable",
    "breaker",
    "observer_suspect",
    "quorum",
    "cooldown",
    "one_at_a_time",
    "max_in_flight",
    "per_domain",
    "max_unavailable",
    "last_healthy",
    "rate",
    "fleet_rate",
    "host_unknown",
    "interlock",
    "handed_over",
];
const ENDINGS: [Ending; 5] = [
    Ending::Cured,
    Ending::SelfRecovered,
    Ending::FalseAlarm,
    Ending::HandedOver,
    Ending::Superseded,
];

/// What follows `expect`.
pub(super) fn expectation(item: &mut Item<'_>, names: &Names) -> Parsed<Expectation> {
    if item.said.skip("story:") {
        return story(item).map(Expectation::Story);
    }
    let said = &mut item.said;
    if said.skip("nothing") {
        return Ok(Expectation::Lines {
            of: Subject::Anything,
            count: Count::Exactly(0),
        });
    }
    let count = count(said)?;
    let subjects: &[&str] = match count {
        Some(Count::Exactly(number)) if number != 1 => &PLURALS,
        Some(_) | None => &SUBJECTS,
    };
    // After `no` both are English.
    let is_one = |text: &str| {
        subjects.contains(&text)
            || matches!(count, Some(Count::Exactly(0))) && SUBJECTS.contains(&text)
    };
    match said.peek().map(|word| word.text.clone()) {
        Some(text) if is_one(&text) => {
            said.take();
            let of = subject(said, names, text.trim_end_matches('s'))?;
            let count = count.unwrap_or(Count::Some);
            Ok(Expectation::Lines { of, count })
        }
        _ if count.is_some() => Err(said.unexpected(subjects)),
        _ => {
            let known = || {
                let own = SUBJECTS.iter().chain(&["nothing", "no", "story:"]).copied();
                own.collect::<Vec<_>>()
            };
            let targets = names.targets(said, &STANDINGS).map_err(|mistake| {
                let unexpected = said.unexpected(&known());
                if unexpected.message.contains("did you mean") {
                    unexpected
                } else {
                    mistake
                }
            })?;
            let is = standing(said)?;
            Ok(Expectation::State { targets, is })
        }
    }
}

fn count(said: &mut Sentence) -> Parsed<Option<Count>> {
    if said.skip("no") {
        return Ok(Some(Count::Exactly(0)));
    }
    match said.peek() {
        Some(word) if !word.quoted && word.text.bytes().all(|b| b.is_ascii_digit()) => said
            .number("a number")
            .map(|number| Some(Count::Exactly(number))),
        _ => Ok(None),
    }
}

fn subject(said: &mut Sentence, names: &Names, subject: &str) -> Parsed<Subject> {
    Ok(match subject {
        "order" => order(said, names)?,
        "line" => Subject::Line(said.required_text("a part of the line")?),
        "notice" => Subject::Notice(said.text().unwrap_or_default()),
        "refusal" => Subject::Refusal(said.text().unwrap_or_default()),
        _ => {
            let is_number = said.peek().is_some_and(|word| !word.quoted);
            let invariant = if is_number {
                Some(said.number("the number of an invariant")?)
            } else {
                None
            };
            let text = said.text().unwrap_or_default();
            Subject::Objection { invariant, text }
        }
    })
}

/// `restart web-1 step 1 try 2 by op`, each part if wanted.
fn order(said: &mut Sentence, names: &Names) -> Parsed<Subject> {
    const PARTS: [&str; 3] = ["step", "try", "by"];
    let (mut step, mut attempt, mut by) = (None, None, None);
    let is_part = |said: &Sentence| {
        said.peek()
            .is_none_or(|word| !word.quoted && PARTS.contains(&word.text.as_str()))
    };
    let is_target = said
        .peek()
        .is_some_and(|word| names.targets.contains_key(word.text.as_str()));
    let what = if is_part(said) || is_target {
        None
    } else {
        Some(action(said, names)?)
    };
    let target = if is_part(said) {
        None
    } else {
        Some(names.target(said)?)
    };
    while said.peek().is_some() {
        match said.choice(&PARTS)? {
            "step" => step = Some(said.number::<u8>("the number of a step")?),
            "try" => attempt = Some(said.number("the number of a try")?),
            _ => by = Some(said.any("a person's name")?.text),
        }
    }
    Ok(Subject::Order {
        action: what,
        target,
        step,
        attempt,
        by,
    })
}

fn standing(said: &mut Sentence) -> Parsed<Standing> {
    Ok(match said.choice(&STANDINGS)? {
        "healthy" => Standing::Healthy,
        "failing" => Standing::Failing,
        "unknown" => Standing::Unknown,
        "suspected" => Standing::Suspected,
        "confirmed" => Standing::Confirmed,
        "held" => {
            let is_text = said.peek().is_none_or(|word| word.quoted);
            let limit = if is_text {
                None
            } else {
                Some(said.choice(&LIMITS)?.to_owned())
            };
            let text = said.text().unwrap_or_default();
            Standing::Held { limit, text }
        }
        "repairing" => Standing::Repairing,
        "verifying" => Standing::Verifying,
        "probation" => Standing::Probation,
        "drained" => Standing::Drained(true),
        "undrained" => Standing::Drained(false),
        _ => Standing::Closed(ending(said)?),
    })
}

/// In words: `closed false alarm`.
fn ending(said: &mut Sentence) -> Parsed<Option<String>> {
    if said.peek().is_none() {
        return Ok(None);
    }
    let names: Vec<String> = ENDINGS.iter().map(ToString::to_string).collect();
    let firsts: Vec<&str> = names
        .iter()
        .map(|name| name.split(' ').next().unwrap_or(name))
        .collect();
    let first = said.choice(&firsts)?;
    let name = names
        .iter()
        .find(|name| name.split(' ').next() == Some(first))
        .map_or(first, String::as_str);
    if let Some((_, rest)) = name.split_once(' ') {
        said.must(rest)?;
    }
    Ok(Some(name.to_owned()))
}

fn story(item: &Item<'_>) -> Parsed<Vec<StoryLine>> {
    let lines = item
        .block
        .iter()
        .map(|(number, text)| (*number, text.trim()));
    let lines = lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#'));
    let lines = lines.map(|(number, text)| {
        let beginning = text.strip_suffix('…').or_else(|| text.strip_suffix("..."));
        StoryLine {
            number,
            text: one_blank_apart(beginning.unwrap_or(text)),
            is_beginning: beginning.is_some(),
        }
    });
    Ok(lines.collect())
}

pub(super) fn one_blank_apart(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
