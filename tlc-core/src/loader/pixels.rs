//! A column of encoded images as a column of pixels, each image decoded once where memory allows.
//!
//! The images of a batch are decoded at the same time, on as many cores as there are.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray as _, FixedSizeListArray, UInt8Array};
use arrow::datatypes::{DataType, Field, FieldRef};

use super::image::{Pixels, Shape, decode};
use crate::error::{Error, Result};
use crate::runtime::parallel;
use crate::schema::{self, Role};

/// One image to be decoded.
pub(super) struct Encoded<'a> {
    /// The position of its sample among all samples.
    pub(super) sample: usize,
    pub(super) row_id: u64,
    /// `None` if the cell is null.
    pub(super) bytes: Option<&'a [u8]>,
}

/// The pixels of a batch of images: field and values of type `arrow.fixed_shape_tensor`. Until it is
/// whole, those that had to be decoded take their bytes twice.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the first row whose cell is null or no image,
/// or the two rows whose images differ in shape.
pub(super) fn column(
    name: &str,
    images: &[Encoded<'_>],
    kept: &Kept,
) -> Result<(FieldRef, ArrayRef)> {
    let n_new = images.iter().filter(|image| !kept.has(image.sample));
    let decoded = parallel::map(images, n_new.count(), |image| {
        if kept.has(image.sample) {
            Ok(None)
        } else {
            pixels(name, image).map(Some)
        }
    });
    let mut bytes = Vec::new();
    let mut first: Option<(u64, Shape)> = None;
    for (image, decoded) in images.iter().zip(decoded) {
        let shape = match decoded? {
            Some(pixels) => {
                bytes.extend_from_slice(&pixels.bytes);
                kept.keep(image.sample, &pixels);
                pixels.shape
            }
            None => kept
                .copy_to(image.sample, &mut bytes)
                .ok_or_else(|| Error::corrupt("pixels that were kept are gone"))?,
        };
        let (first_row, first_shape) = *first.get_or_insert((image.row_id, shape));
        if shape != first_shape {
            let message = format!(
                "the images of column {name:?} in one batch differ: row {first_row} is {}, row {} is {}; \
                 bring them to one size, or use batches of one",
                text(first_shape),
                image.row_id,
                text(shape),
            );
            return Err(Error::invalid(message));
        }
    }
    tensor(name, first.map_or([0; 3], |(_, shape)| shape), bytes)
}

/// The bytes of one cell of a binary column; `None` if it is null.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the column is not binary.
pub(super) fn cell(column: &dyn Array, row: usize) -> Result<Option<&[u8]>> {
    if column.is_null(row) {
        return Ok(None);
    }
    match column.data_type() {
        DataType::Binary => Ok(Some(column.as_binary::<i32>().value(row))),
        DataType::LargeBinary => Ok(Some(column.as_binary::<i64>().value(row))),
        DataType::BinaryView => Ok(Some(column.as_binary_view().value(row))),
        other => Err(Error::invalid(format!(
            "images of type {other} are not encoded images"
        ))),
    }
}

/// Whether the column holds images that `column()` decodes: in its cells, or where those say.
pub(super) fn is_image(field: &Field) -> bool {
    is_encoded(field) || is_url(field)
}

fn is_encoded(field: &Field) -> bool {
    let binary = matches!(
        field.data_type(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    );
    binary && Role::of(field) == Some(Role::Image)
}

/// Whether the column holds paths or URLs of images.
pub(super) fn is_url(field: &Field) -> bool {
    let text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8);
    text && Role::of(field) == Some(Role::Image)
}

/// The path or URL in one cell of a text column; `None` if it is null.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the column is not text.
pub(super) fn url(column: &dyn Array, row: usize) -> Result<Option<&str>> {
    if column.is_null(row) {
        return Ok(None);
    }
    match column.data_type() {
        DataType::Utf8 => Ok(Some(column.as_string::<i32>().value(row))),
        DataType::LargeUtf8 => Ok(Some(column.as_string::<i64>().value(row))),
        other => Err(Error::invalid(format!("{other} is no URL of an image"))),
    }
}

fn pixels(name: &str, image: &Encoded<'_>) -> Result<Pixels> {
    let row_id = image.row_id;
    let Some(encoded) = image.bytes else {
        let message = format!(
            "row {row_id} has no image in column {name:?}; set its weight to 0 to leave it out"
        );
        return Err(Error::invalid(message));
    };
    decode(encoded).map_err(|err| {
        err.context(format!(
            "the image of row {row_id} in column {name:?} cannot be decoded; set its weight to 0 to leave it out"
        ))
    })
}

fn tensor(name: &str, shape: Shape, bytes: Vec<u8>) -> Result<(FieldRef, ArrayRef)> {
    let field = schema::with_role(schema::tensor(name, DataType::UInt8, &shape), Role::Image);
    let DataType::FixedSizeList(item, length) = field.data_type() else {
        return Err(Error::invalid(format!(
            "images of column {name:?} are too large"
        )));
    };
    let values = FixedSizeListArray::try_new(
        Arc::clone(item),
        *length,
        Arc::new(UInt8Array::from(bytes)),
        None,
    )?;
    Ok((Arc::new(field), Arc::new(values)))
}

fn text([height, width, channels]: Shape) -> String {
    format!("{height} x {width} x {channels}")
}

/// Pixels kept in memory for later epochs: one slot a sample, all of the shape of the first image.
///
/// Images of other shapes, and all images if there are too many for the bound, are not kept.
pub(super) struct Kept {
    slots: Mutex<Slots>,
}

struct Slots {
    n_samples: usize,
    /// What the slots together may take; 0 once it is known not to be enough.
    bytes_max: u64,
    shape: Option<Shape>,
    bytes: Vec<u8>,
    filled: Vec<bool>,
}

impl Kept {
    /// Room for the images of `n_samples` samples, if that is at most `bytes_max` in all.
    pub(super) fn new(n_samples: usize, bytes_max: u64) -> Self {
        let slots = Slots {
            n_samples,
            bytes_max,
            shape: None,
            bytes: Vec::new(),
            filled: Vec::new(),
        };
        Self {
            slots: Mutex::new(slots),
        }
    }

    /// Whether the pixels of a sample are here, and stay.
    pub(super) fn has(&self, sample: usize) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.filled.get(sample).is_some_and(|filled| *filled)
    }

    /// Appends the pixels of a sample to `out`; `None` if they are not here.
    fn copy_to(&self, sample: usize, out: &mut Vec<u8>) -> Option<Shape> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let shape = slots.shape?;
        slots.filled.get(sample).filter(|filled| **filled)?;
        out.extend_from_slice(slots.bytes.get(slot(shape, sample))?);
        Some(shape)
    }

    fn keep(&self, sample: usize, pixels: &Pixels) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.make_room(pixels.shape);
        if slots.shape != Some(pixels.shape) {
            return;
        }
        let Slots { bytes, filled, .. } = &mut *slots;
        if let (Some(room), Some(filled)) = (
            bytes.get_mut(slot(pixels.shape, sample)),
            filled.get_mut(sample),
        ) && room.len() == pixels.bytes.len()
        {
            room.copy_from_slice(&pixels.bytes);
            *filled = true;
        }
    }
}

impl Slots {
    /// Makes the slots when the first image comes: only then is their size known.
    fn make_room(&mut self, shape: Shape) {
        if self.shape.is_some() || self.bytes_max == 0 {
            return;
        }
        let bytes = self.n_samples.saturating_mul(shape.iter().product());
        if bytes as u64 > self.bytes_max {
            self.bytes_max = 0;
            return;
        }
        self.shape = Some(shape);
        self.bytes = vec![0; bytes];
        self.filled = vec![false; self.n_samples];
    }
}

fn slot(shape: Shape, sample: usize) -> std::ops::Range<usize> {
    let length: usize = shape.iter().product();
    sample * length..(sample + 1) * length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(shape: Shape, byte: u8) -> Pixels {
        Pixels {
            shape,
            bytes: vec![byte; shape.iter().product()],
        }
    }

    #[test]
    fn pixels_are_kept_if_all_of_them_fit() {
        for (bytes_max, kept) in [(3 * 4, true), (3 * 4 - 1, false)] {
            let images = Kept::new(3, bytes_max);
            images.keep(1, &pixels([2, 2, 1], 7));
            let mut out = vec![];
            assert_eq!(
                images.copy_to(1, &mut out),
                kept.then_some([2, 2, 1]),
                "{bytes_max}"
            );
            assert_eq!(out, if kept { vec![7; 4] } else { vec![] });
            assert_eq!(images.copy_to(0, &mut out), None);
        }
    }

    #[test]
    fn an_image_of_another_shape_is_not_kept() {
        let images = Kept::new(2, 1_000);
        images.keep(0, &pixels([2, 2, 1], 7));
        images.keep(1, &pixels([1, 4, 1], 8));
        assert_eq!(images.copy_to(1, &mut vec![]), None);
        assert_eq!(images.copy_to(0, &mut vec![]), Some([2, 2, 1]));
    }
}
