//! Frames: how a segment lies in its file while it grows.
//!
//! A segment is [`MAGIC`] and then frames, each written whole after the one before:
//!
//! ```text
//! length   u32   bytes of the payload
//! kind     u32   what the payload is
//! check    u64   the first 8 bytes of BLAKE3 over length, kind and payload
//! payload
//! ```
//!
//! All numbers are little-endian. A file that ends inside a frame was cut off by the end of its writer: what
//! is before that frame is whole, and what is in it was never said to be stored. A frame that is there in
//! full but does not match its check was damaged, and so is what comes after it.

use bytes::Bytes;

use crate::error::{Error, Result};

/// The beginning of every segment.
pub(crate) const MAGIC: [u8; 8] = *b"tlc-seg\n";

/// Bytes before a payload.
const HEAD_BYTES: usize = 16;

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What all rows of the segment share. The first frame, and no other.
    Head,
    /// Names of scalars, under numbers that hold from here on in this segment.
    Names,
    /// Values of scalars.
    Points,
    /// Rows of sample metrics, as an Arrow stream.
    Rows,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Head, Self::Names, Self::Points, Self::Rows];

    fn number(self) -> u32 {
        self as u32
    }

    fn numbered(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// Appends a frame whose payload `write` appends.
///
/// # Errors
/// Those of `write`, and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a payload of more than 4 GiB; `out` is then as
/// it was.
pub(crate) fn push(
    out: &mut Vec<u8>,
    kind: Kind,
    write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let start = out.len();
    out.extend([0; HEAD_BYTES]);
    let written = write(out).and_then(|()| {
        let length = out.len() - start - HEAD_BYTES;
        u32::try_from(length).map_err(|_large| {
            Error::invalid(format!(
                "{length} bytes are too many for one frame; log less at one time"
            ))
        })
    });
    match written {
        Ok(length) => {
            let check = check(
                length,
                kind.number(),
                out.get(start + HEAD_BYTES..).unwrap_or_default(),
            );
            let head = [length.to_le_bytes(), kind.number().to_le_bytes()];
            let head = head.into_iter().flatten().chain(check.to_le_bytes());
            for (byte, value) in out.iter_mut().skip(start).zip(head) {
                *byte = value;
            }
            Ok(())
        }
        Err(err) => {
            out.truncate(start);
            Err(err)
        }
    }
}

fn check(length: u32, kind: u32, payload: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&kind.to_le_bytes());
    hasher.update(payload);
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// How a segment's file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a whole frame.
    Whole,
    /// Inside a frame, at the end of the file.
    Torn,
    /// At a frame that is not what was written.
    Damaged,
}

/// The whole frames at the beginning of a segment, in order. Payloads are not copied.
#[derive(Debug)]
pub(crate) struct Frames {
    rest: Bytes,
    end: End,
}

impl Frames {
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if the file is no segment. One that is cut off before its first frame has no frames.
    pub(crate) fn new(file: &Bytes) -> Result<Self> {
        if let Some(rest) = file.strip_prefix(&MAGIC) {
            let (rest, end) = (file.slice_ref(rest), End::Whole);
            return Ok(Self { rest, end });
        }
        match MAGIC.starts_with(file) {
            true => Ok(Self {
                rest: Bytes::new(),
                end: End::Torn,
            }),
            false => Err(Error::corrupt(
                "not a segment: it begins with something else",
            )),
        }
    }

    /// How the file ends, once there are no more frames.
    pub(crate) fn end(&self) -> End {
        self.end
    }

    /// The next frame, or how the file ends.
    fn read(&self) -> std::result::Result<(Kind, Bytes), End> {
        if self.rest.is_empty() {
            return Err(End::Whole);
        }
        let number = |at: usize| {
            let bytes = self.rest.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };
        let (length, kind) = number(0).zip(number(4)).ok_or(End::Torn)?;
        let expected = self.rest.get(8..).and_then(<[u8]>::first_chunk);
        let expected = u64::from_le_bytes(*expected.ok_or(End::Torn)?);
        let payload_end = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .saturating_add(HEAD_BYTES);
        let payload = self.rest.get(HEAD_BYTES..payload_end).ok_or(End::Torn)?;
        match Kind::numbered(kind) {
            Some(known) if check(length, kind, payload) == expected => {
                Ok((known, self.rest.slice_ref(payload)))
            }
            _ => Err(End::Damaged),
        }
    }
}

impl Iterator for Frames {
    type Item = (Kind, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        if self.end != End::Whole {
            return None;
        }
        match self.read() {
            Ok((kind, payload)) => {
                self.rest = self.rest.slice(HEAD_BYTES + payload.len()..);
                Some((kind, payload))
            }
            Err(end) => {
                self.end = end;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn segment(payloads: &[&str]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for payload in payloads {
            push(&mut out, Kind::Points, |out| {
                out.extend(payload.bytes());
                Ok(())
            })
            .unwrap();
        }
        out
    }

    fn read(file: Vec<u8>) -> (Vec<String>, End) {
        let mut frames = Frames::new(&file.into()).unwrap();
        let payloads = frames
            .by_ref()
            .map(|(_, payload)| String::from_utf8(payload.into()).unwrap());
        (payloads.collect(), frames.end())
    }

    #[test]
    fn frames_are_read_back_in_order() {
        let payloads = ["one", "", "three"];
        assert_eq!(
            read(segment(&payloads)),
            (payloads.map(str::to_owned).to_vec(), End::Whole)
        );
    }

    #[test]
    fn a_file_cut_off_anywhere_gives_the_frames_before_the_cut() {
        let whole = segment(&["one", "", "three"]);
        let ends = [0, 3, 3, 8].map(|n| n + HEAD_BYTES);
        let second = MAGIC.len() + ends[1];
        let third = second + HEAD_BYTES;
        for cut in 0..=whole.len() {
            let n = [second, third, whole.len()]
                .iter()
                .filter(|end| cut >= **end)
                .count();
            let (found, end) = read(whole[..cut].to_vec());
            assert_eq!(found.len(), n, "cut at {cut}");
            let boundary = [MAGIC.len(), second, third, whole.len()].contains(&cut);
            assert_eq!(end == End::Whole, boundary, "cut at {cut}");
            assert_ne!(end, End::Damaged, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_frames_and_gives_none_that_was_not_written() {
        let whole = segment(&["one", "two"]);
        for bit in MAGIC.len() * 8..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (found, end) = read(damaged);
            assert!(end != End::Whole, "bit {bit}");
            assert!(found == ["one"] || found.is_empty(), "bit {bit}: {found:?}");
        }
    }

    #[test]
    fn another_kind_of_file_is_corrupt() {
        let err = Frames::new(&Bytes::from_static(b"PAR1....")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_payload_that_cannot_be_written_leaves_nothing() {
        let mut out = segment(&["one"]);
        let before = out.clone();
        push(&mut out, Kind::Rows, |out| {
            out.push(1);
            Err(Error::invalid("no"))
        })
        .unwrap_err();
        assert_eq!(out, before);
    }
}
