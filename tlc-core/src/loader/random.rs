//! Numbers that a seed decides. The formulas are in the documentation of [`super::order`].
//!
//! Nothing here asks the machine's mathematical library, whose last digit differs from one to the next:
//! it is all integers, and the operations on `f64` that IEEE 754 rounds in one way only.

use std::f64::consts::{LN_2, SQRT_2};

/// How many terms of the series of the logarithm are added: the next is beyond the last bit.
const N_TERMS: u32 = 12;

pub(super) fn hash(seed: u64, epoch: u64, x: u64) -> u64 {
    mix(mix(mix(seed) ^ epoch) ^ x)
}

pub(super) fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number in `[0, 1)` from the upper 53 bits.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// The logarithm of a number in `(0, 1]`, which is the next one after [`unit()`] of the same bits.
pub(super) fn ln(bits: u64) -> f64 {
    let numerator = (bits >> 11) + 1;
    let n_doublings = numerator.ilog2();
    let mut m = numerator as f64 / (1_u64 << n_doublings) as f64;
    let mut exponent = f64::from(n_doublings) - 53.0;
    if m > SQRT_2 {
        m /= 2.0;
        exponent += 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let terms = (0..N_TERMS).rev();
    let series = terms.fold(0.0, |sum, j| sum * z + 1.0 / f64::from(2 * j + 1));
    exponent * LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs for the states 0 and 1234567 that other implementations publish.
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn the_logarithm_is_the_same_to_the_last_bit_in_every_version() {
        let check = |bits: u64, expected: u64| assert_eq!(ln(bits).to_bits(), expected, "{bits:x}");
        // 1, 1/2, the least number, the one below 1, and one in between.
        check(u64::MAX, 0.0_f64.to_bits());
        check((1 << 63) - 1, 0xBFE6_2E42_FEFA_39EF);
        check(0, 0xC042_5E4F_7B27_37FA);
        check(u64::MAX - (1 << 11), 0xBCA0_0000_0000_0000);
        check(0x1234_5678_9ABC_DEF0, 0xC005_25E9_73A0_564E);
    }

    /// Within four units in the last place of the machine's own.
    fn assert_is_logarithm(bits: u64) {
        let expected = (((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64).ln();
        let error = (ln(bits) - expected).abs();
        assert!(
            error <= 4.0 * f64::EPSILON * expected.abs(),
            "{bits:x}: {} for {expected}",
            ln(bits)
        );
    }

    proptest! {
        #[test]
        fn the_logarithm_is_one(bits in any::<u64>(), n_shifts in 0_u32..64) {
            // Far from 0 and from 1, close to 0, and close to 1.
            for bits in [bits, bits >> n_shifts, !(bits >> n_shifts)] {
                assert_is_logarithm(bits);
            }
        }
    }
}
