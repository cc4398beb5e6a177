//! Floats as Prometheus packs them into a chunk (encoding 1, XOR): times as changes of the distance between samples,
//! values as the bits in which each differs from the one before.
//!
//! After the documented format of chunks in Prometheus' storage, and the paper it follows (Pelkonen et al., Gorilla,
//! VLDB 2015, section 4.1).

/// As Prometheus cuts them: enough for packing, few enough to be skipped.
pub(super) const SAMPLES_MAX: usize = 120;

/// A value's leading zeros are said in five bits.
const LEADING_MAX: u32 = 31;

/// Distances that change little are said in so many bits, after a prefix of one bit more for each.
const CHANGE_BITS: [u32; 3] = [14, 17, 20];

/// The bytes of a chunk of at most 65,535 samples, in the order of their times.
pub(super) fn chunk(samples: impl ExactSizeIterator<Item = (i64, f64)>) -> Vec<u8> {
    let count = u16::try_from(samples.len()).expect("a chunk has 120 samples");
    let mut bits = Bits::default();
    bits.put(u64::from(count), 16);
    let mut before: Option<Before> = None;
    for (at_ms, value) in samples {
        before = Some(match before {
            None => Before::first(at_ms, value, &mut bits),
            Some(before) => before.next(at_ms, value, &mut bits),
        });
    }
    bits.bytes
}

/// What a sample is compared with.
struct Before {
    at_ms: i64,
    value: u64,
    /// Unknown until there are two samples.
    distance_ms: Option<i64>,
    /// Bits that are said of values: how many zeros are left out on both sides.
    window: Option<(u32, u32)>,
}

impl Before {
    fn first(at_ms: i64, value: f64, bits: &mut Bits) -> Self {
        bits.put_varint(((at_ms << 1) ^ (at_ms >> 63)).cast_unsigned());
        bits.put(value.to_bits(), 64);
        Self {
            at_ms,
            value: value.to_bits(),
            distance_ms: None,
            window: None,
        }
    }

    fn next(self, at_ms: i64, value: f64, bits: &mut Bits) -> Self {
        let distance_ms = at_ms.wrapping_sub(self.at_ms);
        match self.distance_ms {
            None => bits.put_varint(distance_ms.cast_unsigned()),
            Some(before_ms) => put_change(distance_ms.wrapping_sub(before_ms), bits),
        }
        Self {
            at_ms,
            value: value.to_bits(),
            distance_ms: Some(distance_ms),
            window: put_difference(value.to_bits() ^ self.value, self.window, bits),
        }
    }
}

/// Zero is one bit.
fn put_change(change: i64, bits: &mut Bits) {
    if change == 0 {
        return bits.put(0, 1);
    }
    let mut prefix = 0b10;
    for (index, count) in (2..).zip(CHANGE_BITS) {
        let half = 1_i64 << (count - 1);
        if 1 - half <= change && change <= half {
            bits.put(prefix, index);
            return bits.put(change.cast_unsigned(), count);
        }
        prefix = (prefix << 1) | 0b10;
    }
    bits.put(0b1111, 4);
    bits.put(change.cast_unsigned(), 64);
}

/// The same window again, where the difference fits into it, saves saying which.
fn put_difference(
    difference: u64,
    window: Option<(u32, u32)>,
    bits: &mut Bits,
) -> Option<(u32, u32)> {
    if difference == 0 {
        bits.put(0, 1);
        return window;
    }
    bits.put(1, 1);
    let leading = difference.leading_zeros().min(LEADING_MAX);
    let trailing = difference.trailing_zeros();
    if let Some((left, right)) = window
        && leading >= left
        && trailing >= right
    {
        bits.put(0, 1);
        bits.put(difference >> right, 64 - left - right);
        return window;
    }
    let count = 64 - leading - trailing;
    bits.put(1, 1);
    bits.put(u64::from(leading), 5);
    // 64 is said as 0: there is always one bit.
    bits.put(u64::from(count), 6);
    bits.put(difference >> trailing, count);
    Some((leading, trailing))
}

/// Bits one after the other, the highest of a byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Of the last byte.
    free: u32,
}

impl Bits {
    /// The lowest `count` bits of a number, of which the highest comes first.
    fn put(&mut self, number: u64, mut count: u32) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = count.min(self.free);
            let part = number >> (count - taken) & ((1 << taken) - 1);
            let part = u8::try_from(part << (self.free - taken)).expect("it has eight bits");
            *self.bytes.last_mut().expect("there is one") |= part;
            self.free -= taken;
            count -= taken;
        }
    }

    fn put_varint(&mut self, number: u64) {
        let mut bytes = Vec::with_capacity(10);
        prost::encoding::encode_varint(number, &mut bytes);
        for byte in bytes {
            self.put(u64::from(byte), 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads bits in the order in which they were put.
    struct Reader<'a> {
        bytes: &'a [u8],
        at: usize,
    }

    impl Reader<'_> {
        fn take(&mut self, count: u32) -> u64 {
            (0..count).fold(0, |number, _| {
                let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
                self.at += 1;
                number << 1 | u64::from(bit)
            })
        }

        fn varint(&mut self) -> u64 {
            let mut number = 0;
            for shift in (0..).step_by(7) {
                let byte = self.take(8);
                number |= (byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            number
        }

        fn change(&mut self) -> i64 {
            for count in [0, 14, 17, 20] {
                if self.take(1) == 0 {
                    let number = self.take(count).cast_signed();
                    // The upper half is negative; its lowest number stands for the positive one.
                    let half = 1_i64 << count >> 1;
                    return if number > half {
                        number - 2 * half
                    } else {
                        number
                    };
                }
            }
            self.take(64).cast_signed()
        }
    }

    fn read(bytes: &[u8]) -> Vec<(i64, u64)> {
        let mut reader = Reader { bytes, at: 0 };
        let count = reader.take(16);
        let (mut samples, mut distance, mut window) = (Vec::new(), 0_i64, (0, 0));
        for index in 0..count {
            let Some((at_ms, value)) = samples.last().copied() else {
                let time = reader.varint();
                let at_ms = (time >> 1).cast_signed() ^ -(time & 1).cast_signed();
                samples.push((at_ms, reader.take(64)));
                continue;
            };
            distance = match index {
                1 => reader.varint().cast_signed(),
                _ => distance.wrapping_add(reader.change()),
            };
            let mut difference = 0;
            if reader.take(1) == 1 {
                if reader.take(1) == 1 {
                    let leading = u32::try_from(reader.take(5)).unwrap();
                    let count = match u32::try_from(reader.take(6)).unwrap() {
                        0 => 64,
                        count => count,
                    };
                    window = (leading, 64 - leading - count);
                }
                difference = reader.take(64 - window.0 - window.1) << window.1;
            }
            samples.push((i64::wrapping_add(at_ms, distance), value ^ difference));
        }
        samples
    }

    proptest! {
        #[test]
        fn samples_are_read_back_bit_for_bit(
            first: i64,
            samples in prop::collection::vec(
                (prop_oneof![0..100_000_i64, Just(8_192), any::<i64>()], prop_oneof![any::<u64>(), 0..3_u64]),
                1..SAMPLES_MAX,
            ),
        ) {
            let mut at_ms = first;
            let samples: Vec<(i64, u64)> = samples.into_iter().map(|(distance, value)| {
                at_ms = at_ms.wrapping_add(distance);
                (at_ms, value)
            }).collect();
            let floats = samples.iter().map(|(at_ms, value)| (*at_ms, f64::from_bits(*value)));
            prop_assert_eq!(read(&chunk(floats)), samples);
        }
    }
}
