//! Symbols: each label name and value is kept once, as a number.
//!
//! A number is given up when it was released as often as it was interned.

use std::sync::Arc;

use hashbrown::HashTable;
use twox_hash::XxHash3_64;

use crate::bytes::as_u32;

/// Texts by number and numbers by text.
#[derive(Debug)]
pub(crate) struct Symbols {
    seed: u64,
    texts: Vec<Arc<str>>,
    /// How often each was interned and not released.
    uses: Vec<u32>,
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
            uses: Vec::new(),
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

    /// The number of a text, until it was released as often as it was interned.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        if let Some(symbol) = self.find(text) {
            self.uses[symbol as usize] += 1;
            return symbol;
        }
        self.bytes += text.len() + Self::OVERHEAD_BYTES;
        let symbol = match self.free.pop() {
            Some(symbol) => {
                self.texts[symbol as usize] = Arc::from(text);
                self.uses[symbol as usize] = 1;
                symbol
            }
            None => {
                self.texts.push(Arc::from(text));
                self.uses.push(1);
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

    pub(crate) fn release(&mut self, symbol: u32) {
        let uses = &mut self.uses[symbol as usize];
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        let text = std::mem::replace(&mut self.texts[symbol as usize], Arc::from(""));
        self.bytes -= text.len() + Self::OVERHEAD_BYTES;
        let found = self
            .numbers
            .find_entry(hash(self.seed, &text), |known| *known == symbol);
        if let Ok(entry) = found {
            entry.remove();
        }
        self.free.push(symbol);
    }

    /// Pointer, counts, uses and the place in the table, beside the text.
    const OVERHEAD_BYTES: usize = 52;

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
        symbols.intern("zone");
        symbols.release(zone);
        for left in [Some(job), None] {
            symbols.release(job);
            assert_eq!(symbols.find("job"), left);
        }
        assert_eq!(
            (symbols.find("job"), symbols.find("zone")),
            (None, Some(zone))
        );
        assert_eq!(symbols.intern("instance"), job);
        assert_eq!(&**symbols.text(job), "instance");
    }
}
