//! Decimals: floats that were written as decimal numbers, as the whole numbers they are.
//!
//! Most of what is measured is counted or has a few digits after the point. Divided by its power of ten the whole
//! number gives the float again, bit by bit; where it doesn't, it isn't used.

pub(crate) const DIGITS_MAX: u8 = 9;
const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// 2^53: up to here every whole number is a float.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A column as whole numbers times a power of ten.
pub(crate) struct Decimals {
    pub(crate) digits: u8,
    pub(crate) wholes: Vec<i64>,
    /// Rows whose values are none, with their bits.
    pub(crate) exceptions: Vec<(usize, u64)>,
}

impl Decimals {
    pub(crate) fn of(column: &[f64]) -> Option<Self> {
        let allowed = column.len() / 16 + 1;
        let mut digits = 0;
        let mut misfits = 0;
        for value in column {
            let fitting = (digits..=DIGITS_MAX).find(|digits| whole(*value, *digits).is_some());
            match fitting {
                Some(found) => digits = found,
                None => misfits += 1,
            }
            if misfits > allowed {
                return None;
            }
        }
        let mut decimals = Decimals {
            digits,
            wholes: Vec::with_capacity(column.len()),
            exceptions: Vec::new(),
        };
        let mut before = column.iter().find_map(|value| whole(*value, digits))?;
        for (row, value) in column.iter().enumerate() {
            match whole(*value, digits) {
                Some(number) => before = number,
                None => decimals.exceptions.push((row, value.to_bits())),
            }
            decimals.wholes.push(before);
        }
        (decimals.exceptions.len() <= allowed).then_some(decimals)
    }
}

/// The whole number that gives exactly this value when it is divided by the power of ten.
fn whole(value: f64, digits: u8) -> Option<i64> {
    let power = POWERS[usize::from(digits)];
    let scaled = (value * power).round();
    if scaled.is_nan() || scaled.abs() >= WHOLE_MAX {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    let whole = scaled as i64;
    (float(whole, digits).to_bits() == value.to_bits()).then_some(whole)
}

pub(crate) fn float(whole: i64, digits: u8) -> f64 {
    whole as f64 / POWERS[usize::from(digits)]
}
