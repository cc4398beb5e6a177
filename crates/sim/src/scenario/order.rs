//! Reads what people do, and orders that no sound planner gives.

use super::{
    mistake::{Mistake, instead_of},
    names::{ACTIONS, Names},
    said::{Act, Hand, Proposal},
    sentence::{Parsed, Sentence},
};

/// `person op holds web-1 for 2h "why"`
pub(super) fn person(said: &mut Sentence, names: &Names) -> Parsed<Act> {
    const VERBS: [&str; 9] = [
        "holds", "releases", "pauses", "resumes", "orders", "approves", "denies", "closes",
        "accepts",
    ];
    let by = said.any("a person's name")?.text;
    let does = match said.choice(&VERBS)? {
        "holds" => {
            let target = names.target(said)?;
            said.must("for")?;
            let lasts = said.duration()?;
            let why = said.required_text("why")?;
            Hand::Holds { target, lasts, why }
        }
        "releases" => Hand::Releases(names.target(said)?),
        "pauses" => {
            let scope = names.scope(said)?;
            let why = said.required_text("why")?;
            Hand::Pauses { scope, why }
        }
        "resumes" => Hand::Resumes(names.scope(said)?),
        "orders" => {
            let action = action(said, names)?;
            let target = names.target(said)?;
            let why = said.text().unwrap_or_default();
            Hand::Orders {
                action,
                target,
                why,
            }
        }
        "approves" => {
            let target = names.target(said)?;
            let digest = if said.skip("with") {
                said.must("digest")?;
                Some(said.any("a digest")?.text)
            } else {
                None
            };
            Hand::Approves { target, digest }
        }
        "denies" => Hand::Denies(names.target(said)?),
        "accepts" => {
            said.must("discovery")?;
            let why = said.text().unwrap_or_default();
            Hand::Accepts { why }
        }
        _ => {
            let target = names.target(said)?;
            let why = said.text().unwrap_or_default();
            Hand::Closes { target, why }
        }
    };
    Ok(Act::Person { by, does })
}

/// One of the catalogue, or a command or webhook of the production.
pub(super) fn action(said: &mut Sentence, names: &Names) -> Parsed<String> {
    let own = names.actions.iter().map(String::as_str);
    let known: Vec<&str> = ACTIONS.into_iter().chain(own).collect();
    match said.peek() {
        Some(word) if known.contains(&word.text.as_str()) => {
            let name = word.text.clone();
            said.take();
            Ok(name)
        }
        _ => Err(said.unexpected(&known)),
    }
}

/// `propose restart web-1 try=3 fence=1`
pub(super) fn propose(said: &mut Sentence, names: &Names, column: usize) -> Parsed<Proposal> {
    const KEYS: [&str; 12] = [
        "host",
        "service",
        "by",
        "approved",
        "repair",
        "step",
        "try",
        "fence",
        "given",
        "operation",
        "lease",
        "lasts",
    ];
    let mut proposal = Proposal {
        action: action(said, names)?,
        target: names.target(said)?,
        host: None,
        service: None,
        by: None,
        approved_by: None,
        repair: None,
        step: None,
        attempt: None,
        fence: None,
        given_ms: 0,
        repeats: false,
        lease: None,
        lasts: None,
    };
    while let Some(word) = said.take() {
        let Some((key, value)) = word.text.split_once('=') else {
            let message = format!(
                "`{}` is not one of {}, each with `=`",
                word.text,
                KEYS.join(", ")
            );
            return Err(said.mistake_at(&word, message));
        };
        let wrong = |what: &str| said.mistake_at(&word, format!("`{value}` is not {what}"));
        match key {
            "host" => {
                proposal.host = Some(value.parse().map_err(|_| wrong("the name of a target"))?)
            }
            "service" => proposal.service = Some(names.service(said, &word, value)?),
            "by" => proposal.by = Some(value.to_owned()),
            "approved" => proposal.approved_by = Some(value.to_owned()),
            "repair" => proposal.repair = Some(value.to_owned()),
            "step" => {
                proposal.step = Some(
                    value
                        .parse::<u8>()
                        .ok()
                        .filter(|step| *step > 0)
                        .ok_or_else(|| wrong("a step from 1"))?,
                )
            }
            "try" => {
                proposal.attempt = Some(value.parse().map_err(|_| wrong("a number of a try"))?)
            }
            "fence" => proposal.fence = Some(value.parse().map_err(|_| wrong("a fence"))?),
            "given" => {
                proposal.given_ms =
                    offset(value).ok_or_else(|| wrong("a time from now such as `-2m` or `+5s`"))?
            }
            "lease" => {
                proposal.lease = Some(value.parse().map_err(|_| wrong("an order's number"))?)
            }
            "lasts" => {
                let lasts = pitcrew_model::parse_duration(value);
                proposal.lasts = Some(lasts.map_err(|_| wrong("a duration such as `10m`"))?);
            }
            "operation" if value == "again" => proposal.repeats = true,
            "operation" => return Err(wrong("`again`, the only one possible")),
            _ => {
                let instead = instead_of(key, KEYS);
                return Err(said.mistake_at(&word, format!("unknown `{key}`{instead}")));
            }
        }
    }
    if proposal.by.is_some() && proposal.approved_by.is_some() {
        return Err(Mistake::new(
            said.line,
            column,
            "either `by=` or `approved=`",
        ));
    }
    Ok(proposal)
}

fn offset(text: &str) -> Option<i64> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("-", rest) => (-1, rest),
        ("+", rest) => (1, rest),
        _ => return None,
    };
    let duration = pitcrew_model::parse_duration(rest).ok()?;
    i64::try_from(duration.as_millis()).ok().map(|ms| sign * ms)
}
