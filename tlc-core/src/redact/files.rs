//! Secrets in files: in the source of a program, and in settings, scripts and texts.
//!
//! More is taken out than where a person typed a command: a secret may have any letters in it, and a file says in many ways what something is called.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{is_secret_name, without};

/// A word that may be a name. `None` stands for a pattern that is none, which a test rules out.
static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[A-Za-z_][\w.-]*").ok());

/// The source of a program without the secrets in it: behind a name that tells of one, every text in quotes up to the end of the statement, and what
/// has the shape of one. `let token = lexer.next();` stays as it is. Linear in its length.
pub(crate) fn redacted_source(text: &str) -> Cow<'_, str> {
    let (mut secrets, mut from) = (Vec::new(), 0);
    let word = |from| WORD.as_ref()?.find_at(text, from);
    while let Some(word) = word(from) {
        from = word.end();
        if is_secret_name(word.as_str()) {
            from = literals(text, from, &mut secrets);
        }
    }
    without(text, secrets)
}

/// A file of settings, a script or a text without the secrets in it: behind a name that tells of one, the rest of the line, and the lines that belong to
/// it. Linear in its length.
pub(crate) fn redacted_settings(text: &str) -> Cow<'_, str> {
    let (mut secrets, mut offset) = (Vec::new(), 0);
    // What ends the value that goes on: a text, or a line that is not deeper than this one.
    let (mut ends_with, mut deeper_than): (Option<&str>, Option<usize>) = (None, None);
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        let depth = content.len() - content.trim_start().len();
        let goes_on = deeper_than.is_some_and(|other| content.is_empty() || depth > other);
        let value = match (ends_with, goes_on) {
            (None, false) => value_in(content),
            _ => Some(depth),
        };
        if let Some(end) = ends_with.filter(|end| content.contains(end)) {
            ends_with = (ends_with != Some(end)).then_some(end);
        } else if let (Some(value), None, false) = (value, ends_with, goes_on) {
            let rest = content.get(value..).unwrap_or_default();
            let is_block = rest.is_empty() || rest.starts_with(['|', '>']);
            deeper_than = is_block.then_some(depth);
            let quotes = [r#"""""#, "'''"]
                .into_iter()
                .find(|quotes| rest.starts_with(quotes));
            ends_with = quotes.filter(|quotes| rest.matches(quotes).count() < 2);
        } else if !goes_on {
            deeper_than = None;
        }
        if let Some(value) = value {
            secrets.push(offset + value..offset + content.len());
        }
        offset += line.len();
    }
    without(text, secrets)
}

/// Where in a line the value begins of the first name that tells of a secret.
fn value_in(line: &str) -> Option<usize> {
    const COMMANDS: [&str; 5] = ["ARG ", "ENV ", "export ", "set ", "setenv "];
    let is_command = COMMANDS
        .iter()
        .any(|command| line.trim_start().starts_with(command));
    let mut words = WORD.as_ref()?.find_iter(line);
    words.find_map(|word| {
        if !is_secret_name(word.as_str()) {
            return None;
        }
        let after = line.get(word.end()..)?;
        let closed = after.trim_start_matches(['\\', '"', '\'', ']', ' ', '\t']);
        let separators = ["=>", ":=", "=", ":"];
        let is_option = line.get(..word.start())?.ends_with('-');
        let value = match separators.iter().find_map(|sign| closed.strip_prefix(sign)) {
            Some(value) => value,
            None if is_command || is_option => closed,
            None => return None,
        };
        Some(line.len() - value.trim_start().len())
    })
}

/// How many lines of one statement are looked at.
const STATEMENT_LINES_MAX: usize = 16;

/// The texts in quotes from `at` to the end of the statement, which is given back.
fn literals(text: &str, mut at: usize, found: &mut Vec<Range<usize>>) -> usize {
    let bytes = text.as_bytes();
    // The name itself may have stood in quotes: `["NAME"]`, `env("NAME")`.
    if matches!(bytes.get(at), Some(b'"' | b'\'' | b'`')) {
        at += 1;
    }
    let (mut last, mut n_lines) = (b' ', 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b';' => break,
            b'\n' if n_lines == STATEMENT_LINES_MAX || !b"=([{,:+&|\\".contains(&last) => break,
            b'\n' => n_lines += 1,
            b'"' | b'\'' | b'`' => {
                if let Some((literal, end)) = literal(text, at) {
                    found.push(literal);
                    (at, last) = (end, b'"');
                    continue;
                }
            }
            byte if !byte.is_ascii_whitespace() => last = *byte,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The text in quotes that begins at `at`, without them, and where it has ended; `None` if the quote begins none, such as that of a lifetime.
fn literal(text: &str, at: usize) -> Option<(Range<usize>, usize)> {
    let (before, rest) = (text.get(..at)?, text.get(at..)?);
    let quote = rest.get(..1)?;
    let hashes = before.len() - before.trim_end_matches('#').len();
    let closing = match rest.get(..3) {
        Some(three) if three == quote.repeat(3) => three.to_owned(),
        _ if hashes > 0 && quote == "\"" => format!("\"{}", "#".repeat(hashes)),
        _ if quote == "\'" && before.ends_with(['&', '<']) => return None,
        _ => quote.to_owned(),
    };
    let start = if closing.len() == 3 && hashes == 0 {
        3
    } else {
        1
    };
    let mut escaped = false;
    for (n, letter) in rest.get(start..)?.char_indices() {
        let inside = rest.get(start + n..)?;
        if !escaped && inside.starts_with(&closing) {
            let (from, to) = (at + start, at + start + n);
            return Some((from..to, to + closing.len()));
        }
        if letter == '\n' && closing == quote && quote != "`" {
            return None;
        }
        escaped = letter == '\\' && !escaped && hashes == 0;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::redact::REDACTED;

    #[test]
    fn secrets_in_source_are_texts_in_quotes() {
        let check = |text: &str, expected: &str| {
            let expected = expected.replace('*', REDACTED);
            assert_eq!(redacted_source(text), expected, "{text}");
        };
        for (text, expected) in [
            ("let password = \"x\";", "let password = \"*\";"),
            (
                "const PASSWORD: &'static str = \"x\";",
                "const PASSWORD: &'static str = \"*\";",
            ),
            (
                "API_KEY: Option<&'static str> = Some(\"x\");",
                "API_KEY: Option<&'static str> = Some(\"*\");",
            ),
            (
                "let password = String::from(\"x\");",
                "let password = String::from(\"*\");",
            ),
            ("let password = r#\"x\"y\"#;", "let password = r#\"*\"#;"),
            (
                "password = \"\"\"x\ny\"\"\"\nz = \"1\"",
                "password = \"\"\"*\"\"\"\nz = \"1\"",
            ),
            (
                "password = (\n  'x'\n  \"y\")",
                "password = (\n  '*'\n  \"y\")",
            ),
            ("password = \"a\" \"x\\\"y\"", "password = \"*\" \"*\""),
            ("#define PASSWORD \"x\"", "#define PASSWORD \"*\""),
            ("char password[] = \"x\";", "char password[] = \"*\";"),
            ("password := `x\ny`", "password := `*`"),
            (
                "os.environ[\"API_KEY\"] = \"x\"",
                "os.environ[\"API_KEY\"] = \"*\"",
            ),
            (
                "client(api_key=\"x\", n=\"1\")",
                "client(api_key=\"*\", n=\"*\")",
            ),
            (
                "let token = lexer.next();\nlet name = \"x\";",
                "let token = lexer.next();\nlet name = \"x\";",
            ),
            (
                "fn f<'a>(password: &'a str, b: &'a str) {}",
                "fn f<'a>(password: &'a str, b: &'a str) {}",
            ),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn secrets_in_settings_are_the_rest_of_the_line() {
        let check = |text: &str, expected: &str| {
            let expected = expected.replace('*', REDACTED);
            assert_eq!(redacted_settings(text), expected, "{text}");
        };
        for (text, expected) in [
            (
                "lr = 1\npassword = a,b; c\nn = 2\n",
                "lr = 1\npassword = *\nn = 2\n",
            ),
            ("\"password = \\\"x\\\"\\n\",\n", "\"password = *\n"),
            (
                "os.environ[\\\"API_KEY\\\"] = \\\"abc\\\"",
                "os.environ[\\\"API_KEY\\\"] = *",
            ),
            (
                "a:\n  password: |\n    x\n\n    y\n  n: 1\n",
                "a:\n  password: *\n    *\n\n    *\n  n: 1\n",
            ),
            ("password:\n  - x\nn: 1", "password:\n  *\nn: 1"),
            (
                "password = \"\"\"\nx\n\"\"\"\nn = 1",
                "password = *\n*\n*\nn = 1",
            ),
            ("password = \"\"\"x\"\"\"\nn = 1", "password = *\nn = 1"),
            ("ENV PASSWORD x y\nRUN x\n", "ENV PASSWORD *\nRUN x\n"),
            ("  - --password x", "  - --password *"),
            ("The password is long.\n", "The password is long.\n"),
        ] {
            check(text, expected);
        }
    }

    proptest! {
        #[test]
        fn any_file_is_redacted_without_a_panic(text in "(password|x|=|:|\"|'|`|#|r|\\\\|\\||\n| |é|;|\\()*") {
            let _source = redacted_source(&text);
            let _settings = redacted_settings(&text);
        }
    }
}
