//! Points: values of scalars as they lie in a frame, a little over eight bytes each.
//!
//! A training loop logs the same names at every step, so a call is written as one number that stands for
//! its list of names, and the differences of its step and time from those of the call before:
//!
//! ```text
//! n_lists, then for each list:  n_names, the numbers of its names
//! n_calls, then for each call:  its list, step - previous step, time - previous time
//! for each value of each call:  f64, little-endian
//! ```
//!
//! Everything before the values is in LEB128; differences are wrapping, and zigzag-coded.

use std::collections::HashMap;

use super::buffer::Scalars;

/// Appends `points` to `out`.
pub(crate) fn encode(points: &Scalars, out: &mut Vec<u8>) {
    let calls = calls(points);
    put(out, calls.lists.len() as u64);
    for list in &calls.lists {
        put(out, list.len() as u64);
        for name in *list {
            put(out, u64::from(*name));
        }
    }
    put(out, calls.calls.len() as u64);
    let (mut step, mut time) = (0_i64, 0_i64);
    for (list, at) in &calls.calls {
        let (Some(own_step), Some(own_time)) = (points.steps.get(*at), points.times.get(*at))
        else {
            continue;
        };
        put(out, *list as u64);
        put(out, zigzag(own_step.wrapping_sub(step)));
        put(out, zigzag(own_time.wrapping_sub(time)));
        (step, time) = (*own_step, *own_time);
    }
    out.reserve(points.values.len() * 8);
    for value in &points.values {
        out.extend(value.to_le_bytes());
    }
}

/// The calls of a block: each its list of names, and where its first value is.
struct Calls<'a> {
    lists: Vec<&'a [u32]>,
    calls: Vec<(usize, usize)>,
}

/// Values that follow each other with one step and one time are a call.
fn calls(points: &Scalars) -> Calls<'_> {
    let mut calls = Calls {
        lists: Vec::new(),
        calls: Vec::new(),
    };
    let mut numbers: HashMap<&[u32], usize> = HashMap::new();
    let mut last = (usize::MAX, &[][..]);
    let mut start = 0;
    let keys = points.steps.iter().zip(&points.times);
    let mut keys = keys.enumerate().peekable();
    while let Some((at, key)) = keys.next() {
        if keys.peek().is_some_and(|(_, next)| *next == key) {
            continue;
        }
        let names = points.names.get(start..=at).unwrap_or_default();
        if names != last.1 || last.0 == usize::MAX {
            let number = *numbers.entry(names).or_insert(calls.lists.len());
            if number == calls.lists.len() {
                calls.lists.push(names);
            }
            last = (number, names);
        }
        calls.calls.push((last.0, start));
        start = at + 1;
    }
    calls
}

/// Hands on the name's number, step, time and value of each point, in the order they were logged; `None` if the payload is no block of
/// points.
pub(crate) fn decode(payload: &[u8], mut each: impl FnMut(u32, i64, i64, f64)) -> Option<()> {
    let mut rest = payload;
    let mut lists: Vec<Vec<u32>> = Vec::new();
    for _ in 0..take_count(&mut rest)? {
        let n_names = take_count(&mut rest)?;
        let names = (0..n_names).map(|_| u32::try_from(take(&mut rest)?).ok());
        lists.push(names.collect::<Option<_>>()?);
    }
    let n_calls = take_count(&mut rest)?;
    let mut calls = Vec::with_capacity(n_calls);
    let (mut step, mut time, mut n_values) = (0_i64, 0_i64, 0_usize);
    for _ in 0..n_calls {
        let list = lists.get(usize::try_from(take(&mut rest)?).ok()?)?;
        step = step.wrapping_add(unzigzag(take(&mut rest)?));
        time = time.wrapping_add(unzigzag(take(&mut rest)?));
        n_values = n_values.checked_add(list.len())?;
        calls.push((list, step, time));
    }
    let (values, end) = rest.as_chunks::<8>();
    if values.len() != n_values || !end.is_empty() {
        return None;
    }
    let mut values = values.iter();
    for (list, step, time) in calls {
        for (name, value) in list.iter().zip(&mut values) {
            each(*name, step, time, f64::from_le_bytes(*value));
        }
    }
    Some(())
}

/// A number of things of at least one byte each: never more than there are bytes.
fn take_count(rest: &mut &[u8]) -> Option<usize> {
    let count = usize::try_from(take(rest)?).ok()?;
    (count <= rest.len()).then_some(count)
}

pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

pub(crate) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if bits > (u64::MAX >> shift) {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Point = (u32, i64, i64, u64);

    fn columns(points: &[Point]) -> Scalars {
        let mut columns = Scalars::default();
        for (name, step, time, bits) in points {
            columns.names.push(*name);
            columns.steps.push(*step);
            columns.times.push(*time);
            columns.values.push(f64::from_bits(*bits));
        }
        columns
    }

    fn read(payload: &[u8]) -> Option<Vec<Point>> {
        let mut found = Vec::new();
        decode(payload, |name, step, time, value| {
            found.push((name, step, time, value.to_bits()))
        })?;
        Some(found)
    }

    #[track_caller]
    fn check(points: &[Point]) -> Vec<u8> {
        let mut payload = Vec::new();
        encode(&columns(points), &mut payload);
        assert_eq!(read(&payload).as_deref(), Some(points));
        payload
    }

    proptest! {
        #[test]
        fn every_block_is_read_back_bit_for_bit(
            points in prop::collection::vec((0_u32..4, -2_i64..3, 0_i64..3, any::<u64>()), 0..60),
            wide in prop::collection::vec(any::<Point>(), 0..20),
        ) {
            check(&points);
            check(&wide);
        }

        #[test]
        fn any_bytes_are_points_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&bytes));
        }
    }

    #[test]
    fn a_block_cut_off_or_with_more_behind_it_is_refused() {
        let mut payload = check(&[(0, 1, 5, 0), (1, 1, 5, u64::MAX), (0, 2, 9, 7)]);
        for cut in 0..payload.len() {
            assert_eq!(read(&payload[..cut]), None, "cut at {cut}");
        }
        payload.push(0);
        assert_eq!(read(&payload), None);
    }

    #[test]
    fn a_training_loop_takes_less_than_nine_bytes_a_point() {
        let points: Vec<Point> = (0..10_000_u32)
            .map(|n| {
                (
                    n % 10,
                    i64::from(n / 10),
                    1_700_000_000_000_000 + i64::from(n / 10) * 12_345,
                    7,
                )
            })
            .collect();
        assert!(check(&points).len() < 9 * points.len());
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        let mut largest = Vec::new();
        put(&mut largest, u64::MAX);
        assert_eq!(take(&mut &largest[..]), Some(u64::MAX));
        largest[9] = 2;
        assert_eq!(take(&mut &largest[..]), None);
        assert_eq!(take(&mut &[0x80_u8; 11][..]), None);
    }
}
