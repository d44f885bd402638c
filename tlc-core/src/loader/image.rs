//! Encoded images as pixels.
//!
//! PNG and JPEG become rows of bytes, height × width × channels: one channel for grey, two with
//! transparency, three for colour, four with transparency. Deeper channels are cut to eight bits.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageDecoder as _, ImageReader, Limits};

use crate::error::{Error, Result};

/// The most pixels of an image that is decoded: a small file can claim to be a huge image.
pub(super) const PIXELS_MAX: u64 = 1 << 26;

/// The height, the width and the number of channels.
pub(super) type Shape = [usize; 3];

/// The pixels of an image, row by row, the channels of a pixel together.
#[derive(Debug, PartialEq)]
pub(super) struct Pixels {
    pub(super) shape: Shape,
    pub(super) bytes: Vec<u8>,
}

/// Decodes one PNG or JPEG.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is neither, is cut off, or has more than
/// [`PIXELS_MAX`] pixels. Nothing of that size is allocated before the size is known.
pub(super) fn decode(encoded: &[u8]) -> Result<Pixels> {
    let unreadable = |err: image::ImageError| {
        Error::invalid("not a readable PNG or JPEG image").with_source(err)
    };
    let mut reader = ImageReader::new(Cursor::new(encoded))
        .with_guessed_format()
        .map_err(|err| unreadable(err.into()))?;
    let mut limits = Limits::default();
    // Up to four channels of 16 bits, and what the decoder itself needs.
    limits.max_alloc = Some(PIXELS_MAX * 8 + (1 << 24));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        return Err(Error::invalid(format!(
            "an image of {width} x {height} pixels is larger than {PIXELS_MAX} in all"
        )));
    }
    let image = eight_bits(DynamicImage::from_decoder(decoder).map_err(unreadable)?);
    let channels = usize::from(image.color().channel_count());
    Ok(Pixels {
        shape: [height as usize, width as usize, channels],
        bytes: image.into_bytes(),
    })
}

fn eight_bits(image: DynamicImage) -> DynamicImage {
    match image.color() {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => image,
        ColorType::L16 => image.into_luma8().into(),
        ColorType::La16 => image.into_luma_alpha8().into(),
        ColorType::Rgb16 | ColorType::Rgb32F => image.into_rgb8().into(),
        _ => image.into_rgba8().into(),
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba};

    use super::*;

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_png_is_decoded_to_the_pixels_it_was_made_of() {
        let grey = GrayImage::from_vec(3, 2, vec![0, 1, 2, 3, 4, 255]).unwrap();
        let expected = Pixels {
            shape: [2, 3, 1],
            bytes: vec![0, 1, 2, 3, 4, 255],
        };
        assert_eq!(decode(&encoded(grey, ImageFormat::Png)).unwrap(), expected);
        let color = RgbImage::from_fn(1, 2, |_, y| Rgb([y as u8, 10, 20]));
        let expected = Pixels {
            shape: [2, 1, 3],
            bytes: vec![0, 10, 20, 1, 10, 20],
        };
        assert_eq!(decode(&encoded(color, ImageFormat::Png)).unwrap(), expected);
    }

    #[test]
    fn deep_channels_are_cut_to_eight_bits() {
        let deep = ImageBuffer::<Luma<u16>, _>::from_vec(2, 1, vec![0, u16::MAX]).unwrap();
        assert_eq!(
            decode(&encoded(deep, ImageFormat::Png)).unwrap().bytes,
            [0, 255]
        );
        let deep =
            ImageBuffer::<Rgba<u16>, _>::from_vec(1, 1, vec![0, u16::MAX, 0, u16::MAX]).unwrap();
        let expected = Pixels {
            shape: [1, 1, 4],
            bytes: vec![0, 255, 0, 255],
        };
        assert_eq!(decode(&encoded(deep, ImageFormat::Png)).unwrap(), expected);
    }

    #[test]
    fn a_jpeg_keeps_its_size_and_nearly_its_colors() {
        let plain = RgbImage::from_pixel(16, 8, Rgb([200, 100, 50]));
        let pixels = decode(&encoded(plain, ImageFormat::Jpeg)).unwrap();
        assert_eq!(pixels.shape, [8, 16, 3]);
        assert!(pixels.bytes[0].abs_diff(200) < 8 && pixels.bytes[1].abs_diff(100) < 8);
    }

    #[test]
    fn bytes_that_are_no_image_are_invalid() {
        let png = encoded(GrayImage::new(8, 8), ImageFormat::Png);
        for bad in [&b""[..], b"hello", &png[..20], &png[..png.len() - 20]] {
            assert_eq!(
                decode(bad).unwrap_err().kind(),
                crate::ErrorKind::Invalid,
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_small_file_that_claims_a_huge_image_is_refused() {
        // The header's width and height, in place, with the checksum that makes it valid again.
        let mut png = encoded(GrayImage::new(1, 1), ImageFormat::Png);
        png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let sum = crc(&png[12..29]).to_be_bytes();
        png[29..33].copy_from_slice(&sum);
        let err = decode(&png).unwrap_err();
        assert!(err.to_string().contains("65536 x 65536"), "{err:#}");
    }

    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 {
                    (crc >> 1) ^ 0xEDB8_8320
                } else {
                    crc >> 1
                }
            })
        })
    }
}
