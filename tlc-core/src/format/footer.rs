//! What a Parquet footer claims, looked at before it is decoded.
//!
//! A decoder makes room for as many things as a footer says that there are, and follows nested columns
//! by recursion: a few hostile bytes would end the process, which no caller can catch. So lists must not
//! be longer than the bytes that are left, and columns not nested deeper than anybody's are. What else
//! is wrong with a footer, the decoder says.

/// How deep structures may lie in each other, of the footer itself and of columns.
const DEPTH_MAX: usize = 96;

/// The field of a footer that lists the columns, and of a column that counts those inside it.
const COLUMNS: i64 = 2;
const N_INSIDE: i64 = 5;

/// What a structure of the footer is.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    File,
    Column,
    Other,
}

/// Whether the footer at the end of `file`, which may be the last part of one, can be decoded without
/// harm. Also true of bytes that are no Parquet: those a decoder refuses.
pub(crate) fn is_bounded(file: &[u8]) -> bool {
    let Some((before, [a, b, c, d, b'P', b'A', b'R', b'1'])) = file.split_last_chunk::<8>() else {
        return true;
    };
    let length = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
    let Some(start) = before.len().checked_sub(length) else {
        return true;
    };
    let mut walk = Walk {
        rest: before.get(start..).unwrap_or_default(),
        inside: Vec::new(),
    };
    walk.structure(Part::File, 0).is_some() && is_shallow(&walk.inside)
}

/// Whether columns, each with the number of columns inside it, are one tree that is not too deep.
fn is_shallow(inside: &[u64]) -> bool {
    let mut open: Vec<u64> = Vec::new();
    for (at, n_inside) in inside.iter().enumerate() {
        match open.last_mut() {
            Some(left) => *left -= 1,
            None if at == 0 => {}
            None => return false,
        }
        open.push(*n_inside);
        if open.len() > DEPTH_MAX || *n_inside > inside.len() as u64 {
            return false;
        }
        while open.last() == Some(&0) {
            open.pop();
        }
    }
    open.is_empty()
}

/// Reads Thrift's compact form, and keeps nothing but how columns are nested.
struct Walk<'a> {
    rest: &'a [u8],
    /// For each column, in the order of the footer.
    inside: Vec<u64>,
}

impl Walk<'_> {
    fn structure(&mut self, part: Part, depth: usize) -> Option<()> {
        let depth = (depth < DEPTH_MAX).then_some(depth + 1)?;
        let (mut id, mut n_inside) = (0_i64, 0);
        loop {
            let header = self.byte()?;
            if header == 0 {
                break;
            }
            id = match header >> 4 {
                0 => self.signed()?,
                step => id.saturating_add(i64::from(step)),
            };
            match (part, id, header & 0x0f) {
                (Part::File, COLUMNS, 9) => self.list(Part::Column, depth)?,
                (Part::Column, N_INSIDE, 4..=6) => n_inside = self.signed()?,
                (_, _, 1 | 2) => {}
                (_, _, kind) => self.value(kind, Part::Other, depth)?,
            }
        }
        if part == Part::Column {
            self.inside.push(u64::try_from(n_inside).ok()?);
        }
        Some(())
    }

    fn value(&mut self, kind: u8, part: Part, depth: usize) -> Option<()> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.number().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            9 | 10 => self.list(Part::Other, depth),
            11 => self.map(depth),
            12 => self.structure(part, depth),
            _ => None,
        }
    }

    fn list(&mut self, part: Part, depth: usize) -> Option<()> {
        let depth = (depth < DEPTH_MAX).then_some(depth + 1)?;
        let header = self.byte()?;
        let length = match header >> 4 {
            15 => self.number()?,
            few => u64::from(few),
        };
        self.items(length)?;
        (0..length).try_for_each(|_| self.value(header & 0x0f, part, depth))
    }

    fn map(&mut self, depth: usize) -> Option<()> {
        let depth = (depth < DEPTH_MAX).then_some(depth + 1)?;
        let length = self.number()?;
        self.items(length)?;
        if length == 0 {
            return Some(());
        }
        let kinds = self.byte()?;
        (0..length).try_for_each(|_| {
            self.value(kinds >> 4, Part::Other, depth)?;
            self.value(kinds & 0x0f, Part::Other, depth)
        })
    }

    /// Each of so many items takes a byte at least.
    fn items(&self, length: u64) -> Option<()> {
        (length <= self.rest.len() as u64).then_some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn skip(&mut self, length: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(length).ok()?..)?;
        Some(())
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        i64::try_from(number >> 1)
            .ok()
            .map(|half| half ^ -i64::from(number & 1 == 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(footer: &[u8]) -> Vec<u8> {
        let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
        [b"PAR1", footer, &length, b"PAR1"].concat()
    }

    /// A footer of columns alone, each with the number of those inside it.
    fn columns(inside: &[u8]) -> Vec<u8> {
        let n = u8::try_from(inside.len()).unwrap();
        // Field 2 is a list of structs; in each, field 5 is a number.
        let mut footer = vec![0x29, 0xfc, n & 0x7f | 0x80, n >> 7];
        for n_inside in inside {
            footer.extend([0x55, n_inside << 1, 0]);
        }
        footer.push(0);
        file(&footer)
    }

    #[test]
    fn columns_are_one_tree_that_is_not_deep() {
        for (inside, expected) in [
            (&[1, 0][..], true),
            (&[2, 1, 0, 0], true),
            (&[0], true),
            (&[2, 0], false),
            (&[1, 0, 0], false),
            (&[9, 0], false),
        ] {
            assert_eq!(is_bounded(&columns(inside)), expected, "{inside:?}");
        }
        let chain = |depth: usize| [vec![1; depth - 1], vec![0]].concat();
        assert!(is_bounded(&columns(&chain(DEPTH_MAX))));
        assert!(!is_bounded(&columns(&chain(DEPTH_MAX + 1))));
    }

    #[test]
    fn lists_are_not_longer_than_the_footer() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0x07];
        for kind in [0x29, 0x49] {
            let footer = [&[kind, 0xfc], &huge[..], &[0]].concat();
            assert!(!is_bounded(&file(&footer)));
        }
        assert!(is_bounded(&file(&[0x49, 0x0c, 0])), "an empty list");
    }

    #[test]
    fn what_is_no_parquet_is_left_to_the_decoder() {
        for bytes in [
            &b""[..],
            b"PAR1",
            b"\xff\xff\xff\xffPAR1",
            b"text, and more of it",
        ] {
            assert!(is_bounded(bytes), "{bytes:?}");
        }
    }
}
