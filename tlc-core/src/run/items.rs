//! Items: what a run logs beside numbers, which is texts, histograms and files.
//!
//! The doors for training code are here, and what an item is while it waits to be stored. How items lie
//! in files is in [`item_columns`](super::item_columns); how they grow and are folded is what it is for metrics.

use bytes::Bytes;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder as _};

use super::Run;
use super::buffer::NAME_BYTES_MAX;
use super::histogram::Histogram;
use crate::error::{Error, Result};

/// The longest text of one item, in bytes; of a longer one the beginning is kept, and a mark that says so.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// The largest file of one item, in bytes.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// What stands behind the beginning of a text that was too long.
const CUT: &str = "… (cut)";

/// The longest media type, in bytes.
const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// What a run logs beside numbers. Each kind is a folder of the run, and a table in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemKind {
    /// Notes and lines of a console.
    Texts,
    /// How the values of a tensor are distributed.
    Histograms,
    /// Images and other small files.
    Files,
}

impl ItemKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Texts, Self::Histograms, Self::Files];

    /// What the folder and the table are called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Texts => "texts",
            Self::Histograms => "histograms",
            Self::Files => "files",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One item that is not stored yet.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) name: Box<str>,
    pub(crate) step: Option<i64>,
    pub(crate) time: i64,
    pub(crate) what: What,
}

/// What an item holds, by its kind.
#[derive(Debug)]
pub(crate) enum What {
    /// The line counts up within the name, also where one was lost.
    Text {
        line: u64,
        text: String,
    },
    Histogram(Box<Histogram>),
    File {
        media_type: Box<str>,
        bytes: Bytes,
    },
}

impl Item {
    pub(crate) fn kind(&self) -> ItemKind {
        match self.what {
            What::Text { .. } => ItemKind::Texts,
            What::Histogram(_) => ItemKind::Histograms,
            What::File { .. } => ItemKind::Files,
        }
    }

    /// What it counts in the buffer.
    pub(crate) fn bytes(&self) -> usize {
        let content = match &self.what {
            What::Text { text, .. } => text.len(),
            What::Histogram(histogram) => histogram.bytes(),
            What::File { media_type, bytes } => media_type.len() + bytes.len(),
        };
        size_of::<Self>() + self.name.len() + content
    }
}

impl Run {
    /// Logs a text under a name: a note, a line of a console, a generated sentence. One of more than
    /// [`TEXT_BYTES_MAX`] bytes is cut. The step may be `None`; the texts of one name are numbered, so that their order is kept.
    ///
    /// Costs a lock and two copies. A full buffer is treated as in [`Self::log`]: it holds
    /// [`ITEM_BYTES_MAX`](super::ITEM_BYTES_MAX) bytes of items. A text whose name is longer than
    /// [`NAME_BYTES_MAX`] is lost, and counted.
    pub fn text(&self, step: impl Into<Option<i64>>, name: &str, text: &str) {
        let (line, text) = (0, cut(text));
        self.log_item(step.into(), name, What::Text { line, text });
    }

    /// Logs how values are distributed: 64 bins of equal width from the least to the greatest finite one, how many
    /// are not finite, and the mean.
    ///
    /// Goes twice over the values on the calling thread, a few nanoseconds for each value, and keeps a
    /// kilobyte of them. Otherwise as [`Self::text`]. Any number that is a float without loss will do: `&[f32]`, `&[f64]`, `&[u8]`; of
    /// an Arrow array its `values()`.
    pub fn histogram<V: Copy + Into<f64>>(&self, step: i64, name: &str, values: &[V]) {
        let histogram = Box::new(Histogram::of(values));
        self.log_item(Some(step), name, What::Histogram(histogram));
    }

    /// Logs a small file, such as an image as it is encoded. A full buffer is treated as in [`Self::text`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the file if it has more than [`FILE_BYTES_MAX`] bytes, or if its name or media
    /// type is too long.
    pub fn file(
        &self,
        step: i64,
        name: &str,
        bytes: impl Into<Bytes>,
        media_type: &str,
    ) -> Result<()> {
        let bytes = bytes.into();
        for (what, n, max) in [
            ("", bytes.len(), FILE_BYTES_MAX),
            ("the name of ", name.len(), NAME_BYTES_MAX),
            ("the media type of ", media_type.len(), MEDIA_TYPE_BYTES_MAX),
        ] {
            if n > max {
                let start: String = name.chars().take(100).collect();
                return Err(Error::invalid(format!(
                    "{what}file {start:?} has {n} bytes, and {max} are the most; log something smaller"
                )));
            }
        }
        let media_type = media_type.into();
        self.log_item(Some(step), name, What::File { media_type, bytes });
        Ok(())
    }

    /// Logs an image of `width` times `height` pixels as a PNG. `rgb` holds red, green and blue of each pixel, row by
    /// row from the top. Encodes on the calling thread.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `rgb` has another number of bytes, or none; those of [`Self::file`].
    pub fn image(
        &self,
        step: i64,
        name: &str,
        (width, height): (u32, u32),
        rgb: &[u8],
    ) -> Result<()> {
        let expected = u128::from(width) * u128::from(height) * 3;
        if rgb.is_empty() || rgb.len() as u128 != expected {
            return Err(Error::invalid(format!(
                "an image of {width} x {height} pixels has {expected} bytes, not {}",
                rgb.len()
            )));
        }
        let mut png = Vec::new();
        let encoded =
            PngEncoder::new(&mut png).write_image(rgb, width, height, ExtendedColorType::Rgb8);
        encoded.map_err(|err| {
            Error::invalid(format!("image {name:?} cannot be encoded")).with_source(err)
        })?;
        self.file(step, name, png, "image/png")
    }

    fn log_item(&self, step: Option<i64>, name: &str, what: What) {
        self.shared.log_item(Item {
            name: name.into(),
            step,
            time: self.env.now().0,
            what,
        });
    }
}

/// The text, or its beginning and a mark.
fn cut(text: &str) -> String {
    match text.len() > TEXT_BYTES_MAX {
        false => text.to_owned(),
        true => {
            let end = text.floor_char_boundary(TEXT_BYTES_MAX);
            format!("{}{CUT}", text.get(..end).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_letters() {
        let fits = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(cut(&fits), fits);
        // Two bytes each, from an odd place on.
        let long = format!("x{}", "ö".repeat(TEXT_BYTES_MAX / 2));
        let expected = format!("x{}{CUT}", "ö".repeat(TEXT_BYTES_MAX / 2 - 1));
        assert_eq!(cut(&long), expected);
    }
}
