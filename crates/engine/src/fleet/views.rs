//! What all observers make of all tests of one member: the first two beside the member itself, because most have no
//! more, and memory that lies elsewhere is waited for.

use std::ops::{Deref, DerefMut};

use crate::diagnose::View;

const FEW: usize = 2;

/// In no order that means anything.
#[derive(Debug)]
pub(crate) enum Views {
    Few { count: u8, views: [View; FEW] },
    Many(Vec<View>),
}

impl Default for Views {
    fn default() -> Self {
        Self::Few {
            count: 0,
            views: [View::new(0, 0), View::new(0, 0)],
        }
    }
}

impl Views {
    pub(crate) fn push(&mut self, view: View) {
        match self {
            Self::Few { count, views } if usize::from(*count) < FEW => {
                views[usize::from(*count)] = view;
                *count += 1;
            }
            Self::Few { .. } => {
                let mut many = std::mem::take(self).into_vec();
                many.reserve_exact(1);
                many.push(view);
                *self = Self::Many(many);
            }
            Self::Many(many) => {
                many.reserve_exact(1);
                many.push(view);
            }
        }
    }

    /// Forgets those of which `keep` says no; it may change the others.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&mut View) -> bool) {
        let mut left = std::mem::take(self).into_vec();
        left.retain_mut(keep);
        left.into_iter().for_each(|view| self.push(view));
    }

    fn into_vec(self) -> Vec<View> {
        match self {
            Self::Few { count, views } => views.into_iter().take(usize::from(count)).collect(),
            Self::Many(many) => many,
        }
    }
}

impl Deref for Views {
    type Target = [View];

    fn deref(&self) -> &[View] {
        match self {
            Self::Few { count, views } => &views[..usize::from(*count)],
            Self::Many(many) => many,
        }
    }
}

impl DerefMut for Views {
    fn deref_mut(&mut self) -> &mut [View] {
        match self {
            Self::Few { count, views } => &mut views[..usize::from(*count)],
            Self::Many(many) => many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_any_number_and_forgets_any_of_them() {
        let mut views = Views::default();
        assert!(views.is_empty());
        for observer in 0..5 {
            views.push(View::new(observer, observer));
        }
        let observers = |views: &Views| views.iter().map(|view| view.observer).collect::<Vec<_>>();
        assert_eq!(observers(&views), [0, 1, 2, 3, 4]);
        views.retain(|view| {
            view.test += 1;
            view.observer % 2 == 0
        });
        assert_eq!(observers(&views), [0, 2, 4]);
        assert!(views.iter().all(|view| view.test == view.observer + 1));
        views.retain(|view| view.observer == 4);
        views.push(View::new(0, 7));
        assert_eq!(observers(&views), [4, 7]);
    }
}
