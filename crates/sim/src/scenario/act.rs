//! Reads what happens: the truth about targets, what becomes of orders, server, ledger, discovery, observers.

use std::time::Duration;

use super::{
    mistake::{Mistake, instead_of},
    names::Names,
    order::{person, propose},
    said::{Act, Condition, Discovery, Heard, Observer, OrderEffect, Rule, Server, State, Without},
    sentence::{Parsed, Sentence},
};
use crate::Side;

const SUBJECTS: [&str; 16] = [
    "person",
    "server",
    "clock",
    "ledger",
    "discovery",
    "observer",
    "propose",
    "expect",
    "restart",
    "start",
    "stop",
    "reboot",
    "power_cycle",
    "drain",
    "undrain",
    "renew",
];
const TRUTHS: [&str; 9] = [
    "up", "down", "silent", "flapping", "fails", "passes", "warns", "flaps", "hides",
];
const TAKES: Duration = Duration::from_secs(1);

/// A line without its time.
pub(super) fn act(said: &mut Sentence, names: &mut Names, without: Option<Without>) -> Parsed<Act> {
    let Some(first) = said.peek().cloned() else {
        return Err(said.mistake("what happens is missing here"));
    };
    let is_action =
        names.actions.contains(&first.text) && !names.targets.contains_key(first.text.as_str());
    let is_subject = !first.quoted && SUBJECTS.contains(&first.text.as_str());
    if !is_action && !is_subject {
        return truth(said, names);
    }
    said.take();
    match first.text.as_str() {
        "person" => person(said, names),
        "server" => server(said).map(Act::Server),
        "clock" => clock(said),
        "ledger" => Ok(Act::LedgerFull(said.choice(&["full", "works"])? == "full")),
        "discovery" => discovery(said, names).map(Act::Discovery),
        "observer" => observer(said, names),
        "propose" if without != Some(Without::Interlock) => {
            propose(said, names, first.column).map(Act::Propose)
        }
        "propose" => Err(said.mistake_at(&first, "nobody judges a proposal `without: interlock`")),
        action => rule(said, names, action.to_owned()).map(Act::Orders),
    }
}

/// `web-1 down "out of memory" for 30s seen by far`
fn truth(said: &mut Sentence, names: &Names) -> Parsed<Act> {
    let known = SUBJECTS.iter().chain(&TRUTHS).copied().collect::<Vec<_>>();
    let targets = match names.targets(said, &TRUTHS) {
        Ok(targets) => targets,
        Err(mistake) => return Err(or_subject(said, mistake, &known)),
    };
    let verb = said.choice(&TRUTHS)?;
    let (state, has_test) = match verb {
        "up" => (State::Passes, false),
        "down" => (State::Fails, false),
        "silent" => (State::Silent, false),
        "flapping" => (State::Flaps, false),
        "fails" => (State::Fails, true),
        "passes" => (State::Passes, true),
        "warns" => (State::Warns, true),
        "hides" => (State::Silent, true),
        _ => (State::Flaps, true),
    };
    let test = if has_test {
        Some(names.test(said)?)
    } else {
        None
    };
    let evidence = said.text();
    let lasts = if said.skip("for") {
        Some(said.duration()?)
    } else {
        None
    };
    let mut seen_by = Vec::new();
    if said.skip("seen") {
        said.must("by")?;
        while said.peek().is_some() {
            seen_by.push(names.observer(said)?);
        }
        if seen_by.is_empty() {
            return Err(said.mistake("an observer is missing here"));
        }
    }
    let condition = Condition {
        state,
        test,
        seen_by,
        evidence,
        lasts,
    };
    Ok(Act::Truth { targets, condition })
}

/// The line may have been meant to begin with another word.
fn or_subject(said: &Sentence, mistake: Mistake, known: &[&str]) -> Mistake {
    let Some(word) = said.peek() else {
        return mistake;
    };
    let instead = instead_of(&word.text, known.iter().copied());
    if instead.contains("did you mean") && !mistake.message.contains("did you mean") {
        Mistake::new(
            mistake.line,
            mistake.column,
            format!("unexpected `{}`{instead}", word.text),
        )
    } else {
        mistake
    }
}

/// `restart of web-1 does not help unheard after 20s`
fn rule(said: &mut Sentence, names: &Names, action: String) -> Parsed<Rule> {
    const EFFECTS: [&str; 4] = ["cures", "does", "breaks", "fails"];
    let of = if said.skip("of") {
        names.targets(said, &EFFECTS)?
    } else {
        Vec::new()
    };
    let effect = match said.choice(&EFFECTS)? {
        "cures" => OrderEffect::Cures,
        "does" => {
            said.must("not help")?;
            OrderEffect::DoesNotHelp
        }
        "breaks" => OrderEffect::Breaks,
        _ => OrderEffect::Fails,
    };
    let heard = match effect {
        OrderEffect::Fails => Heard::Done,
        _ if said.skip("unheard") => Heard::Never,
        _ if said.skip("unclear") => Heard::Unclear,
        _ => Heard::Done,
    };
    let takes = if said.skip("after") {
        said.duration()?
    } else {
        TAKES
    };
    Ok(Rule {
        action,
        of,
        effect,
        heard,
        takes,
    })
}

fn server(said: &mut Sentence) -> Parsed<Server> {
    match said.choice(&["crashes", "starts", "pauses"])? {
        "starts" => Ok(Server::Starts),
        "pauses" => Ok(Server::Pauses(said.duration()?)),
        _ => {
            let side = match () {
                () if said.skip("before") => match said.choice(&["writing", "sending"])? {
                    "writing" => Some(Side::BeforeWrite),
                    _ => Some(Side::AfterWrite),
                },
                () if said.skip("after") => {
                    said.must("sending")?;
                    Some(Side::AfterSend)
                }
                () => None,
            };
            if side.is_some() {
                said.must("the next order")?;
            }
            let away = if said.skip("for") {
                Some(said.duration()?)
            } else {
                None
            };
            Ok(match side {
                Some(side) => Server::CrashesAtNextOrder(side, away),
                None => Server::Crashes(away),
            })
        }
    }
}

fn clock(said: &mut Sentence) -> Parsed<Act> {
    said.must("steps")?;
    let is_back = said.skip("back");
    let step_ms = i64::try_from(said.duration()?.as_millis()).unwrap_or(i64::MAX);
    Ok(Act::ClockSteps(if is_back { -step_ms } else { step_ms }))
}

fn discovery(said: &mut Sentence, names: &mut Names) -> Parsed<Discovery> {
    const VERBS: [&str; 5] = ["loses", "gives", "answers", "fails", "works"];
    Ok(match said.choice(&VERBS)? {
        "loses" => Discovery::Loses(names.targets(said, &[])?),
        "gives" => {
            let given = names.introduce(said)?;
            if let Some(objection) = given.iter().find_map(|target| names.objection(target)) {
                return Err(said.mistake(objection));
            }
            Discovery::Gives(given)
        }
        "answers" => {
            said.must("nothing")?;
            Discovery::AnswersNothing
        }
        "fails" => Discovery::Fails(
            said.text()
                .unwrap_or_else(|| "connection refused".to_owned()),
        ),
        _ => Discovery::Works,
    })
}

fn observer(said: &mut Sentence, names: &Names) -> Parsed<Act> {
    let observer = names.observer(said)?;
    let is = match said.choice(&[
        "works", "silent", "suspect", "sees", "says", "late", "heard",
    ])? {
        "works" => Observer::Works,
        "silent" => Observer::Silent,
        "suspect" => Observer::Suspect(said.required_text("its trouble")?),
        "late" => Observer::Late(said.duration()?),
        "heard" => {
            said.must("twice")?;
            Observer::HeardTwice
        }
        "says" => {
            said.must("unchanged")?;
            let is_ahead = said.peek().is_some();
            let ahead = if is_ahead {
                said.duration()?
            } else {
                Duration::ZERO
            };
            if is_ahead {
                said.must("ahead")?;
            }
            Observer::SaysUnchanged(ahead)
        }
        _ => {
            said.must("all")?;
            match said.choice(&["down", "up"])? {
                "down" => Observer::SeesAllDown,
                _ => Observer::SeesAllUp,
            }
        }
    };
    Ok(Act::Observer { observer, is })
}
