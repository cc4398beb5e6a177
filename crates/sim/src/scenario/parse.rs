//! A scenario's file: headers, then lines of acts and expectations.
//!
//! One line is one sentence; a line that ends with `:` has a block, the indented lines below it. A line with a
//! mistake is left out and the next one is read, so that all mistakes of a file are reported at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pitcrew_model::{ObserverName, Production, Target, TargetId, Timestamp, parse_duration};

use super::{
    ReadProduction, Scenario,
    act::act,
    expectation::expectation,
    mistake::{Mistake, instead_of},
    names::{Names, questions},
    said::{Line, What, When, Without},
    sentence::{LONGEST, Parsed, Sentence},
    start::{self, moment},
};

/// A line and the indented ones below it, where it opens a block.
pub(super) struct Item<'t> {
    pub(super) said: Sentence,
    text: &'t str,
    pub(super) block: Vec<(usize, &'t str)>,
}

const HEADERS: [&str; 5] = [
    "production:",
    "targets:",
    "observers:",
    "start:",
    "without:",
];
const BYTES_MAX: usize = 4 << 20;
/// Questions asked in one scenario: some seconds of work.
const QUESTIONS_MAX: u128 = 20_000_000;

struct Parser<'t> {
    read: &'t ReadProduction<'t>,
    names: Names,
    targets: BTreeMap<TargetId, Arc<Target>>,
    production: Option<Arc<Production>>,
    start: Timestamp,
    without: Option<Without>,
    lines: Vec<Line>,
    mistakes: Vec<Mistake>,
    /// Of the last line, where it can be told.
    now: Duration,
}

impl Scenario {
    /// Reads a scenario. `policy` is the production that it is about when it has none of its own. `read` is given
    /// the text of a `production:` or `reload:` block as YAML, on the lines and columns that it has in the file.
    ///
    /// # Errors
    /// Every mistake, in the order of the lines.
    pub fn parse(
        text: &str,
        policy: Option<&Production>,
        read: &ReadProduction<'_>,
    ) -> Result<Self, Vec<Mistake>> {
        if text.len() > BYTES_MAX {
            let message = format!("a scenario is at most {} MiB long", BYTES_MAX >> 20);
            return Err(vec![Mistake::new(1, 1, message)]);
        }
        let mut parser = Parser {
            read,
            names: Names::default(),
            targets: BTreeMap::new(),
            production: policy.cloned().map(Arc::new),
            start: start::DEFAULT,
            without: None,
            lines: Vec::new(),
            mistakes: Vec::new(),
            now: Duration::ZERO,
        };
        let items = parser.items(text);
        let (headers, rest) = parser.headers(items);
        parser.introduce(headers);
        for item in rest {
            if let Err(mistake) = parser.line(item) {
                parser.mistakes.push(mistake);
            }
        }
        parser.finish(title(text))
    }
}

/// The comment at the file's beginning.
fn title(text: &str) -> String {
    let comments = text
        .lines()
        .map_while(|line| line.strip_prefix('#').map(str::trim));
    comments.collect::<Vec<_>>().join(" ")
}

impl<'t> Parser<'t> {
    fn items(&mut self, text: &'t str) -> Vec<Item<'t>> {
        let mut items: Vec<Item<'t>> = Vec::new();
        let mut is_block = false;
        for (at, line) in text.lines().enumerate() {
            let (number, is_indented) = (at + 1, line.starts_with([' ', '\t']));
            if is_block && (is_indented || line.trim().is_empty()) {
                if let Some(item) = items.last_mut() {
                    item.block.push((number, line));
                }
                continue;
            }
            match Sentence::split(number, line) {
                Ok(said) if said.is_empty() => {}
                Ok(said) => {
                    is_block = said.opens_block();
                    items.push(Item {
                        said,
                        text: line.trim(),
                        block: Vec::new(),
                    });
                }
                Err(mistake) => {
                    is_block = false;
                    self.mistakes.push(mistake);
                }
            }
        }
        items
    }

    /// Headers by their word, and everything else.
    fn headers(
        &mut self,
        items: Vec<Item<'t>>,
    ) -> (BTreeMap<&'static str, Item<'t>>, Vec<Item<'t>>) {
        let (mut headers, mut rest) = (BTreeMap::new(), Vec::new());
        for mut item in items {
            let Some(header) = HEADERS.into_iter().find(|header| item.said.skip(header)) else {
                rest.push(item);
                continue;
            };
            if !rest.is_empty() {
                let message = format!("`{header}` belongs above the first line of what happens");
                self.mistakes.push(Mistake::new(item.said.line, 1, message));
            } else if headers.contains_key(header) {
                let message = format!("`{header}` is there twice");
                self.mistakes.push(Mistake::new(item.said.line, 1, message));
            } else {
                headers.insert(header, item);
            }
        }
        (headers, rest)
    }

    /// In the order in which they need each other, whatever their order in the file.
    fn introduce(&mut self, mut headers: BTreeMap<&'static str, Item<'t>>) {
        if let Some(item) = headers.remove("production:") {
            self.production = match self.yaml(&item) {
                Ok(production) => Some(production),
                Err(mistakes) => {
                    self.mistakes.extend(mistakes);
                    None
                }
            };
        } else if self.production.is_none() {
            let message = "`production:` is missing: the services that this is about, as YAML";
            self.mistakes.push(Mistake::new(1, 1, message));
        }
        if let Some(production) = &self.production {
            self.names.learn(production);
        }
        for (header, item) in headers {
            let result = match header {
                "observers:" => self.observers(item.said),
                "start:" => self.start(item.said),
                "without:" => self.without(item.said),
                _ => self.targets(item),
            };
            self.mistakes.extend(result.err());
        }
        if self.names.observers.is_empty() {
            let local = ObserverName::new("local").expect("a word is a valid name");
            self.names.observers.push(local);
        }
        self.targets.clone_from(&self.names.targets);
        if self.targets.is_empty() && self.mistakes.is_empty() {
            let message = "`targets:` is missing: what the services consist of, such as `web-1..3  service=web zone=a,b,c`";
            self.mistakes.push(Mistake::new(1, 1, message));
        }
    }

    /// The block's text on its own lines, so that places in it are places in the file.
    fn yaml(&self, item: &Item<'_>) -> Result<Arc<Production>, Vec<Mistake>> {
        item.said.end().map_err(|mistake| vec![mistake])?;
        let mut text = "\n".repeat(item.said.line);
        for (_, line) in &item.block {
            text.push_str(line);
            text.push('\n');
        }
        (self.read)(&text).map(Arc::new)
    }

    fn targets(&mut self, item: Item<'_>) -> Parsed<()> {
        item.said.end()?;
        let mut placed = Vec::new();
        for (number, text) in item.block {
            let mut said = Sentence::split(number, text)?;
            if !said.is_empty() {
                let introduced = self.names.introduce(&mut said)?;
                placed.extend(introduced.into_iter().map(|target| (number, target)));
            }
        }
        let objection = placed.into_iter().find_map(|(number, target)| {
            let objection = self.names.objection(&target)?;
            Some(Mistake::new(number, 1, objection))
        });
        objection.map_or(Ok(()), Err)
    }

    fn observers(&mut self, mut said: Sentence) -> Parsed<()> {
        while let Some(word) = said.take() {
            let name = ObserverName::new(&word.text);
            let name = name.map_err(|error| said.mistake_at(&word, error.to_string()))?;
            if self.names.observers.contains(&name) {
                return Err(said.mistake_at(&word, format!("observer `{name}` is there twice")));
            }
            self.names.observers.push(name);
        }
        Ok(())
    }

    fn start(&mut self, mut said: Sentence) -> Parsed<()> {
        let word = said.any("a time such as `2026-12-24T00:00Z`")?;
        self.start = moment(&word.text).ok_or_else(|| {
            let message = format!("`{}` is not a time such as `2026-12-24T00:00Z`", word.text);
            said.mistake_at(&word, message)
        })?;
        said.end()
    }

    fn without(&mut self, mut said: Sentence) -> Parsed<()> {
        self.without = match said.choice(&["interlock", "planner"])? {
            "interlock" => Some(Without::Interlock),
            _ => Some(Without::Planner),
        };
        said.end()
    }

    fn line(&mut self, mut item: Item<'t>) -> Parsed<()> {
        let (number, before) = (item.said.line, item.text);
        let when = self.when(&mut item.said)?;
        let what = if item.said.skip("expect") {
            What::Expect(expectation(&mut item, &self.names)?)
        } else if matches!(when, When::Within(_)) {
            return Err(item.said.mistake("`within` only goes with `expect`"));
        } else if item.said.skip("reload:") {
            What::Act(self.reload(&item)?)
        } else {
            if let Some(word) = item.said.peek()
                && !word.quoted
                && word.text.ends_with(':')
            {
                let instead = instead_of(&word.text, HEADERS.into_iter().chain(["reload:"]));
                let message = format!("unexpected `{}`{instead}", word.text);
                return Err(item.said.mistake(message));
            }
            What::Act(act(&mut item.said, &mut self.names, self.without)?)
        };
        item.said.end()?;
        self.lines.push(Line {
            number,
            text: before.to_owned(),
            when,
            what,
        });
        Ok(())
    }

    fn reload(&mut self, item: &Item<'_>) -> Parsed<super::said::Act> {
        let production = self.yaml(item).map_err(|mut mistakes| {
            let first = mistakes.swap_remove(0);
            self.mistakes.extend(mistakes);
            first
        })?;
        self.names.learn(&production);
        Ok(super::said::Act::Reload(production))
    }

    fn when(&mut self, said: &mut Sentence) -> Parsed<When> {
        let when = match () {
            () if said.skip("at") => self.at(said)?,
            () if said.skip("after") => When::After(said.duration()?),
            () if said.skip("within") => When::Within(said.duration()?),
            () => When::Then,
        };
        match when {
            When::At(at) => self.now = at,
            When::After(after) | When::Within(after) => self.now += after,
            When::Then => {}
        }
        if self.now > LONGEST {
            return Err(said.mistake("by here the scenario lasts longer than ten years"));
        }
        Ok(when)
    }

    /// `10m` since the start, or `00:10`, the first such time of day since then.
    fn at(&self, said: &mut Sentence) -> Parsed<When> {
        let word = said.any("a time such as `10m` or `00:10`")?;
        let at = match start::time_of_day(&word.text) {
            Some(time) => start::until(self.start, time),
            None => parse_duration(&word.text)
                .map_err(|error| said.mistake_at(&word, format!("{error}, or 00:10")))?,
        };
        // A `within` above may have been over sooner.
        let latest = self.lines.iter().rev().find_map(|line| match line.when {
            When::At(at) => Some(at),
            When::After(_) | When::Within(_) | When::Then => None,
        });
        if latest.is_some_and(|latest| at < latest) {
            let message = format!("`{}` is before a line above: time goes forward", word.text);
            return Err(said.mistake_at(&word, message));
        }
        Ok(When::At(at))
    }

    fn finish(mut self, title: String) -> Result<Scenario, Vec<Mistake>> {
        let expects = |line: &Line| matches!(line.what, What::Expect(_));
        if self.mistakes.is_empty() && !self.lines.iter().any(expects) {
            let message = "nothing is expected: write at least one line with `expect`";
            self.mistakes.push(Mistake::new(1, 1, message));
        }
        if let Some(production) = self
            .production
            .as_ref()
            .filter(|_| self.mistakes.is_empty())
            && questions(&self.names, production, self.now) > QUESTIONS_MAX
        {
            let message = format!(
                "more than {QUESTIONS_MAX} questions would be asked: fewer targets, longer intervals or less time"
            );
            self.mistakes.push(Mistake::new(1, 1, message));
        }
        match self.production {
            Some(production) if self.mistakes.is_empty() => Ok(Scenario {
                title,
                production,
                start: self.start,
                observers: self.names.observers,
                without: self.without,
                targets: self.targets,
                lines: self.lines,
            }),
            _ => {
                self.mistakes
                    .sort_by_key(|mistake| (mistake.line, mistake.column));
                Err(self.mistakes)
            }
        }
    }
}
