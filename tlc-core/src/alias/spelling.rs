//! How a place is written: as a path of the disk or as a URL, and what may stand after a token.
//!
//! `/data/a b` and `file:///data/a%20b` are one place. After a token stands what would stand in a
//! URL: a percent sign is `%25`. So a token's rest goes to a path or to a URL and means the same.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What a plain path may hold that means something else in a URL.
const RESERVED: &[char] = &['%', '?', '#', '\\', '\t', '\n', '\r'];

/// What an alias stands for, ready to be compared.
#[derive(Clone, Debug)]
pub(super) struct Prefix {
    scheme: String,
    authority: String,
    /// The names on the way to it, without percent-encoding.
    pub(super) segments: Vec<String>,
}

/// A text that names a place, taken apart; nothing is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelled<'a> {
    /// `file` for a path too.
    scheme: &'a str,
    /// The bucket or the host; empty on this disk.
    authority: &'a str,
    /// Empty, or from the first `/` on.
    path: &'a str,
    is_url: bool,
}

impl<'a> Spelled<'a> {
    /// The place that `text` names; `None` if it names none that an alias can stand for: it is
    /// relative, or holds credentials, a query or a fragment.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(Self {
                scheme: "file",
                authority: "",
                path: text,
                is_url: false,
            });
        }
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme = scheme.len() > 1
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !is_scheme || rest.contains(['?', '#']) {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let on_disk = scheme.eq_ignore_ascii_case("file");
        match authority {
            "" | "localhost" if on_disk => Some(Self {
                scheme,
                authority: "",
                path,
                is_url: true,
            }),
            // A host would be another machine's disk; an @ follows what may be a password.
            authority if on_disk || authority.is_empty() || authority.contains('@') => None,
            authority => Some(Self {
                scheme,
                authority,
                path,
                is_url: true,
            }),
        }
    }

    /// The place as the beginning of others; `None` if one of its names is empty or none can be.
    pub(super) fn prefix(self) -> Option<Prefix> {
        let path = self.path.trim_end_matches('/');
        let segment = |text: &str| match self.is_url {
            true => decoded(text).map(Cow::into_owned),
            false => Some(text.to_owned()),
        };
        let segments: Option<Vec<String>> = match path.strip_prefix('/') {
            None => Some(Vec::new()),
            Some(inner) => inner.split('/').map(segment).collect(),
        };
        Some(Prefix {
            scheme: self.scheme.to_ascii_lowercase(),
            authority: self.authority.to_owned(),
            segments: segments?,
        })
        .filter(|prefix| prefix.segments.iter().all(|segment| !segment.is_empty()))
    }

    /// What remains below `prefix`, as it stands after a token; `None` if it is not below it.
    pub(super) fn below(self, prefix: &Prefix) -> Option<Cow<'a, str>> {
        if !self.scheme.eq_ignore_ascii_case(&prefix.scheme) || self.authority != prefix.authority {
            return None;
        }
        let mut rest = self.path;
        for segment in &prefix.segments {
            let after = rest.strip_prefix('/')?;
            let (own, tail) = after.split_at(after.find('/').unwrap_or(after.len()));
            let is_same = match self.is_url {
                true => decoded(own).is_some_and(|own| own == segment.as_str()),
                false => own == segment,
            };
            if !is_same {
                return None;
            }
            rest = tail;
        }
        let rest = match self.is_url {
            true => Cow::Borrowed(rest),
            false => encoded(rest),
        };
        (!climbs(&rest)).then_some(rest)
    }

    /// Whether it is a whole disk.
    pub(super) fn is_disk(self) -> bool {
        self.authority.is_empty() && self.path.trim_matches('/').is_empty()
    }
}

/// `<NAME>` and what follows it: nothing, or from a `/` on. `None` if the text has no token.
pub(super) fn token(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.strip_prefix('<')?.split_once('>')?;
    (is_name(name) && (rest.is_empty() || rest.starts_with('/'))).then_some((name, rest))
}

/// Whether it can name an alias: `[A-Z][A-Z0-9_]*`, at most 64 letters.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Whether `rest` leads out of where it begins, as any reader of paths and URLs might take it:
/// encoded or not, with either slash, and without the white space that URLs drop.
pub(super) fn climbs(rest: &str) -> bool {
    let Some(plain) = decoded(rest) else {
        return true;
    };
    let kept: String = plain
        .chars()
        .filter(|c| !matches!(c, '\t' | '\n' | '\r'))
        .collect();
    let mut depth = 0_i64;
    for segment in kept.split(['/', '\\']) {
        depth += match segment {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        if depth < 0 {
            return true;
        }
    }
    false
}

/// The place `rest` below `base`, a path or a URL without a slash at its end; `None` if it would
/// not be below it, or could be no path.
pub(super) fn join(base: &str, rest: &str) -> Option<String> {
    if climbs(rest) {
        return None;
    }
    let rest = match base.starts_with('/') {
        true => decoded(rest)?,
        false => Cow::Borrowed(rest),
    };
    Some(format!("{base}{rest}"))
}

/// The text without percent-encoding; `None` if that is no text.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let byte = match (first, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match byte {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// A plain path as it stands in a URL.
fn encoded(path: &str) -> Cow<'_, str> {
    if !path.contains(RESERVED) {
        return Cow::Borrowed(path);
    }
    let mut text = String::with_capacity(path.len() + 8);
    for c in path.chars() {
        match RESERVED.contains(&c) {
            // Writing to a string cannot fail; what is reserved is ASCII.
            true => write!(text, "%{:02X}", u32::from(c)).unwrap_or_default(),
            false => text.push(c),
        }
    }
    Cow::Owned(text)
}
