//! One folder with a root in it, or beside a root in a bucket, and the command run there.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use parquet::arrow::ArrowWriter;
use serde_json::Value;
use tempfile::TempDir;
use tlc_core::Micros;
use tlc_core::arrow::array::{ArrayRef, BinaryArray, Int32Array, RecordBatch, StringArray};
use tlc_core::arrow::datatypes::{DataType, Field, Schema};
use tlc_core::{Root, RootOptions, block_on, schema};

use crate::servers::{self, Address};

/// A folder of its own, with nothing of the machine's environment.
pub(crate) struct Site {
    folder: TempDir,
    /// Where the root is, if it is not the folder `root`.
    address: Option<Address>,
}

/// What one call of the command left behind.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Site {
    /// With the root where `TLC_TEST_STORE` says, `s3` or `azure`; without it, in the folder.
    pub(crate) fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "what runs the tests says it so")]
        let address = match std::env::var("TLC_TEST_STORE").as_deref() {
            Err(_) => None,
            Ok("s3") => Some(servers::s3()),
            Ok("azure") => Some(servers::azure()),
            Ok(other) => panic!("TLC_TEST_STORE={other:?} is no store"),
        };
        Self::at(address)
    }

    /// With the root in its folder, whatever store is chosen.
    pub(crate) fn on_disk() -> Self {
        Self::at(None)
    }

    pub(crate) fn at(address: Option<Address>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, address }
    }

    /// A site with the table `zoo/animals` of four rows: text, a number with a null, and a flag.
    pub(crate) fn with_animals() -> Self {
        let site = Self::new();
        site.write(
            "animals.csv",
            "name,legs,tame\ncat,4,true\nant,6,false\n\"wolf, grey\",4,false\nsnake,,false\n",
        );
        site.tlc(&[
            "import",
            "animals.csv",
            "zoo/animals",
            "-m",
            "first animals",
        ])
        .done();
        site
    }

    /// A site with the table `zoo/pictures` of three rows: a label with classes, and an image.
    pub(crate) fn with_pictures() -> Self {
        let site = Self::new();
        site.write_pictures("pictures.parquet");
        site.tlc(&["import", "pictures.parquet", "zoo/pictures"])
            .done();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The root as a folder, which it must be.
    pub(crate) fn root(&self) -> PathBuf {
        assert!(self.address.is_none(), "the root is in a bucket");
        self.path("root")
    }

    /// The root as one names it to the command.
    pub(crate) fn url(&self) -> String {
        match &self.address {
            None => self.path("root").display().to_string(),
            Some(address) => address.url.clone(),
        }
    }

    /// The root as a program opens it.
    pub(crate) fn opened(&self) -> Root {
        self.opened_with(RootOptions::new())
    }

    pub(crate) fn opened_with(&self, options: RootOptions) -> Root {
        let more = self.address.iter().flat_map(|address| &address.options);
        let options = options.spool(self.path("spool"));
        let options = more.fold(options, |options, (key, value)| options.option(*key, value));
        block_on(Root::open_with(&self.url(), options)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes a Parquet file of pictures, with roles in its schema.
    pub(crate) fn write_pictures(&self, name: &str) {
        let fields = vec![
            schema::label("animal", ["cat", "dog"]),
            schema::image("image", "image/png"),
            Field::new("note", DataType::Utf8, true),
        ];
        let png = b"\x89PNG\r\n\x1a\n0123456789";
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![Some(0), Some(1), None])),
            Arc::new(BinaryArray::from(vec![
                Some(png.as_slice()),
                Some(b"abc"),
                None,
            ])),
            Arc::new(StringArray::from(vec![Some("first"), None, Some("a\nb")])),
        ];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let mut writer =
            ArrowWriter::try_new(File::create(self.path(name)).unwrap(), batch.schema(), None)
                .unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    /// The command in this folder, with its root, the keys to it and the user `ada`.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tlc"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .stdin(Stdio::null());
        command
            .env("HOME", self.folder.path())
            .env("TLC_ROOT", self.url())
            .env("USER", "ada");
        for (key, value) in self.address.iter().flat_map(|address| &address.options) {
            command.env(key.to_ascii_uppercase(), value);
        }
        command
    }

    pub(crate) fn tlc(&self, args: &[&str]) -> Answer {
        self.command(args).output().unwrap().into()
    }

    /// The answer of a call as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let answer = self.tlc(&[args, &["--json"]].concat()).done();
        assert_eq!(answer.err, "", "{args:?} wrote to standard error");
        serde_json::from_slice(&answer.out).unwrap_or_else(|err| panic!("{err}: {}", answer.text()))
    }

    /// What a call that is done writes to standard output, with `TIME` and `SIZE` for times and sizes.
    #[track_caller]
    pub(crate) fn masked(&self, args: &[&str]) -> String {
        masked(&self.tlc(args).done().text())
    }

    /// Checks what a call that is done writes to standard output. A text that begins with a line end is written
    /// with the indentation of its first line.
    #[track_caller]
    pub(crate) fn check(&self, args: &[&str], expected: &str) {
        let answer = self.tlc(args).done();
        assert_eq!(
            masked(&answer.text()),
            unindented(expected),
            "{args:?}\n{}",
            answer.text()
        );
    }

    /// Checks the exit code of a call that is not done, and what it writes to standard error.
    #[track_caller]
    pub(crate) fn check_err(&self, args: &[&str], code: i32, expected: &str) {
        let answer = self.tlc(args);
        let err = answer.err.replace(&self.url(), "ROOT");
        let err = err.replace(&self.folder.path().display().to_string(), "HERE");
        assert_eq!((answer.code, err), (code, unindented(expected)), "{args:?}");
        assert_eq!(answer.text(), "", "{args:?} wrote to standard output");
    }
}

impl Answer {
    /// The answer of a call that must be done.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.text(), self.err);
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err,
        }
    }
}

/// Text of a test without the indentation that it has in the source.
fn unindented(text: &str) -> String {
    let Some(text) = text.strip_prefix('\n') else {
        return text.to_owned();
    };
    let indent = text.len() - text.trim_start_matches(' ').len();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.get(indent..).unwrap_or_default())
        .collect();
    // The last line is the indentation of the closing quote.
    lines.join("\n").trim_end_matches(' ').to_owned()
}

/// Text without what differs from run to run: times, and the sizes of files that have times in them.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let time = rest
            .get(..27)
            .filter(|word| Micros::from_rfc3339(word).is_some());
        let size = rest
            .strip_prefix(", ")
            .and_then(|rest| rest.split_once('B'))
            .map(|(size, _)| size);
        let size = size.filter(|size| {
            size.len() < 10
                && size
                    .chars()
                    .all(|c| c.is_ascii_digit() || ".KM ".contains(c))
        });
        if time.is_some() {
            masked.push_str("TIME");
            rest = &rest[27..];
        } else if let Some(size) = size {
            masked.push_str(", SIZE");
            rest = &rest[size.len() + 3..];
        } else {
            masked.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    masked
}
