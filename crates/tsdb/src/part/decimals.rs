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

/// A column of floats that are decimals but for their last bits, as they are when decimals were added up or multiplied.
pub(crate) struct Nearly {
    pub(crate) decimals: Decimals,
    /// How many floats lie between each value and its decimal.
    pub(crate) apart: Vec<i64>,
}

impl Nearly {
    /// Milliseconds, microseconds, nanoseconds: most fractions are times. Nearer than the last of them nothing is
    /// looked for.
    const DIGITS: [u8; 3] = [3, 6, DIGITS_MAX];
    /// What adding and multiplying leaves behind.
    const APART_MAX: i64 = 4;

    pub(crate) fn of(column: &[f64]) -> Option<Self> {
        Self::DIGITS
            .iter()
            .find_map(|digits| Self::with(column, *digits))
    }

    fn with(column: &[f64], digits: u8) -> Option<Self> {
        let mut nearly = Nearly {
            decimals: Decimals {
                digits,
                wholes: Vec::with_capacity(column.len()),
                exceptions: Vec::new(),
            },
            apart: Vec::with_capacity(column.len()),
        };
        let allowed = column.len() / 16 + 1;
        let (mut before, mut apart_before) = (0, 0);
        for (row, value) in column.iter().enumerate() {
            match nearest(*value, digits) {
                Some((whole, apart)) if digits == DIGITS_MAX || apart.abs() <= Self::APART_MAX => {
                    (before, apart_before) = (whole, apart);
                }
                _ => nearly.decimals.exceptions.push((row, value.to_bits())),
            }
            if nearly.decimals.exceptions.len() > allowed {
                return None;
            }
            nearly.decimals.wholes.push(before);
            nearly.apart.push(apart_before);
        }
        Some(nearly)
    }
}

/// The nearest whole number, and how many floats its decimal is from the value.
fn nearest(value: f64, digits: u8) -> Option<(i64, i64)> {
    let scaled = (value * POWERS[usize::from(digits)]).round();
    if scaled.is_nan() || scaled.abs() >= WHOLE_MAX {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    let whole = scaled as i64;
    let apart = ordinal(value).checked_sub(ordinal(float(whole, digits)))?;
    Some((whole, apart))
}

/// The place of a float among all floats.
fn ordinal(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    // Negative floats are in the opposite order of their bits.
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// The float that is so many floats from another one.
pub(crate) fn float_apart(value: f64, apart: i64) -> f64 {
    let place = ordinal(value).wrapping_add(apart);
    let bits = place ^ ((place >> 63).cast_unsigned() >> 1).cast_signed();
    f64::from_bits(bits.cast_unsigned())
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

/// The same for many at once.
pub(crate) fn floats(wholes: &[i64], digits: u8, values: &mut [f64]) {
    let power = POWERS[usize::from(digits)];
    if digits == 0 {
        for (value, whole) in values.iter_mut().zip(wholes) {
            *value = *whole as f64;
        }
        return;
    }
    for (value, whole) in values.iter_mut().zip(wholes) {
        *value = *whole as f64 / power;
    }
}
