//! Numbers in place of random ones, so that every program can make the same.

/// A well mixed number that follows from a seed and a position.
pub(crate) fn hash(seed: u64, position: u64) -> u64 {
    const STEP: u64 = 0xBF58_476D_1CE4_E5B9;
    let own = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = own.wrapping_add(position.wrapping_add(1).wrapping_mul(STEP));
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(STEP);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// The same as a number from 0 up to 1.
pub(crate) fn unit(seed: u64, position: u64) -> f64 {
    (hash(seed, position) >> 11) as f64 / (1_u64 << 53) as f64
}
