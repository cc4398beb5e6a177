//! The last answers about one target: two of them in the entry itself, more in a box of their own.

use super::Answer;

const BESIDE: usize = 2;

#[derive(Debug)]
pub(crate) enum Answers {
    Beside(u8, [Answer; BESIDE]),
    Apart(Box<[Answer]>),
}

impl Answers {
    pub(crate) const fn none() -> Self {
        Self::Beside(0, [Answer::none(0, 0), Answer::none(0, 0)])
    }

    pub(crate) fn all(&self) -> &[Answer] {
        match self {
            Self::Beside(count, answers) => &answers[..usize::from(*count)],
            Self::Apart(answers) => answers,
        }
    }

    pub(crate) fn all_mut(&mut self) -> &mut [Answer] {
        match self {
            Self::Beside(count, answers) => &mut answers[..usize::from(*count)],
            Self::Apart(answers) => answers,
        }
    }

    /// These and no others.
    pub(crate) fn of(answers: Vec<Answer>) -> Self {
        if answers.len() > BESIDE {
            return Self::Apart(answers.into());
        }
        let mut beside = Self::none();
        if let Self::Beside(count, places) = &mut beside {
            for (answer, place) in answers.into_iter().zip(places) {
                *place = answer;
                *count += 1;
            }
        }
        beside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_put_in_is_there() {
        for count in 0..6 {
            let answers: Vec<Answer> = (0..count).map(|test| Answer::none(test, 9)).collect();
            let kept = Answers::of(answers);
            let tests: Vec<u16> = kept.all().iter().map(|answer| answer.test).collect();
            assert_eq!(tests, (0..count).collect::<Vec<_>>());
        }
    }
}
