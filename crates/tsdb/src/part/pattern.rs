//! Searching the sorted terms by a pattern: where no value that goes on so can fit, all that go on so are skipped.
//!
//! The pattern's automaton runs along the map's own. Its states are made as they are met, in bounded memory; when that is
//! used up, nothing is skipped any more. What is found is a superset: whoever asks tries the pattern itself on it.

use std::cell::RefCell;

use fst::Automaton;
use regex_automata::{
    Anchored, Input,
    hybrid::{
        LazyStateID,
        dfa::{Cache, DFA},
    },
};

/// States of one pattern at most, in bytes.
const STATES_BYTES: usize = 4 << 20;

/// Terms that begin with a label's name, and whose value may fit a pattern.
pub(crate) struct PatternSearch<'a> {
    /// The name and what separates it from the value.
    prefix: &'a [u8],
    automaton: DFA,
    states: RefCell<Cache>,
}

#[derive(Clone, Copy)]
pub(crate) enum State {
    /// So many bytes of the prefix have been met.
    Prefix(usize),
    Value(LazyStateID),
    /// Nothing is known of what fits.
    Anything,
    Nothing,
}

impl<'a> PatternSearch<'a> {
    /// `pattern`: as the crate `regex` spells it, anchored at both ends. Nothing where it has no automaton of
    /// bounded size.
    pub(crate) fn new(prefix: &'a [u8], pattern: &str) -> Option<Self> {
        let config = DFA::config()
            .cache_capacity(STATES_BYTES)
            // Whoever clears the states and begins anew is slower than without.
            .minimum_cache_clear_count(Some(0));
        let automaton = DFA::builder().configure(config).build(pattern).ok()?;
        let states = RefCell::new(automaton.create_cache());
        Some(PatternSearch {
            prefix,
            automaton,
            states,
        })
    }

    fn known(&self, state: LazyStateID) -> State {
        if state.is_dead() {
            State::Nothing
        } else if state.is_quit() {
            State::Anything
        } else {
            State::Value(state)
        }
    }

    fn begin(&self) -> State {
        let input = Input::new("").anchored(Anchored::Yes);
        let states = &mut self.states.borrow_mut();
        let begun = self.automaton.start_state_forward(states, &input);
        begun.map_or(State::Anything, |state| self.known(state))
    }
}

impl Automaton for PatternSearch<'_> {
    type State = State;

    fn start(&self) -> State {
        State::Prefix(0)
    }

    fn is_match(&self, state: &State) -> bool {
        matches!(state, State::Value(_) | State::Anything)
    }

    fn can_match(&self, state: &State) -> bool {
        !matches!(state, State::Nothing)
    }

    fn accept(&self, state: &State, byte: u8) -> State {
        match *state {
            State::Prefix(met) if self.prefix.get(met) != Some(&byte) => State::Nothing,
            State::Prefix(met) if met + 1 == self.prefix.len() => self.begin(),
            State::Prefix(met) => State::Prefix(met + 1),
            State::Value(state) => {
                let states = &mut self.states.borrow_mut();
                let next = self.automaton.next_state(states, state, byte);
                next.map_or(State::Anything, |state| self.known(state))
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fst::{IntoStreamer, Map, Streamer};
    use pitcrew_promql::labels::{MatchOp, Matcher};
    use proptest::{collection::btree_set, prelude::*};

    /// Values of the label `a` that are found, and how many were looked at.
    fn search(values: &[&str], pattern: &str) -> (Vec<String>, usize) {
        let matcher = Matcher::new("a", MatchOp::Matches, pattern).unwrap();
        let mut terms: Vec<Vec<u8>> = values.iter().map(|value| term("a", value)).collect();
        terms.extend([term("", "x"), term("a!", "x"), term("b", "x")]);
        terms.sort_unstable();
        let map = Map::from_iter(terms.into_iter().zip(0..)).unwrap();
        let prefix = term("a", "");
        let search = PatternSearch::new(&prefix, matcher.regex().unwrap()).unwrap();
        let mut stream = map.search(search).into_stream();
        let (mut found, mut tried) = (Vec::new(), 0);
        while let Some((term, _)) = stream.next() {
            let value = std::str::from_utf8(&term[prefix.len()..]).unwrap();
            tried += 1;
            if matcher.matches(value) {
                found.push(value.to_owned());
            }
        }
        (found, tried)
    }

    fn term(name: &str, value: &str) -> Vec<u8> {
        [name.as_bytes(), &[0xff], value.as_bytes()].concat()
    }

    #[test]
    fn what_cannot_fit_is_not_even_tried() {
        let names: Vec<String> = (0..1000)
            .map(|number| format!("host-{number:03}"))
            .collect();
        let values: Vec<&str> = names.iter().map(String::as_str).collect();
        for (pattern, fitting) in [
            ("host-1.*", 100),
            ("host-(001|5.7|99[0-8])", 20),
            ("(?i:HOST-00[1-3])", 3),
            (".*7", 100),
            ("guest.*", 0),
        ] {
            let (found, tried) = search(&values, pattern);
            assert_eq!(found.len(), fitting, "{pattern}");
            let most = if pattern.starts_with('.') {
                1000
            } else {
                fitting
            };
            assert!(tried <= most, "{pattern}: {tried}");
        }
    }

    proptest! {
        #[test]
        fn all_that_fit_are_found(values in btree_set("[ab]{0,4}|é[ab]|\n", 0..30), pattern in "[ab]{0,2}(\\.\\*|\\.|\\[\\^a\\]|\\(a\\|bé\\)\\?|\\$)?[ab]{0,2}") {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let matcher = Matcher::new("a", MatchOp::Matches, &*pattern).unwrap();
            if matcher.regex().is_some() {
                let fitting: Vec<&str> = values.iter().copied().filter(|value| matcher.matches(value)).collect();
                let (mut found, _) = search(&values, &pattern);
                found.sort_unstable();
                prop_assert_eq!(found, fitting);
            }
        }
    }
}
