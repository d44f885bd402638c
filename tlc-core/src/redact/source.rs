//! Secrets in the source of a program: texts in quotes behind a name that tells of one, and what texts and comments name themselves.
//!
//! More is taken out than where a person typed a command: a secret may have any letters in it. What is neither in quotes nor in a comment is
//! code, and stays.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::names::is_secret;
use super::{is_secret_name, named, without};

/// A word that may be a name, or a text or a comment that begins. `None` stands for a pattern that is none, which a test rules out.
static TOKEN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"[A-Za-z_][\w.-]*|["'`]|//|/\*|#[ \t]*define[ \t]+|#"#).ok());

/// How many lines of one statement are looked at, and how many while a bracket is open.
const STATEMENT_LINES_MAX: usize = 16;
const BRACKET_LINES_MAX: usize = 256;

/// How many lines before a name its default may stand, in an attribute.
const DEFAULT_LINES_MAX: usize = 4;

/// The source of a program without the secrets in it: behind a name that tells of one, every text in quotes up to the end of the statement; what
/// texts and comments call a secret; and what has the shape of one. `let token = lexer.next();` stays as it is. Linear in its length.
pub(crate) fn redacted_source(text: &str) -> Cow<'_, str> {
    let mut source = Source::of(text);
    source.read_names();
    source.read_texts();
    without(text, source.secrets)
}

/// A source, and what was found in it.
struct Source<'a> {
    text: &'a str,
    secrets: Vec<Range<usize>>,
    /// From where to where there is none of these closing marks.
    absent: Vec<(String, Range<usize>)>,
}

impl<'a> Source<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            text,
            secrets: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// Texts in quotes that belong to names which tell of secrets.
    fn read_names(&mut self) {
        let (mut from, mut default) = (0, None::<Range<usize>>);
        while let Some(token) = self.token(from) {
            from = token.end;
            let word = self.part(token.clone());
            if is_secret_name(word) {
                if let Some(default) = default
                    .take()
                    .filter(|default| self.is_attribute_of(default, token.start))
                {
                    self.secrets.push(default);
                }
                from = self.statement(from);
            } else if word.starts_with("default") {
                default = self.default_at(token.end);
            }
        }
    }

    /// What texts and comments name themselves: `"host=h password=x"`, `# export API_KEY=x`, `#define PASSWORD x`.
    fn read_texts(&mut self) {
        let mut from = 0;
        while let Some(token) = self.token(from) {
            let first = self.part(token.clone()).bytes().next();
            let inside = match first {
                Some(b'"' | b'\'' | b'`') => {
                    self.literal(token.start).map(|(literal, _end)| literal)
                }
                Some(b'#') if token.len() > 1 && self.begins_line(token.start) => {
                    self.define(token.start);
                    None
                }
                Some(b'/' | b'#') => self.comment(token.start),
                _ => None,
            };
            from = inside.as_ref().map_or(token.end, |inside| inside.end + 1);
            if let Some(inside) = inside {
                self.read_named(&inside);
            }
        }
    }

    /// Takes out what a part names itself.
    fn read_named(&mut self, inside: &Range<usize>) {
        let found = named(self.part(inside.clone())).into_iter();
        let moved = found.map(|found| inside.start + found.start..inside.start + found.end);
        self.secrets.extend(moved);
    }

    fn begins_line(&self, at: usize) -> bool {
        let before = self.text.get(..at).unwrap_or_default();
        let before = before.trim_end_matches([' ', '\t']);
        before.is_empty() || before.ends_with('\n')
    }

    fn token(&self, from: usize) -> Option<Range<usize>> {
        let from = (from..=self.text.len()).find(|&from| self.text.is_char_boundary(from))?;
        TOKEN
            .as_ref()?
            .find_at(self.text, from)
            .map(|found| found.range())
    }

    fn part(&self, range: Range<usize>) -> &'a str {
        self.text.get(range).unwrap_or_default()
    }

    /// The comment that begins at `at`.
    fn comment(&mut self, at: usize) -> Option<Range<usize>> {
        let (before, rest) = (self.text.get(..at)?, self.text.get(at..)?);
        if rest.starts_with("/*") {
            let end = self.closing(at + 2, "*/", false).unwrap_or(self.text.len());
            return Some(at + 2..end);
        }
        let is_directive = ["#[", "#!", "#\""]
            .iter()
            .any(|start| rest.starts_with(start));
        // That of a raw text: r#, ##. That of a URL: https://.
        let is_glued = before
            .ends_with(|before: char| before.is_alphanumeric() || before == '#' || before == ':');
        (!is_directive && !is_glued).then(|| at..at + line_end(rest))
    }

    /// Takes out the value of the macro that is defined at `at`, if its name tells of a secret; or what else the line names, which may be a
    /// comment of another language: `# define the password: x`.
    fn define(&mut self, at: usize) {
        let line = at..at + line_end(self.text.get(at..).unwrap_or_default());
        match self.macro_at(line.clone()) {
            Some(value) => self.secrets.push(value),
            None => self.read_named(&line),
        }
    }

    /// The value of the macro that a line defines, if its name tells of a secret.
    fn macro_at(&self, line: Range<usize>) -> Option<Range<usize>> {
        let (at, line) = (line.start, self.part(line));
        let defined = line.split_once("define")?.1.trim_start();
        let (name, value) = defined.split_once([' ', '\t'])?;
        let value = value.trim();
        is_secret(name, value).then_some(unquoted(value, at + line.rfind(value)?))
    }

    /// Whether the default stands in an attribute of the name.
    fn is_attribute_of(&self, default: &Range<usize>, name: usize) -> bool {
        let between = self.part(default.end..name);
        between.contains(")]") && between.matches('\n').count() <= DEFAULT_LINES_MAX
    }

    /// The text in quotes that follows on the same line.
    fn default_at(&mut self, at: usize) -> Option<Range<usize>> {
        let rest = self.text.get(at..)?;
        let blank = |letter: char| letter == '=' || letter == '(' || letter == ' ';
        let quote = at + rest.len() - rest.trim_start_matches(blank).len();
        self.part(quote..quote + 1)
            .starts_with(['"', '\''])
            .then_some(())?;
        Some(self.literal(quote)?.0)
    }

    /// Takes out the texts in quotes from `at` to the end of the statement, which is given back.
    fn statement(&mut self, mut at: usize) -> usize {
        let bytes = self.text.as_bytes();
        // The name itself may have stood in quotes: `["NAME"]`, `env("NAME")`.
        if matches!(bytes.get(at), Some(b'"' | b'\'' | b'`')) {
            at += 1;
        }
        let mut lines = Lines::default();
        while let Some(&byte) = bytes.get(at) {
            if matches!(byte, b'"' | b'\'' | b'`')
                && let Some((literal, end)) = self.literal(at)
            {
                self.secrets.push(literal);
                (at, lines.last) = (end, b'"');
                continue;
            }
            if let Some(end) = self.comment_end(at) {
                at = end;
                continue;
            }
            let next = || {
                self.text
                    .get(at..)
                    .and_then(|rest| rest.trim_start().bytes().next())
            };
            if lines.end_at(byte, next) {
                break;
            }
            at += 1;
        }
        at
    }

    /// The end of a comment that begins at `at` behind a blank.
    fn comment_end(&mut self, at: usize) -> Option<usize> {
        let is_apart = at == 0
            || self
                .part(at - 1..at)
                .starts_with([' ', '\t', ',', '(', '[', '{', '\n']);
        let rest = self.text.get(at..).filter(|_| is_apart)?;
        match rest {
            rest if rest.starts_with("/*") => Some(self.closing(at + 2, "*/", false)? + 2),
            rest if rest.starts_with("//") || rest.starts_with("# ") => Some(at + line_end(rest)),
            _ => None,
        }
    }

    /// The text in quotes that begins at `at`, without them, and where it has ended; `None` if the quote begins none, such as that of a lifetime.
    fn literal(&mut self, at: usize) -> Option<(Range<usize>, usize)> {
        let (before, rest) = (self.text.get(..at)?, self.text.get(at..)?);
        let quote = rest.get(..1)?;
        let n_hashes = before.len() - before.trim_end_matches('#').len();
        let is_raw = n_hashes > 0 && quote == "\"";
        let is_triple = rest.starts_with(&quote.repeat(3));
        let closing = match (is_triple, is_raw) {
            (true, _) => quote.repeat(3),
            (_, true) => format!("\"{}", "#".repeat(n_hashes)),
            _ if quote == "'" && before.ends_with(['&', '<']) => return None,
            _ => quote.to_owned(),
        };
        let start = at + if is_triple { 3 } else { 1 };
        let end = self.closing(start, &closing, !is_raw)?;
        Some((start..end, end + closing.len()))
    }

    /// Where the closing mark is. Nothing is read twice in vain: that there is none is remembered.
    fn closing(&mut self, start: usize, closing: &str, has_escapes: bool) -> Option<usize> {
        let known = self.absent.iter().position(|(other, _)| other == closing);
        let known = known.unwrap_or_else(|| {
            self.absent.push((closing.to_owned(), 0..0));
            self.absent.len() - 1
        });
        let (_, absent) = self.absent.get_mut(known)?;
        if absent.contains(&start) {
            return None;
        }
        match find_closing(self.text, start, closing, has_escapes) {
            Ok(end) => Some(end),
            Err(end) => {
                *absent = start..end;
                None
            }
        }
    }
}

fn line_end(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// # Errors
/// Up to where it is not.
fn find_closing(
    text: &str,
    start: usize,
    closing: &str,
    has_escapes: bool,
) -> Result<usize, usize> {
    let bytes = text.as_bytes();
    let is_in_line = matches!(closing, "\"" | "'");
    let mut is_escaped = false;
    for at in start..bytes.len() {
        let (byte, rest) = (bytes.get(at), bytes.get(at..));
        if !is_escaped && rest.is_some_and(|rest| rest.starts_with(closing.as_bytes())) {
            return Ok(at);
        }
        if is_in_line && byte == Some(&b'\n') && !is_escaped {
            return Err(at);
        }
        is_escaped = has_escapes && byte == Some(&b'\\') && !is_escaped;
    }
    Err(bytes.len())
}

/// The lines of a statement as they are read.
#[derive(Default)]
struct Lines {
    /// What was read last, but blanks.
    last: u8,
    n_lines: usize,
    /// How many brackets were opened, but those of blocks.
    depth: usize,
}

impl Lines {
    /// Whether the statement ends at this byte; `next` is what follows after blanks.
    fn end_at(&mut self, byte: u8, next: impl Fn() -> Option<u8>) -> bool {
        let is_open = self.depth > 0;
        let goes_on = |last: u8| is_open || b"=([{,:+&|\\".contains(&last);
        match byte {
            b';' if !is_open => return true,
            b'\n' => {
                let max = if is_open {
                    BRACKET_LINES_MAX
                } else {
                    STATEMENT_LINES_MAX
                };
                let leads = || next().is_some_and(|next| b"=+.|&?".contains(&next));
                if self.n_lines >= max || !goes_on(self.last) && !leads() {
                    return true;
                }
                self.n_lines += 1;
            }
            b'(' | b'[' => self.depth += 1,
            b'{' if b"=:([,{".contains(&self.last) => self.depth += 1,
            b')' | b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            self.last = byte;
        }
        false
    }
}

/// Where a value is, without the quotes around it.
fn unquoted(value: &str, start: usize) -> Range<usize> {
    let is_quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    let margin = usize::from(is_quoted);
    start + margin..start + value.len() - margin
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::redact::REDACTED;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let expected = expected.replace('§', REDACTED);
        assert_eq!(redacted_source(text), expected, "{text}");
    }

    #[test]
    fn secrets_in_source_are_texts_in_quotes() {
        for (text, expected) in [
            ("let password = \"x\";", "let password = \"§\";"),
            (
                "const PASSWORD: &'static str = \"x\";",
                "const PASSWORD: &'static str = \"§\";",
            ),
            (
                "API_KEY: Option<&'static str> = Some(\"x\");",
                "API_KEY: Option<&'static str> = Some(\"§\");",
            ),
            (
                "let password = String::from(\"x\");",
                "let password = String::from(\"§\");",
            ),
            ("let password = r#\"x\"y\"#;", "let password = r#\"§\"#;"),
            (
                "password = \"\"\"x\ny\"\"\"\nz = \"1\"",
                "password = \"\"\"§\"\"\"\nz = \"1\"",
            ),
            (
                "password = (\n  'x'\n  \"y\")",
                "password = (\n  '§'\n  \"§\")",
            ),
            ("password = \"a\" \"x\\\"y\"", "password = \"§\" \"§\""),
            ("#define PASSWORD \"x\"", "#define PASSWORD \"§\""),
            ("char password[] = \"x\";", "char password[] = \"§\";"),
            ("password := `x\ny`", "password := `§`"),
            (
                "os.environ[\"API_KEY\"] = \"x\"",
                "os.environ[\"API_KEY\"] = \"§\"",
            ),
            (
                "client(api_key=\"x\", n=\"1\")",
                "client(api_key=\"§\", n=\"§\")",
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
    fn every_token_is_found() {
        assert!(TOKEN.is_some());
    }

    #[test]
    fn texts_and_comments_may_name_secrets() {
        for (text, expected) in [
            ("# define the password: abc\n", "# define the password: §\n"),
            ("x = 1  # define API_KEY=abc", "x = 1  # define API_KEY=§"),
            (
                "connect(\"host=h password=abc dbname=d\")",
                "connect(\"host=h password=§ dbname=d\")",
            ),
            (
                "get('https://h/x?token=abc&b=1')",
                "get('https://h/x?token=§&b=1')",
            ),
            (
                "x = 1  # export WANDB_API_KEY=abc\ny",
                "x = 1  # export WANDB_API_KEY=§\ny",
            ),
            ("// token = abc\nx", "// token = §\nx"),
            ("/* password: abc */ x", "/* password: § */ x"),
            (
                "\"\"\"Usage: DB_PASSWORD=abc x\"\"\"",
                "\"\"\"Usage: DB_PASSWORD=§ x\"\"\"",
            ),
            (
                "#define PASSWORD abc\n#define N 3",
                "#define PASSWORD §\n#define N 3",
            ),
            (
                "secrets = {\n  'a': 'x',  # it's\n  'b': 'y'\n}\nn = '1'",
                "secrets = {\n  '§': '§',  # it's\n  '§': '§'\n}\nn = '1'",
            ),
            (
                "add('--password', # it's\n  default='x')\nn = '1'",
                "add('--password', # it's\n  default='§')\nn = '1'",
            ),
            (
                "password // it's\n = \"x\"\nn = '1'",
                "password // it's\n = \"§\"\nn = '1'",
            ),
            (
                "static PASSWORD: [u8; 1] = *b\"x\";\nn = \"1\"",
                "static PASSWORD: [u8; 1] = *b\"§\";\nn = \"1\"",
            ),
            (
                "#[arg(long, default_value = \"x\")]\napi_key: String,",
                "#[arg(long, default_value = \"§\")]\napi_key: String,",
            ),
            (
                "#[arg(default_value = \"x\")]\nlr: f32,",
                "#[arg(default_value = \"x\")]\nlr: f32,",
            ),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn code_survives() {
        for text in [
            "tok = Tok(pad_token='<pad>', max_len=512)\n",
            "H = '-----BEGIN'\nlr = 0.1  # n_tokens: 5\n",
            "let key = map[\"a\"]; // the key: a\nfn f<'a>(x: &'a str) -> &'a str { x }",
            "a = b // c\nurl = 'https://h/x#y'\n",
        ] {
            assert_eq!(redacted_source(text), text);
        }
    }

    #[test]
    fn what_is_long_and_never_closed_is_read_once() {
        for part in [
            "#\" ",
            "``` ",
            "\"\"\" ",
            "\\' ",
            "\\` ",
            "/* ",
            "##\" \\\" ",
            "#define x ",
        ] {
            let text = format!("password = {}", part.repeat((1 << 18) / part.len()));
            // Were it read again from every mark, it would take minutes.
            assert!(redacted_source(&text).len() <= text.len() * 5, "{part:?}");
        }
    }

    proptest! {
        #[test]
        fn any_source_is_redacted_without_a_panic(text in "(password|x|=|:|\"|'|`|#|r|/|\\*|define |\\\\|\\||\n| |é|;|\\(|\\{|\\})*") {
            let _source = redacted_source(&text);
        }
    }
}
