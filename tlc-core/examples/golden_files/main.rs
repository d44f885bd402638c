//! Writes the golden files of the current format version: a small project with one of everything.
//!
//! ```text
//! cargo run --example golden_files -- tlc-core/tests/formats/v4
//! ```
//!
//! Run it once, when a format version is released; the files are never edited afterwards, and tests
//! read them for ever. It refuses to write into a folder that is there. What is written is in
//! `project.rs`, which the tests use as well: what they write today has the fields of the golden files.

mod project;

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("name the folder to write into")?;
    if Path::new(&folder).exists() {
        return Err(format!("{folder} is there already; golden files are never rewritten").into());
    }
    project::write(Path::new(&folder))
}
