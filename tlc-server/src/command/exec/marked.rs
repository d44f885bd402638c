//! Lines of a console that are meant for the run: `{"tlc": {"step": 3, "loss": 0.2}}`. Pure.

use serde_json::{Map, Value};

/// What a line says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Marked {
    pub(super) step: Option<i64>,
    pub(super) scalars: Vec<(String, f64)>,
    pub(super) texts: Vec<(String, String)>,
}

/// Words for numbers that JSON has none for, as common writers of JSON write them all the same.
const WORDS: [(&str, f64); 3] = [
    ("NaN", f64::NAN),
    ("-Infinity", f64::NEG_INFINITY),
    ("Infinity", f64::INFINITY),
];

/// What the line says; `None` for one that is not marked, or not as it should be: it has one key, `tlc`, and
/// `step` is a whole number if it is there.
///
/// Names of nested values are joined by dots. Flags are 0 and 1, text stays text, and null says nothing.
pub(super) fn parse(line: &[u8]) -> Option<Marked> {
    let text = std::str::from_utf8(line).ok()?.trim();
    if !text.starts_with('{') || !text.contains(r#""tlc""#) {
        return None;
    }
    let read = serde_json::from_str(text).or_else(|_| serde_json::from_str(&with_words(text)));
    let mut object: Map<String, Value> = read.ok()?;
    let Some(Value::Object(mut values)) = object.remove("tlc").filter(|_| object.is_empty()) else {
        return None;
    };
    let step = match values.remove("step") {
        None | Some(Value::Null) => None,
        Some(step) => Some(whole(&step)?),
    };
    let mut marked = Marked {
        step,
        ..Marked::default()
    };
    for (name, value) in values {
        marked.add(name, value);
    }
    Some(marked)
}

impl Marked {
    fn add(&mut self, name: String, value: Value) {
        match value {
            Value::Null => {}
            Value::Bool(flag) => self.scalars.push((name, f64::from(u8::from(flag)))),
            Value::Number(number) => self
                .scalars
                .extend(number.as_f64().map(|value| (name, value))),
            Value::String(text) => match WORDS.iter().find(|(word, _)| *word == text) {
                Some((_, value)) => self.scalars.push((name, *value)),
                None => self.texts.push((name, text)),
            },
            Value::Array(values) => {
                for (at, value) in values.into_iter().enumerate() {
                    self.add(format!("{name}.{at}"), value);
                }
            }
            Value::Object(values) => {
                for (key, value) in values {
                    self.add(format!("{name}.{key}"), value);
                }
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked")]
fn whole(value: &Value) -> Option<i64> {
    let of_float = || {
        let float = value.as_f64()?;
        (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
    };
    value.as_i64().or_else(of_float)
}

/// The text with words for numbers in quotes, where they stand outside of texts.
fn with_words(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 16);
    let (mut rest, mut is_text) = (text, false);
    while let Some(c) = rest.chars().next() {
        let word = WORDS.iter().find(|(word, _)| rest.starts_with(word));
        let n_bytes = match word {
            Some((word, _)) if !is_text => {
                quoted = quoted + "\"" + word + "\"";
                word.len()
            }
            _ => {
                is_text ^= c == '"';
                // What follows a backslash ends no text.
                let n_chars = if is_text && c == '\\' { 2 } else { 1 };
                let n_bytes = rest.chars().take(n_chars).map(char::len_utf8).sum();
                quoted += rest.get(..n_bytes).unwrap_or_default();
                n_bytes
            }
        };
        rest = rest.get(n_bytes..).unwrap_or_default();
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let text = match parse(line.as_bytes()) {
            None => "console".to_owned(),
            Some(marked) => {
                let step = marked.step.map_or("-".to_owned(), |step| step.to_string());
                let scalars = marked.scalars.iter();
                let scalars = scalars.map(|(name, value)| format!(" {name}={value}"));
                let texts = marked.texts.iter();
                let texts = texts.map(|(name, text)| format!(" {name}:{text}"));
                step + &scalars.chain(texts).collect::<String>()
            }
        };
        assert_eq!(text, expected, "{line}");
    }

    #[test]
    fn marked_lines_are_scalars_at_a_step() {
        check(r#"{"tlc": {"step": 3, "loss": 0.25}}"#, "3 loss=0.25");
        check(r#"  {"tlc":{"b":1,"a":-2e3,"step":-1}} "#, "-1 a=-2000 b=1");
        check(r#"{"tlc": {"loss": 1}}"#, "- loss=1");
        check(r#"{"tlc": {"step": null, "loss": 1}}"#, "- loss=1");
        check(r#"{"tlc": {"step": 4.0}}"#, "4");
        check(
            r#"{"tlc": {"step": 1, "val": {"loss": 2, "top": [0.5, 1]}, "best": true}}"#,
            "1 best=1 val.loss=2 val.top.0=0.5 val.top.1=1",
        );
        check(
            r#"{"tlc": {"step": 1, "note": "a \"b\"", "none": null}}"#,
            r#"1 note:a "b""#,
        );
    }

    #[test]
    fn numbers_that_json_has_no_word_for_are_numbers() {
        check(
            r#"{"tlc": {"step": 1, "a": NaN, "b": -Infinity, "c": [Infinity], "d\"NaN": "is NaN: NaN"}}"#,
            r#"1 a=NaN b=-inf c.0=inf d"NaN:is NaN: NaN"#,
        );
        check(r#"{"tlc": {"a": "NaN"}}"#, "- a=NaN");
    }

    #[test]
    fn everything_else_is_console() {
        for line in [
            "",
            "loss 0.5",
            "{}",
            r#"{"loss": 0.5}"#,
            r#"{"tlc": 3}"#,
            r#"{"tlc": {"step": 3}, "more": 1}"#,
            r#"{"tlc": {"step": 3, "loss": 0.5}"#,
            r#"{"tlc": {"step": 3, "loss": 0.5}} and more"#,
            r#"{"tlc": {"step": 3.5, "loss": 1}}"#,
            r#"{"tlc": {"step": "3", "loss": 1}}"#,
            r#"{"tlc": {"step": 1e300, "loss": 1}}"#,
            r#"{"tlc": {"loss": NaNs}}"#,
            r#"["tlc"]"#,
            "{\"tlc\": \"\\",
        ] {
            check(line, "console");
        }
        assert_eq!(parse(b"{\"tlc\": {\"a\": 1}}\xff"), None);
    }
}
