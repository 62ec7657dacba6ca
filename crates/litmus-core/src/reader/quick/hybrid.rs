//! Runs and bit-packed groups: how levels, dictionary indices and some booleans are written (Encodings.md in Apache Parquet).

use crate::reader::thrift::Compact;

/// Calls `sink` with values and how often each comes, until there are `count`.
pub(super) fn decode(bytes: &[u8], width: u8, count: usize, mut sink: impl FnMut(u32, usize)) -> Option<()> {
    if width > 32 {
        return None;
    }
    let mut input = Compact(bytes);
    let mut left = count;
    while left > 0 {
        let head = input.varint()?;
        let length = usize::try_from(head >> 1).ok()?;
        if head & 1 == 0 {
            let (value, rest) = input.0.split_at_checked(usize::from(width.div_ceil(8)))?;
            input.0 = rest;
            let value = value.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
            let times = length.min(left);
            sink(value, times);
            left -= times;
        } else {
            let (packed, rest) = input.0.split_at_checked(length.checked_mul(usize::from(width))?)?;
            input.0 = rest;
            let times = length.checked_mul(8)?.min(left);
            unpack(packed, width, times, &mut sink);
            left -= times;
        }
    }
    Some(())
}

/// Values of `width` bits, from the lowest bit of the first byte on.
fn unpack(packed: &[u8], width: u8, times: usize, sink: &mut impl FnMut(u32, usize)) {
    let (mask, width) = ((1u64 << width) - 1, usize::from(width));
    for at in 0..times {
        let bit = at * width;
        let start = bit / 8;
        let mut window = [0; 8];
        if let Some(bytes) = packed.get(start..start + 8) {
            window.copy_from_slice(bytes);
        } else {
            let rest = &packed[start.min(packed.len())..];
            window[..rest.len()].copy_from_slice(rest);
        }
        sink((u64::from_le_bytes(window) >> (bit % 8) & mask) as u32, 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(bytes: &[u8], width: u8, count: usize) -> Option<Vec<u32>> {
        let mut values = Vec::new();
        decode(bytes, width, count, |value, times| values.extend(std::iter::repeat_n(value, times)))?;
        Some(values)
    }

    #[test]
    fn the_example_of_the_specification() {
        // 0 to 7 in groups of 3 bits, then 300 times 5.
        let bytes = [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010, 0b1101_1000, 0b100, 5];
        let values = decoded(&bytes, 3, 308).unwrap();
        assert_eq!(values[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(values.len() == 308 && values[8..].iter().all(|value| *value == 5));
        assert_eq!(decoded(&bytes, 3, 309), None, "there are not as many");
        assert_eq!(decoded(&bytes, 3, 5).unwrap().len(), 5, "the rest of a group is padding");
        assert_eq!(decoded(&[6, 0], 0, 4), None, "a run of 3 and nothing after it but a run of none");
    }

    proptest! {
        #[test]
        fn garbage_is_declined_or_gives_as_many_as_asked(
            bytes in proptest::collection::vec(any::<u8>(), 0..40), width in 0u8..=33, count in 0usize..300,
        ) {
            if let Some(values) = decoded(&bytes, width, count) {
                prop_assert_eq!(values.len(), count);
                prop_assert!(values.iter().all(|value| u64::from(*value) < 1 << (width.div_ceil(8).min(4) * 8)));
            }
        }

        #[test]
        fn packed_values_come_back(width in 1u8..=32, seed in proptest::collection::vec(any::<u32>(), 8..64)) {
            let values: Vec<u32> = seed[..seed.len() / 8 * 8].iter().map(|v| v & (u32::MAX >> (32 - width))).collect();
            let mut packed = vec![((values.len() / 8) << 1 | 1) as u8];
            let mut bits = vec![false; values.len() * usize::from(width)];
            for (at, bit) in bits.iter_mut().enumerate() {
                *bit = values[at / usize::from(width)] >> (at % usize::from(width)) & 1 == 1;
            }
            packed.extend(bits.chunks(8).map(|byte| byte.iter().rev().fold(0u8, |byte, bit| byte << 1 | u8::from(*bit))));
            prop_assert_eq!(decoded(&packed, width, values.len()).unwrap(), values);
        }
    }
}
