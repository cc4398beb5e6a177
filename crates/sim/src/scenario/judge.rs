//! Does an expectation hold now? What is so instead, if it doesn't.

use pitcrew_model::{Case, Health, Hold, Phase, TargetId, format_duration};

use super::{
    Failure,
    expectation::one_blank_apart,
    run::Run,
    said::{Count, Expectation, Line, Standing, StoryLine as Wanted, Subject},
    story::StoryLine,
};

/// Lines of the story shown with a failure.
const SHOWN: usize = 24;

impl Run<'_> {
    pub(super) fn judge(&self, expectation: &Expectation) -> Result<(), String> {
        match expectation {
            Expectation::Story(wanted) => self.is_story(wanted),
            Expectation::Lines { of, count } => self.are_there(of, *count),
            Expectation::State { targets, is } => targets
                .iter()
                .try_for_each(|target| self.stands(target, is)),
        }
    }

    /// What was written since the last expectation.
    fn news(&self) -> &[StoryLine] {
        &self.server.story.lines[self.since..]
    }

    fn are_there(&self, of: &Subject, count: Count) -> Result<(), String> {
        let mut found = self.news().iter().filter(|line| line.is(of));
        let first = found.next();
        let number = usize::from(first.is_some()) + found.count();
        match (count.objection(of, number), first) {
            (None, _) => Ok(()),
            (Some(objection), Some(first)) => Err(format!("{objection}: {first}")),
            (Some(objection), None) => Err(objection),
        }
    }

    fn is_story(&self, wanted: &[Wanted]) -> Result<(), String> {
        let news: Vec<String> = self
            .news()
            .iter()
            .filter(|line| !line.is_said())
            .map(|line| one_blank_apart(&line.to_string()))
            .collect();
        for (at, wanted) in wanted.iter().enumerate() {
            let number = wanted.number;
            let fits = |told: &String| {
                if wanted.is_beginning {
                    told.starts_with(&wanted.text)
                } else {
                    *told == wanted.text
                }
            };
            match news.get(at) {
                Some(told) if fits(told) => {}
                Some(told) => {
                    return Err(format!(
                        "instead of its line {number}, `{}`, came `{told}`",
                        wanted.text
                    ));
                }
                None => {
                    return Err(format!(
                        "it ended before its line {number}, `{}`",
                        wanted.text
                    ));
                }
            }
        }
        match news.get(wanted.len()) {
            Some(more) => Err(format!("it went on with `{more}`")),
            None => Ok(()),
        }
    }

    fn stands(&self, target: &TargetId, is: &Standing) -> Result<(), String> {
        if let Standing::Drained(wanted) = is {
            let drained = self.truth.is_drained(target);
            return match (drained == *wanted, drained) {
                (true, _) => Ok(()),
                (false, true) => Err(format!("{target} is drained")),
                (false, false) => Err(format!("{target} is in use")),
            };
        }
        let Some(brain) = &self.server.brain else {
            return Err("the server is away".to_owned());
        };
        let case = brain
            .engine
            .cases()
            .rev()
            .find(|case| case.target == *target);
        let health = brain
            .engine
            .target(self.now(), target)
            .map(|status| status.health);
        let holds = match is {
            Standing::Healthy => health == Some(Health::Healthy),
            Standing::Failing => health == Some(Health::Failing),
            Standing::Unknown => health == Some(Health::Unknown),
            Standing::Confirmed => {
                case.is_some_and(|case| case.is_open() && case.confirmed_at.is_some())
            }
            is => case.is_some_and(|case| is.fits(&case.phase)),
        };
        if holds {
            return Ok(());
        }
        let health = health.map_or_else(|| "not a target".to_owned(), |health| health.to_string());
        Err(match case {
            None => format!("{target} has no case and is {health}"),
            Some(case) => format!("{target} is {health}, its case {}", standing(case)),
        })
    }

    pub(super) fn failure(&self, line: &Line, found: String) -> Failure {
        let lines = &self.server.story.lines;
        let older = lines.len().saturating_sub(SHOWN);
        let width = lines[older..]
            .iter()
            .map(|line| format_duration(line.at).len())
            .max()
            .unwrap_or(0);
        let mut story = Vec::new();
        if older > 0 {
            story.push(format!("… {older} lines before"));
        }
        story.extend(lines[older..].iter().map(|line| {
            let target = line.target.as_ref().map(|target| format!("{target}  "));
            format!(
                "{:width$}  {}{}",
                format_duration(line.at),
                target.unwrap_or_default(),
                line.what
            )
        }));
        if lines.is_empty() {
            story.push("nothing had happened".to_owned());
        }
        Failure {
            line: line.number,
            expected: one_blank_apart(&line.text),
            found,
            at: self.at,
            story,
        }
    }
}

impl Standing {
    fn fits(&self, phase: &Phase) -> bool {
        match (self, phase) {
            (Self::Suspected, Phase::Suspected)
            | (Self::Repairing, Phase::Repairing { .. })
            | (Self::Verifying, Phase::Verifying { .. })
            | (Self::Probation, Phase::Probation { .. }) => true,
            (Self::Held { limit, text }, Phase::Held(hold)) => {
                limit.as_ref().is_none_or(|limit| limit == hold.name())
                    && hold.to_string().contains(text.as_str())
            }
            (Self::Closed(wanted), Phase::Closed(ending)) => wanted
                .as_ref()
                .is_none_or(|wanted| *wanted == ending.to_string()),
            _ => false,
        }
    }
}

fn standing(case: &Case) -> String {
    match &case.phase {
        Phase::Held(hold @ Hold::HandedOver { .. }) => hold.to_string(),
        Phase::Held(hold) => format!("held {}: {hold}", hold.name()),
        Phase::Closed(ending) => format!("closed {ending}"),
        phase => phase.name().to_owned(),
    }
}
