//! Small edits of YAML that people write: one line is changed, and their comments stay.
//!
//! What an edit gives is read back before anybody sees it; where it would say anything else than
//! what was meant, there is no edit.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// `text` with `name` set to `value`, or without `name`, at the top or below the key `section`.
///
/// `None` if the text is no map, or is written in a form (on one line, with anchors) that is not
/// edited by lines.
#[must_use]
pub fn edited(
    text: &str,
    section: Option<&str>,
    name: &str,
    value: Option<&str>,
) -> Option<String> {
    let mut meant = parsed(text)?;
    let entries = match section {
        None => &mut meant,
        Some(section) => {
            let entry = meant.entry(section).or_insert(Value::Null);
            if entry.is_null() {
                *entry = Value::Object(Map::new());
            }
            entry.as_object_mut()?
        }
    };
    match value {
        Some(value) => entries.insert(name.to_owned(), value.into()),
        None => entries.remove(name),
    };
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut edited = edited_lines(lines, section, name, value)?.join("\n");
    if !edited.is_empty() {
        edited.push('\n');
    }
    let mut found = parsed(&edited)?;
    for map in [&mut meant, &mut found] {
        map.retain(|_, value| {
            !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty())
        });
    }
    (found == meant).then_some(edited)
}

fn parsed(text: &str) -> Option<Map<String, Value>> {
    let map: Option<BTreeMap<String, Value>> = serde_saphyr::from_str(text).ok()?;
    Some(map.unwrap_or_default().into_iter().collect())
}

fn edited_lines(
    mut lines: Vec<String>,
    section: Option<&str>,
    name: &str,
    value: Option<&str>,
) -> Option<Vec<String>> {
    let (start, end, indent) = match section {
        None => (0, lines.len(), String::new()),
        Some(section) => block(&mut lines, section)?,
    };
    let is_entry = |line: &String| key(line, &indent).is_some();
    let own = |line: &String| key(line, &indent) == Some(name);
    let inside = lines.get(start..end)?;
    let found = inside.iter().position(own).map(|at| start + at);
    let last = inside.iter().rposition(is_entry).map(|at| start + at + 1);
    let is_alone = inside.iter().filter(|line| is_entry(line)).count() == 1;
    match (found, value) {
        (Some(at), Some(value)) => {
            *lines.get_mut(at)? = format!("{indent}{name}: {}", scalar(value))
        }
        (Some(at), None) => {
            lines.remove(at);
            if let (Some(header), true, Some(_)) = (start.checked_sub(1), is_alone, section) {
                lines.remove(header);
            }
        }
        (None, Some(value)) => {
            let at = last.unwrap_or(if section.is_some() { start } else { end });
            lines.insert(at, format!("{indent}{name}: {}", scalar(value)));
        }
        (None, None) => {}
    }
    Some(lines)
}

/// The lines below `section`, which is added where it is not there, and how far they are indented.
fn block(lines: &mut Vec<String>, section: &str) -> Option<(usize, usize, String)> {
    const INDENT: &str = "  ";
    let Some(header) = lines.iter().position(|line| key(line, "") == Some(section)) else {
        lines.push(format!("{section}:"));
        return Some((lines.len(), lines.len(), INDENT.to_owned()));
    };
    let line = lines.get_mut(header)?;
    let rest = line.split_once(':')?.1.trim();
    match rest {
        "{}" | "null" | "~" => *line = format!("{section}:"),
        rest if rest.is_empty() || rest.starts_with('#') => {}
        _ => return None,
    }
    let start = header + 1;
    let below = lines.get(start..)?;
    let is_outside = |line: &String| !line.is_empty() && !line.starts_with([' ', '\t', '#']);
    let length = below.iter().position(is_outside).unwrap_or(below.len());
    let below = below.get(..length)?;
    let first = below.iter().find(|line| {
        let text = line.trim_start();
        !text.is_empty() && !text.starts_with('#')
    });
    let indent = first.and_then(|line| line.get(..line.len() - line.trim_start().len()));
    let indent = indent.unwrap_or(INDENT).to_owned();
    Some((start, start + length, indent))
}

/// The key of a line that begins an entry at this indentation.
fn key<'a>(line: &'a str, indent: &str) -> Option<&'a str> {
    let (key, rest) = line.strip_prefix(indent)?.split_once(':')?;
    let begins =
        !key.starts_with([' ', '\t', '#', '-']) && (rest.is_empty() || rest.starts_with(' '));
    begins.then(|| key.trim().trim_matches(['"', '\'']))
}

/// A text as YAML: plain where that can be nothing else.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with('/') || text.contains("://") || text.starts_with('<');
    let is_plain = is_plain
        && !text.ends_with(':')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/_.-:<>".contains(c));
    match is_plain {
        true => text.to_owned(),
        // JSON's strings are YAML's too.
        false => Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, section: Option<&str>, name: &str, value: Option<&str>, expected: &str) {
        let found = edited(text, section, name, value);
        assert_eq!(found.as_deref().unwrap_or("cannot"), expected, "{text}");
    }

    #[test]
    fn one_entry_changes_and_the_rest_stays() {
        let text = "# mine\nroot: /r\naliases:\n    # the disk\n    A: /a\n    \"B\": /b\n\n# who\nauthor: ada\n";
        let aliases = Some("aliases");
        check(
            text,
            aliases,
            "B",
            Some("/c"),
            &text.replace("\"B\": /b", "B: /c"),
        );
        check(
            text,
            aliases,
            "C",
            Some("/c"),
            &text.replace("/b\n", "/b\n    C: /c\n"),
        );
        check(text, aliases, "A", None, &text.replace("    A: /a\n", ""));
        check(
            "A: /a\nB: /b",
            None,
            "A",
            Some("s3://a/b"),
            "A: s3://a/b\nB: /b\n",
        );
        check(
            "A: /a\n",
            None,
            "B",
            Some("a: b #"),
            "A: /a\nB: \"a: b #\"\n",
        );
    }

    #[test]
    fn a_section_comes_with_its_first_entry_and_goes_with_its_last() {
        let aliases = Some("aliases");
        check("", aliases, "A", Some("/a"), "aliases:\n  A: /a\n");
        check(
            "root: /r",
            aliases,
            "A",
            Some("<B>/a"),
            "root: /r\naliases:\n  A: <B>/a\n",
        );
        check(
            "aliases: {}\nroot: /r\n",
            aliases,
            "A",
            Some("/a"),
            "aliases:\n  A: /a\nroot: /r\n",
        );
        check(
            "root: /r\naliases:\n  A: /a\n",
            aliases,
            "A",
            None,
            "root: /r\n",
        );
        check("", None, "A", Some("/a"), "A: /a\n");
        check("A: /a\n", None, "A", None, "");
        check("# none\n", None, "A", Some("/a"), "# none\nA: /a\n");
    }

    #[test]
    fn what_an_edit_of_lines_would_break_is_not_edited() {
        let aliases = Some("aliases");
        for text in [
            "aliases: {A: /a}",
            "aliases:\n  A: >\n    /a\n    /b\n",
            "- a",
            "aliases: [",
            "aliases: text",
        ] {
            check(text, aliases, "B", Some("/b"), "cannot");
        }
        check("{A: /a}", None, "B", Some("/b"), "cannot");
    }
}
