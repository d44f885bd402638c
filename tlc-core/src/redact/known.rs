//! Secrets whose values are known, because a variable of the environment is named like one.
//!
//! They are looked for as they are, in whatever text and under whatever name: copied into a file, a branch or an argument that says nothing
//! of them. Also in the forms they travel in: Base64 (alone, or in the middle of something longer), percent-encoded, escaped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::names::{is_secret_name, tells_where};
use super::{REDACTED, named, replaced, shaped};

/// How much of a text tells that a secret may begin. No shorter value is looked for: it would be found by chance.
const BEGINNING: usize = 8;

/// Values that must be in no text that is stored: see [`Secrets::of`].
#[derive(Clone, Default)]
pub struct Secrets {
    /// Every form of every value, by the bytes it begins with.
    forms: HashMap<[u8; BEGINNING], Vec<String>>,
}

impl Secrets {
    /// The values of those variables of an environment that are named like secrets, and what else in their values has the shape of one.
    /// Values of fewer than eight bytes are not looked for.
    #[must_use]
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut secrets = Self::default();
        for (name, value) in variables {
            match is_secret_name(name) && !tells_where(name) {
                true => value.lines().for_each(|line| secrets.add(line)),
                false => secrets.add_parts(value),
            }
        }
        secrets
    }

    /// The text without these values. Linear in its length.
    ///
    /// ```
    /// use tlc_core::Secrets;
    ///
    /// let secrets = Secrets::of([("API_KEY", "correct horse"), ("LANG", "C")]);
    /// assert_eq!(secrets.removed_from("say correct horse"), "say [redacted]");
    /// assert_eq!(secrets.removed_from("?q=correct%20horse"), "?q=[redacted]");
    /// ```
    #[must_use]
    pub fn removed_from<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if self.forms.is_empty() {
            return Cow::Borrowed(text);
        }
        for (at, window) in text.as_bytes().windows(BEGINNING).enumerate() {
            let forms = <[u8; BEGINNING]>::try_from(window)
                .ok()
                .and_then(|beginning| self.forms.get(&beginning));
            let rest = || text.get(at..).unwrap_or_default();
            let is_here = |form: &&String| rest().starts_with(form.as_str());
            let lengths = forms.into_iter().flatten().filter(is_here);
            if let Some(length) = lengths.map(String::len).max() {
                found.push(at..at + length);
            }
        }
        replaced(text, found)
    }

    /// What of the value of a variable with a harmless name is a secret: the password in a URL.
    fn add_parts(&mut self, value: &str) {
        for part in named(value).into_iter().chain(shaped(value)) {
            let part = value.get(part).unwrap_or_default();
            self.add(part);
            if let Some((_user, password)) = part.split_once(':') {
                self.add(password);
            }
        }
    }

    fn add(&mut self, value: &str) {
        let value = value.trim();
        if value.len() < BEGINNING || REDACTED.contains(value) {
            return;
        }
        for form in forms(value) {
            let beginning = form.as_bytes().get(..BEGINNING);
            if let Some(Ok(beginning)) = beginning.map(<[u8; BEGINNING]>::try_from) {
                self.forms.entry(beginning).or_default().push(form);
            }
        }
    }
}

/// Says nothing of the values.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// A value as it may be written.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![
        value.to_owned(),
        value.replace('\\', r"\\").replace('"', "\\\""),
        percent_encoded(value, true),
        percent_encoded(value, false),
    ];
    forms.push(percent_encoded(value, true).replace("%20", "+"));
    for before in 0..3 {
        forms.extend(in_base64(value, before));
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

fn percent_encoded(value: &str, is_upper: bool) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            byte if is_upper => encoded += &format!("%{byte:02X}"),
            byte => encoded += &format!("%{byte:02x}"),
        }
    }
    encoded
}

/// The letters that stand for nothing but the value, after so many other bytes, in both alphabets.
fn in_base64(value: &str, before: usize) -> [String; 2] {
    let mut bytes = vec![0; before];
    bytes.extend(value.bytes());
    let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    [
        STANDARD_NO_PAD.encode(&bytes),
        URL_SAFE_NO_PAD.encode(&bytes),
    ]
    .map(|text| text.get(from..to).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets() -> Secrets {
        Secrets::of([
            ("WANDB_API_KEY", " correct \"horse\" "),
            ("DB_PASSWORD", "short"),
            ("PWD", "/home/ada"),
            ("SSH_AUTH_SOCK", "/tmp/agent"),
            ("LANG", "something"),
            ("STORE", "postgres://ada:battery/staple@host/x"),
            ("SIGNING_KEY", "first line\nsecond line"),
        ])
    }

    #[test]
    fn what_a_variable_holds_is_found_under_any_name() {
        let check = |text: &str, expected: &str| {
            let expected = expected.replace('*', REDACTED);
            assert_eq!(secrets().removed_from(text), expected, "{text}");
        };
        check("x = correct \"horse\"", "x = *");
        check(r#"{"x": "correct \"horse\""}"#, r#"{"x": "*"}"#);
        check("?q=correct%20%22horse%22", "?q=*");
        check("?q=correct+%22horse%22", "?q=*");
        check("battery/staple", "*");
        check("+first line\n+second line\n", "+*\n+*\n");
        for kept in [
            "short",
            "/home/ada",
            "/tmp/agent",
            "something",
            "ada",
            "host",
        ] {
            check(kept, kept);
        }
        assert_eq!(format!("{:?}", secrets()), "Secrets { .. }");
    }

    proptest! {
        #[test]
        fn it_is_found_within_base64(before in "[ -~]{0,9}", after in "[ -~]{0,9}", value in "[a-z]{12,20}") {
            let secrets = Secrets::of([("TOKEN", value.as_str())]);
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let text = engine.encode(format!("{before}{value}{after}"));
                let found = secrets.removed_from(&text).into_owned();
                prop_assert!(found.contains(REDACTED), "{text} {found}");
                let rest = found.replace(REDACTED, "");
                prop_assert!(rest.len() <= text.len() + 2 - value.len() * 8 / 6, "{text} {found}");
            }
        }
    }
}
