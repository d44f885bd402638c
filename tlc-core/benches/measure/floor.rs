//! The least that a durable program can do: two files written, synced and named.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A folder that such files are put in.
pub(crate) struct Floor {
    folder: PathBuf,
    n_files: usize,
}

impl Floor {
    pub(crate) fn new(folder: PathBuf) -> Self {
        fs::create_dir(&folder).unwrap();
        Self { folder, n_files: 0 }
    }

    /// Puts two files of these sizes.
    pub(crate) fn put_two(&mut self, sizes: [usize; 2]) {
        for bytes in sizes {
            self.n_files += 1;
            put_synced(&self.folder, self.n_files, bytes);
        }
    }
}

fn put_synced(folder: &Path, number: usize, bytes: usize) {
    let staging = folder.join("staging");
    let mut file = File::create(&staging).unwrap();
    file.write_all(&vec![7; bytes]).unwrap();
    file.sync_all().unwrap();
    fs::hard_link(&staging, folder.join(number.to_string())).unwrap();
    fs::remove_file(&staging).unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
}

/// The bytes of all files below a folder.
pub(crate) fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let bytes = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => bytes_below(&entry.path()),
        false => entry.metadata().unwrap().len(),
    });
    bytes.sum()
}
