//! Symbols: each label name and value is kept once, as a number.
//!
//! A number is only ever given up by [`Symbols::retain`], when no series uses it any more.

use std::sync::Arc;

use hashbrown::HashTable;
use twox_hash::XxHash3_64;

use crate::bytes::as_u32;

/// Texts by number and numbers by text.
#[derive(Debug)]
pub(crate) struct Symbols {
    seed: u64,
    texts: Vec<Arc<str>>,
    numbers: HashTable<u32>,
    free: Vec<u32>,
    bytes: usize,
}

impl Symbols {
    /// The seed is secret, so that nobody can send texts that collide.
    pub(crate) fn new(seed: u64) -> Self {
        Symbols {
            seed,
            texts: Vec::new(),
            numbers: HashTable::new(),
            free: Vec::new(),
            bytes: 0,
        }
    }

    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        let hash = hash(self.seed, text);
        self.numbers
            .find(hash, |symbol| *self.texts[*symbol as usize] == *text)
            .copied()
    }

    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        if let Some(symbol) = self.find(text) {
            return symbol;
        }
        self.bytes += text.len() + Self::OVERHEAD_BYTES;
        let symbol = match self.free.pop() {
            Some(symbol) => {
                self.texts[symbol as usize] = Arc::from(text);
                symbol
            }
            None => {
                self.texts.push(Arc::from(text));
                as_u32(self.texts.len() - 1)
            }
        };
        let (seed, texts) = (self.seed, &self.texts);
        self.numbers
            .insert_unique(hash(seed, text), symbol, |symbol| {
                hash(seed, &texts[*symbol as usize])
            });
        symbol
    }

    /// How many there are, with those that were forgotten.
    pub(crate) fn count(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn text(&self, symbol: u32) -> &Arc<str> {
        &self.texts[symbol as usize]
    }

    /// Forgets all texts but those that are used.
    pub(crate) fn retain(&mut self, is_used: impl Fn(u32) -> bool) {
        let Symbols {
            texts,
            numbers,
            free,
            bytes,
            ..
        } = self;
        numbers.retain(|symbol| {
            let used = is_used(*symbol);
            if !used {
                let text = &mut texts[*symbol as usize];
                *bytes -= text.len() + Self::OVERHEAD_BYTES;
                *text = Arc::from("");
                free.push(*symbol);
            }
            used
        });
    }

    /// Pointer, counts and the place in the table, beside the text.
    const OVERHEAD_BYTES: usize = 48;

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn hash(seed: u64, text: &str) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_until_it_is_forgotten() {
        let mut symbols = Symbols::new(7);
        let (job, zone) = (symbols.intern("job"), symbols.intern("zone"));
        assert_eq!(symbols.intern("job"), job);
        symbols.retain(|symbol| symbol == zone);
        assert_eq!(
            (symbols.find("job"), symbols.find("zone")),
            (None, Some(zone))
        );
        assert_eq!(symbols.intern("instance"), job);
        assert_eq!(&**symbols.text(job), "instance");
    }
}
