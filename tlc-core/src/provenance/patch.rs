//! The difference between two versions of a text file, in the form that `git apply` takes.
//!
//! The form is that of `git diff` (<https://git-scm.com/docs/diff-format>), without the line of hashes.

use std::io;

use gix::diff::blob::unified_diff::{ConsumeHunk, ContextSize, DiffLineKind, HunkHeader};
use gix::diff::blob::{Algorithm, Diff, InternedInput, UnifiedDiff};

/// A version of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) text: String,
    pub(super) is_executable: bool,
}

impl Version {
    fn mode(&self) -> &'static str {
        match self.is_executable {
            true => "100755",
            false => "100644",
        }
    }
}

/// The patch that makes `new` of `old`; a side that is `None` has no such file. Linear in the texts as a rule.
///
/// # Errors
/// None in practice: the text is written to memory.
pub(super) fn of_file(
    path: &[u8],
    old: Option<&Version>,
    new: Option<&Version>,
) -> io::Result<String> {
    let (from, to) = (quoted("a/", path), quoted("b/", path));
    let mut patch = format!("diff --git {from} {to}\n");
    match (old, new) {
        (None, Some(new)) => patch += &format!("new file mode {}\n", new.mode()),
        (Some(old), None) => patch += &format!("deleted file mode {}\n", old.mode()),
        (Some(old), Some(new)) if old.is_executable != new.is_executable => {
            patch += &format!("old mode {}\nnew mode {}\n", old.mode(), new.mode());
        }
        _ => {}
    }
    let text = |version: Option<&Version>| version.map(|version| version.text.clone());
    let (before, after) = (text(old).unwrap_or_default(), text(new).unwrap_or_default());
    if before != after {
        let side = |name: String, version: Option<&Version>| match version {
            Some(_) => name,
            None => "/dev/null".to_owned(),
        };
        patch += &format!("--- {}\n+++ {}\n", side(from, old), side(to, new));
        patch += &hunks(&before, &after)?;
    }
    Ok(patch)
}

fn hunks(before: &str, after: &str) -> io::Result<String> {
    let input = InternedInput::new(before.as_bytes(), after.as_bytes());
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    let hunks = UnifiedDiff::new(&diff, &input, Hunks::default(), ContextSize::symmetrical(3));
    hunks.consume()
}

/// The text of hunks so far.
#[derive(Default)]
struct Hunks(String);

impl ConsumeHunk for Hunks {
    type Out = String;

    fn consume_hunk(
        &mut self,
        header: HunkHeader,
        lines: &[(DiffLineKind, &[u8])],
    ) -> io::Result<()> {
        // A side without lines is said to begin before its first.
        let range = |start: u32, len: u32| match len {
            0 => format!("{},0", start - 1),
            len => format!("{start},{len}"),
        };
        let before = range(header.before_hunk_start, header.before_hunk_len);
        let after = range(header.after_hunk_start, header.after_hunk_len);
        self.0 += &format!("@@ -{before} +{after} @@\n");
        for (kind, line) in lines {
            self.0.push(kind.to_prefix());
            self.0 += &String::from_utf8_lossy(line);
            if !line.ends_with(b"\n") {
                self.0 += "\n\\ No newline at end of file\n";
            }
        }
        Ok(())
    }

    fn finish(self) -> String {
        self.0
    }
}

/// A path in a header: in quotes, with escapes, where it holds what would end it.
fn quoted(side: &str, path: &[u8]) -> String {
    let is_plain = |byte: &u8| !matches!(byte, 0..0x20 | b'"' | b'\\' | 0x7f..);
    if path.iter().all(is_plain) {
        return format!("{side}{}", String::from_utf8_lossy(path));
    }
    let escaped = path.iter().map(|byte| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(*byte)),
        byte if is_plain(byte) => char::from(*byte).to_string(),
        byte => format!("\\{byte:03o}"),
    });
    format!("\"{side}{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: Option<&str>, new: Option<&str>, expected: &str) {
        let version = |text: &str| Version {
            text: text.to_owned(),
            is_executable: text.starts_with("#!"),
        };
        let (old, new) = (old.map(version), new.map(version));
        let patch = of_file(b"f", old.as_ref(), new.as_ref()).unwrap();
        assert_eq!(patch, format!("diff --git a/f b/f\n{expected}"));
    }

    #[test]
    fn the_form_is_that_of_git() {
        check(
            Some("1\n2\n3\n4\n5\n"),
            Some("1\n2\n3\n4\nfive\n"),
            "--- a/f\n+++ b/f\n@@ -2,4 +2,4 @@\n 2\n 3\n 4\n-5\n+five\n",
        );
        check(
            None,
            Some("1"),
            "new file mode 100644\n--- /dev/null\n+++ b/f\n@@ -0,0 +1,1 @@\n+1\n\\ No newline at end of file\n",
        );
        check(
            Some("#!x\n"),
            None,
            "deleted file mode 100755\n--- a/f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-#!x\n",
        );
        check(
            Some("x\n"),
            Some("#!\nx\n"),
            "old mode 100644\nnew mode 100755\n--- a/f\n+++ b/f\n@@ -1,1 +1,2 @@\n+#!\n x\n",
        );
        check(None, Some(""), "new file mode 100644\n");
    }

    #[test]
    fn odd_names_are_quoted() {
        for (path, expected) in [
            ("a b/c.rs", "a/a b/c.rs"),
            ("a\"b\\c", r#""a/a\"b\\c""#),
            ("ä\n", r#""a/\303\244\012""#),
        ] {
            assert_eq!(quoted("a/", path.as_bytes()), expected);
        }
    }
}
