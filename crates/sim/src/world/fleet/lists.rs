//! Who is in which group, for a million targets in two vectors.

use super::NONE;

/// Lists of numbers by small numbers, without a vector each.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    begins: Vec<u32>,
    all: Vec<u32>,
}

impl Lists {
    pub(super) fn new(lists: usize, of: &[u32]) -> Self {
        let mut begins = vec![0u32; lists + 1];
        for &list in of.iter().filter(|list| **list != NONE) {
            begins[list as usize + 1] += 1;
        }
        for at in 0..lists {
            begins[at + 1] += begins[at];
        }
        let mut next = begins.clone();
        let mut all = vec![0; begins[lists] as usize];
        for (target, &list) in (0..).zip(of) {
            if list != NONE {
                all[next[list as usize] as usize] = target;
                next[list as usize] += 1;
            }
        }
        Self { begins, all }
    }

    pub(super) fn len(&self) -> usize {
        self.begins.len() - 1
    }

    pub(super) fn get(&self, list: u32) -> &[u32] {
        let at = list as usize;
        match (self.begins.get(at), self.begins.get(at + 1)) {
            (Some(from), Some(to)) => &self.all[*from as usize..*to as usize],
            _ => &[],
        }
    }
}
