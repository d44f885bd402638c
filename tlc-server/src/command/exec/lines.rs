//! Lines of a console, from bytes as they come. Pure.

/// Bytes that are no whole line yet.
///
/// A progress bar that returns to the beginning of its line and writes over it leaves what stands there at the end.
#[derive(Debug)]
pub(super) struct Lines {
    /// No more than this is kept of a line.
    bytes_max: usize,
    line: Vec<u8>,
    /// What comes next is written over the line, unless it ends it.
    is_returned: bool,
}

impl Lines {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: Vec::new(),
            is_returned: false,
        }
    }

    /// Takes bytes, and hands on each line that they end, without its end.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
            if !text.is_empty() {
                self.write(text);
            }
            match after.split_first() {
                Some((b'\n', after)) => {
                    each(&self.line);
                    self.line.clear();
                    self.is_returned = false;
                    rest = after;
                }
                Some((_, after)) => {
                    self.is_returned = true;
                    rest = after;
                }
                None => rest = after,
            }
        }
    }

    /// Hands on what is left, if anything is.
    pub(super) fn finish(&mut self, each: impl FnOnce(&[u8])) {
        if !self.line.is_empty() {
            each(&std::mem::take(&mut self.line));
        }
    }

    fn write(&mut self, text: &[u8]) {
        if std::mem::take(&mut self.is_returned) {
            self.line.clear();
        }
        let room = self.bytes_max.saturating_sub(self.line.len());
        self.line
            .extend(text.get(..room.min(text.len())).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of pieces that are separated by `|`, each in brackets.
    #[track_caller]
    fn check(pieces: &str, expected: &str) {
        let mut lines = Lines::new(8);
        let mut found = String::new();
        let mut each = |line: &[u8]| found += &format!("[{}]", String::from_utf8_lossy(line));
        for piece in pieces.split('|') {
            lines.push(piece.as_bytes(), &mut each);
        }
        lines.finish(&mut each);
        assert_eq!(found, expected, "{pieces:?}");
    }

    #[test]
    fn lines_are_what_ends_with_a_line_end_and_what_is_left() {
        check("a\nb\n", "[a][b]");
        check("a\nb", "[a][b]");
        check("a|b\n|c", "[ab][c]");
        check("\n\na", "[][][a]");
        check("", "");
    }

    #[test]
    fn what_is_written_over_is_not_kept() {
        check("10%\r20%\r30%\n", "[30%]");
        check("10%\r|20%|\r\n", "[20%]");
        check("a\r\nb\r\n", "[a][b]");
        check("10%\r20%", "[20%]");
        check("10%\r", "[10%]");
        check("\r10%\rab\nc", "[ab][c]");
    }

    #[test]
    fn a_long_line_is_kept_to_the_bound() {
        check("12345678|90\nab\n", "[12345678][ab]");
        check("1234567890123\r12\n", "[12]");
    }
}
