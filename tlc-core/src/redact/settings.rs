//! Secrets in settings, scripts and texts: the value behind a name that tells of one, on its line and on those that belong to it.
//!
//! A file says in many ways what something is called: on the same line, on the line above (`name: DB_PASSWORD`), in the head of a section or of a column.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::names::{is_secret, may_name};
use super::{is_secret_name, named, without};

/// A word that may be a name. `None` stands for a pattern that is none, which a test rules out.
static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[A-Za-z_][\w.-]*").ok());

/// What calls a value only that.
static PLAIN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)\b(?:value|default|content|data|val)["']?[ \t]*(?:=>|=|:)[ \t]*(?<value>\S.*)"#,
    )
    .ok()
});

/// How many lines after a name its value may stand.
const VALUE_LINES_MAX: usize = 4;

/// Where the mark that closes a text is looked for.
const QUOTED_BYTES_MAX: usize = 64 << 10;

/// How long a tag may be.
const TAG_BYTES_MAX: usize = 512;

/// A file of settings, a script or a text without the secrets in it: behind a name that tells of one, the rest of the line, and the lines that belong to
/// it. Linear in its length.
pub(crate) fn redacted_settings(text: &str) -> Cow<'_, str> {
    let (mut secrets, mut offset) = (Vec::new(), 0);
    let mut reader = Reader::default();
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        let after = text.get(offset + line.len()..).unwrap_or_default();
        let found = reader.secret_in(content, after);
        secrets.extend(found.map(|found| offset + found.start..offset + found.end));
        let quoted = named(content).into_iter();
        secrets.extend(quoted.map(|found| offset + found.start..offset + found.end));
        offset += line.len();
    }
    without(text, secrets)
}

/// What the lines so far say of the next one.
#[derive(Default)]
struct Reader {
    /// What the value that goes on belongs to.
    open: Option<Open>,
    /// Whether all of this section is secret.
    is_secret_section: bool,
    /// How many lines may still hold the value of a name above.
    n_after_name: usize,
    table: Option<Table>,
    is_past_first: bool,
}

/// How a value that goes on ends.
enum Open {
    /// With this mark.
    With(&'static str),
    /// With a line that is not deeper, once so many brackets are closed. An item of a list may be as deep.
    Above {
        depth: usize,
        n_brackets: usize,
        is_item: bool,
    },
    /// With a line that does not end in a backslash.
    Joined,
}

impl Reader {
    /// Where in a line a secret is.
    fn secret_in(&mut self, line: &str, after: &str) -> Option<Range<usize>> {
        let is_first = !std::mem::replace(&mut self.is_past_first, true);
        let depth = line.len() - line.trim_start().len();
        if self.goes_on(line, depth) {
            return Some(depth..line.len());
        }
        if let Some(field) = self.field(line, is_first) {
            return Some(field);
        }
        if let Some(name) = section(line) {
            self.is_secret_section = is_secret_name(name);
        }
        let (value, is_named) = match value_in(line) {
            Some(value) => (Some(value), true),
            None => (self.plain_value(line), false),
        };
        let value = value?;
        let rest = line.get(value..).unwrap_or_default();
        self.open = opened(line, value, depth, after).filter(|_| is_named || !rest.is_empty());
        Some(value..line.len())
    }

    /// Whether the line belongs to a value that began above.
    fn goes_on(&mut self, line: &str, depth: usize) -> bool {
        let (goes_on, ends) = match &mut self.open {
            None => return false,
            Some(Open::With(end)) => (true, line.contains(*end)),
            Some(Open::Joined) => (true, !line.ends_with('\\')),
            Some(Open::Above {
                depth: other,
                n_brackets,
                is_item,
            }) => {
                let is_inside = *n_brackets > 0;
                let is_deeper = line.is_empty() || depth > *other;
                *n_brackets = (*n_brackets + count(line, "{[(")).saturating_sub(count(line, "}])"));
                let is_next_item =
                    depth == *other && !*is_item && line.trim_start().starts_with("- ");
                let goes_on = is_inside || is_deeper || is_next_item;
                (goes_on, !goes_on)
            }
        };
        if ends {
            self.open = None;
        }
        goes_on
    }

    /// The field of a column that is named like a secret.
    fn field(&mut self, line: &str, is_first: bool) -> Option<Range<usize>> {
        if let Some(table) = self.table.as_ref() {
            match table.field(line) {
                Some(field) => return Some(field),
                None => self.table = None,
            }
        }
        self.table = Table::of(line, is_first);
        None
    }

    /// What is called a value and nothing more, in a secret section or after a name.
    fn plain_value(&mut self, line: &str) -> Option<usize> {
        if self.is_secret_section && section(line).is_none() {
            let at = line.find(['=', ':'])? + 1;
            return line
                .get(at..)
                .map(|rest| line.len() - rest.trim_start().len());
        }
        let mut words = WORD.as_ref()?.find_iter(line);
        let name = words.find(|word| is_secret_name(word.as_str()));
        if let Some(word) = name {
            self.n_after_name = VALUE_LINES_MAX;
            return plain(line, word.end());
        }
        self.n_after_name = self.n_after_name.checked_sub(1)?;
        plain(line, 0)
    }
}

fn plain(line: &str, from: usize) -> Option<usize> {
    let found = PLAIN.as_ref()?.captures_at(line, from)?;
    Some(found.name("value")?.start())
}

/// The name of the section that begins: `[secrets]`.
fn section(line: &str) -> Option<&str> {
    let name = line.trim().strip_prefix('[')?.strip_suffix(']')?;
    let name = name.trim_matches(['[', ']', '"', '\'', ' ']);
    let is_name = |letter: char| letter.is_alphanumeric() || "_-. :\"".contains(letter);
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

fn count(line: &str, signs: &str) -> usize {
    line.chars().filter(|&sign| signs.contains(sign)).count()
}

/// How a value goes on after its line.
fn opened(line: &str, value: usize, depth: usize, after: &str) -> Option<Open> {
    let (before, rest) = (line.get(..value)?, line.get(value..)?);
    let near = || {
        let max = (0..=QUOTED_BYTES_MAX.min(after.len()))
            .rev()
            .find(|&max| after.is_char_boundary(max));
        after.get(..max.unwrap_or_default()).unwrap_or_default()
    };
    for quotes in ["\"\"\"", "'''", "\"", "'", "`"] {
        if let Some(inside) = rest.strip_prefix(quotes) {
            let is_closed = inside.replace("\\\"", "").contains(quotes);
            return (!is_closed && near().contains(quotes)).then_some(Open::With(quotes));
        }
    }
    if before.ends_with('>') && !before.ends_with("=>") {
        return (!rest.contains("</") && near().contains("</")).then_some(Open::With("</"));
    }
    if rest.ends_with('\\') {
        return Some(Open::Joined);
    }
    let n_brackets = count(rest, "{[(").saturating_sub(count(rest, "}])"));
    let is_block = rest.is_empty() || rest.starts_with(['|', '>', '!', '&', '#', '{', '[', '(']);
    let is_item = line.trim_start().starts_with("- ");
    let n_brackets = if rest.starts_with(['{', '[', '(']) {
        n_brackets
    } else {
        0
    };
    (is_block || before.trim_end().ends_with(':')).then_some(Open::Above {
        depth,
        n_brackets,
        is_item,
    })
}

/// Where in a line the value begins of the first name that tells of a secret.
fn value_in(line: &str) -> Option<usize> {
    if !may_name(line) {
        return None;
    }
    const COMMANDS: [&str; 7] = [
        "ARG ", "ENV ", "export ", "login ", "machine ", "set ", "setenv ",
    ];
    let start = line.trim_start();
    let is_command = COMMANDS.iter().any(|command| start.starts_with(command));
    let is_pair = line.split_whitespace().count() == 2;
    let mut words = WORD.as_ref()?.find_iter(line);
    words.find_map(|word| {
        if !is_secret_name(word.as_str()) {
            return None;
        }
        let (before, after) = (line.get(..word.start())?, line.get(word.end()..)?);
        let closed = after.trim_start_matches(['\\', '"', '\'', ']', ' ', '\t']);
        let separators = ["=>", ":=", "=", ":"];
        let is_option = before.ends_with('-');
        let is_first = is_pair && before.trim().is_empty() && after.starts_with([' ', '\t']);
        let value = match separators.iter().find_map(|sign| closed.strip_prefix(sign)) {
            Some(value) => value,
            None if before.ends_with('<') => after.get(tag_end(after)?..)?,
            None if is_command || is_option || is_first => closed,
            None => return None,
        };
        let value = value.trim_start();
        let is_telling = value.is_empty() || is_secret(word.as_str(), value);
        is_telling.then_some(line.len() - value.len())
    })
}

/// Where the attributes of a tag are over.
fn tag_end(after: &str) -> Option<usize> {
    let mut signs = after.bytes().take(TAG_BYTES_MAX);
    Some(signs.position(|sign| sign == b'>')? + 1)
}

/// A table one of whose columns is named like a secret.
struct Table {
    separator: char,
    column: usize,
    n_columns: usize,
}

impl Table {
    /// The one that begins with this line: the first of the file, or one of a text, between bars.
    fn of(line: &str, is_first: bool) -> Option<Self> {
        let separators: &[char] = match line.trim_start().starts_with('|') {
            true => &['|'],
            false if is_first => &[',', ';', '\t'],
            false => return None,
        };
        let separator = separators
            .iter()
            .copied()
            .find(|&separator| line.contains(separator))?;
        let is_name = |letter: char| letter.is_alphanumeric() || "_-. \"'".contains(letter);
        let names = || line.split(separator);
        if !names().all(|name| name.chars().all(is_name)) {
            return None;
        }
        let column =
            names().position(|name| is_secret_name(name.trim_matches(['"', '\'', ' '])))?;
        Some(Self {
            separator,
            column,
            n_columns: names().count(),
        })
    }

    /// Where in a row the secret is: all of the row, if that is not sure. `None` after the table.
    fn field(&self, line: &str) -> Option<Range<usize>> {
        if !line.contains(self.separator) {
            return None;
        }
        let mut start = 0;
        for (column, field) in line.split(self.separator).enumerate() {
            let end = start + field.len();
            if column == self.column && line.split(self.separator).count() == self.n_columns {
                let value = field.trim();
                let start = start + field.find(value)?;
                return Some(start..start + value.len());
            }
            start = end + 1;
        }
        Some(0..line.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::redact::REDACTED;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let expected = expected.replace('*', REDACTED);
        assert_eq!(redacted_settings(text), expected, "{text}");
    }

    #[test]
    fn secrets_in_settings_are_the_rest_of_the_line() {
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

    #[test]
    fn every_pattern_is_one() {
        assert!(WORD.is_some() && PLAIN.is_some());
    }

    #[test]
    fn a_secret_may_be_named_elsewhere() {
        for (text, expected) in [
            (
                "- name: DB_PASSWORD\n  value: x\n- name: LR\n  n: 1\n",
                "- name: DB_PASSWORD\n  value: *\n- name: LR\n  n: 1\n",
            ),
            (
                "<add key=\"ApiKey\" value=\"x\"/>",
                "<add key=\"ApiKey\" value=*",
            ),
            (
                "variable \"db_password\" {\n  default = \"x\"\n}\n",
                "variable \"db_password\" {\n  default = *\n}\n",
            ),
            (
                "[a]\nn = 1\n[secrets]\na = x\n[b]\nn = 1\n",
                "[a]\nn = 1\n[secrets]\na = *\n[b]\nn = 1\n",
            ),
            ("<password>x</password>\n<n>1</n>", "<password>*\n<n>1</n>"),
            (
                "<password>\nx\n</password>\n<n>1</n>",
                "<password>\n*\n*\n<n>1</n>",
            ),
            (
                "user,password,n\nada,x,1\nbob,y,z,2\n",
                "user,password,n\nada,*,1\n*\n",
            ),
            (
                "| user | password |\n|---|---|\n| ada | x |\n\nn = 1\n",
                "| user | password |\n|---|*|\n| ada | * |\n\nn = 1\n",
            ),
            (
                "machine h login a password x",
                "machine h login a password *",
            ),
            ("requirepass x\nmaxmemory 1", "requirepass *\nmaxmemory 1"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn a_secret_may_have_many_lines() {
        for (text, expected) in [
            ("password = [\n\"x\"\n]\nn = 1", "password = *\n*\n*\nn = 1"),
            (
                "{\"credentials\": {\n  \"value\": \"x\"\n},\n\"n\": 1}",
                "{\"credentials\": *\n  *\n*\n\"n\": 1}",
            ),
            (
                "password: !vault |\n    x\nn: 1",
                "password: *\n    *\nn: 1",
            ),
            ("password: &a\n  x\nn: 1", "password: *\n  *\nn: 1"),
            ("password: # why\n  x\nn: 1", "password: *\n  *\nn: 1"),
            ("password:\n- x\nn: 1", "password:\n*\nn: 1"),
            ("password = \\\n  x\nn = 1", "password = *\n  *\nn = 1"),
            ("PASSWORD=\"a\nx\"\nn=1", "PASSWORD=*\n*\nn=1"),
            ("password: it's\nn: 1", "password: *\nn: 1"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn settings_survive() {
        for text in [
            "{\"eos_token\": \"</s>\", \"vocab_size\": 32000}\n",
            "optimizer: adam\ntoken_dropout: 0.1\npass: 3\nmax_tokens: 512\n",
            "name: x\nvalue: 1\n[tool.black]\nline-length = 100\n",
            "image_key: img\nname,label\nvalue: 3\n",
        ] {
            assert_eq!(redacted_settings(text), text);
        }
    }

    proptest! {
        #[test]
        fn any_settings_are_redacted_without_a_panic(text in "(password|value|x|=|:|\"|'|<|>|,|#|\\[|\\]|\\{|\\\\|\\||\n| |é|- )*") {
            let _settings = redacted_settings(&text);
        }
    }
}
