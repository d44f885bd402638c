//! Names for the beginnings of paths, so that a path outlives the machine that wrote it.
//!
//! `<NAME>` stands for the beginning of a path or a URL: with `PHOTOS` set to `/data/photos`, a
//! table stores `/data/photos/1.jpg` as `<PHOTOS>/1.jpg`; a reader for whom `PHOTOS` is
//! `s3://bucket/photos` reads `s3://bucket/photos/1.jpg`. Writing shortens, reading expands, both
//! here and both pure. Where aliases come from is not decided here: the library is given them, and
//! lays them over those of the project (see [`Project::aliases`](crate::Project::aliases)).
//!
//! Begin at [`Aliases::shorten`] and [`Aliases::expand`].

mod columns;
mod spelling;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use self::spelling::{Prefix, Spelled, climbs, is_name, join, token};
use crate::error::{Error, Result};

pub(crate) use columns::holds_paths;

/// Aliases by name, each with the path or URL it stands for. Cheap to clone.
///
/// ```
/// use tlc_core::Aliases;
///
/// let here = Aliases::new().with("PHOTOS", "/data/photos")?;
/// let there = Aliases::new().with("BUCKET", "s3://zoo")?.with("PHOTOS", "<BUCKET>/photos")?;
/// let stored = here.shorten("/data/photos/1.jpg");
/// assert_eq!(stored, "<PHOTOS>/1.jpg");
/// assert_eq!(there.expand(&stored), "s3://zoo/photos/1.jpg");
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Aliases {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// As they were set.
    settings: BTreeMap<String, String>,
    /// Those that stand for something, the longest first.
    known: Vec<Known>,
}

/// An alias without other aliases in it.
struct Known {
    name: String,
    /// Without a slash at its end.
    value: String,
    prefix: Prefix,
}

impl Aliases {
    /// No alias.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one alias more, or another value for one.
    ///
    /// A name is `[A-Z][A-Z0-9_]*`. A value is an absolute path or a URL, and may begin with the
    /// token of another alias, which may be set later.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the alias if it cannot have that
    /// name or value: a relative path, a whole disk, one with `..`, credentials or a query; or if
    /// aliases stand for one another in a circle.
    pub fn with(&self, name: &str, value: &str) -> Result<Self> {
        let mut settings = self.inner.settings.clone();
        settings.insert(name.to_owned(), checked(name, value)?);
        Self::resolved(settings)
    }

    /// These, and of `below` those that are not set here.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if together they stand for one another in a
    /// circle.
    pub fn over(&self, below: &Self) -> Result<Self> {
        if below.is_empty() {
            return Ok(self.clone());
        }
        let mut settings = below.inner.settings.clone();
        settings.extend(self.inner.settings.clone());
        Self::resolved(settings)
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.settings.is_empty()
    }

    /// Names and values as they were set, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let settings = self.inner.settings.iter();
        settings.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What an alias stands for in the end; `None` if it, or one that it begins with, is not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.inner.known.iter().find(|known| known.name == name);
        found.map(|known| known.value.as_str())
    }

    /// `text` with the token of the longest alias that it lies below; any other text as it is.
    ///
    /// Only whole segments count: `/data` is the beginning of `/data/x` and of `/data`, not of
    /// `/database`. A path and a `file://` URL of one place are the same.
    #[must_use]
    pub fn shorten<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(place) = (!self.is_empty()).then(|| Spelled::of(text)).flatten() else {
            return Cow::Borrowed(text);
        };
        let found = self.inner.known.iter().find_map(|known| {
            let rest = place.below(&known.prefix)?;
            Some(format!("<{}>{rest}", known.name))
        });
        found.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// `text` with what its token stands for. A text without one stays, and so does one whose alias
    /// is not set or whose path leads out of it: [`Self::resolve`] says why.
    #[must_use]
    pub fn expand<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let expanded = token(text).and_then(|(name, rest)| join(self.get(name)?, rest));
        expanded.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// As [`Self::expand`], for a place that is to be opened.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) naming the alias that is not set, and how
    /// to set it; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the path leads out of its alias.
    pub fn resolve<'a>(&self, text: &'a str) -> Result<Cow<'a, str>> {
        let Some((name, rest)) = token(text) else {
            return Ok(Cow::Borrowed(text));
        };
        let expanded = self.expand(text);
        if token(&expanded).is_none() {
            return Ok(expanded);
        }
        if climbs(rest) {
            return Err(Error::invalid(format!(
                "{text:?} leads out of <{name}>, so it is not opened"
            )));
        }
        let missing = self.missing(name);
        Err(Error::not_found(format!(
            "{text:?} begins with the alias <{missing}>, which is not set; set it with `tlc alias set {missing} PATH`, with --alias {missing}=PATH, \
             with the variable TLC_ALIAS_{missing}, or in a program with `RootOptions::alias`"
        )))
    }

    /// The alias on whose absence `name` fails: itself, or one that its value begins with.
    fn missing<'a>(&'a self, name: &'a str) -> &'a str {
        let mut name = name;
        while let Some((next, _)) = self.inner.settings.get(name).and_then(|value| token(value)) {
            name = next;
        }
        name
    }

    fn resolved(settings: BTreeMap<String, String>) -> Result<Self> {
        let mut known = Vec::new();
        for name in settings.keys() {
            let Some(value) = value_of(&settings, name, &mut Vec::new())? else {
                continue;
            };
            let prefix = Spelled::of(&value).and_then(Spelled::prefix);
            let prefix = prefix.ok_or_else(|| unusable(name))?;
            known.push(Known {
                name: name.clone(),
                value,
                prefix,
            });
        }
        known.sort_by_key(|known| std::cmp::Reverse(known.prefix.segments.len()));
        let inner = Arc::new(Inner { settings, known });
        Ok(Self { inner })
    }
}

impl fmt::Debug for Aliases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Aliases {
    fn eq(&self, other: &Self) -> bool {
        self.inner.settings == other.inner.settings
    }
}

impl Eq for Aliases {}

/// What `name` stands for without aliases; `None` if one that it begins with is not set.
fn value_of<'a>(
    settings: &'a BTreeMap<String, String>,
    name: &'a str,
    trail: &mut Vec<&'a str>,
) -> Result<Option<String>> {
    let is_circle = trail.contains(&name);
    trail.push(name);
    if is_circle {
        let trail: Vec<String> = trail.iter().map(|name| format!("<{name}>")).collect();
        return Err(Error::invalid(format!(
            "aliases stand for one another in a circle: {}",
            trail.join(" → ")
        )));
    }
    let Some(value) = settings.get(name) else {
        return Ok(None);
    };
    let Some((base, rest)) = token(value) else {
        return Ok(Some(value.clone()));
    };
    let Some(base) = value_of(settings, base, trail)? else {
        return Ok(None);
    };
    join(&base, rest).map(Some).ok_or_else(|| unusable(name))
}

/// The value as it is kept: without a slash at its end.
fn checked(name: &str, value: &str) -> Result<String> {
    if !is_name(name) {
        return Err(Error::invalid(format!(
            "{name:?} cannot name an alias; take capital letters, digits and _, beginning with a letter, such as PHOTOS"
        )));
    }
    let kept = value.trim_end_matches('/');
    if let Some((_, rest)) = token(kept) {
        return match is_plain(rest) {
            true => Ok(kept.to_owned()),
            false => Err(unusable(name)),
        };
    }
    let place = Spelled::of(value).ok_or_else(|| match value.contains(['@', '?', '#']) {
        // The value is not shown: it may be a secret.
        true => Error::invalid(format!(
            "alias {name} holds credentials or a query, which do not belong in a path; give credentials as options of the store"
        )),
        false => Error::invalid(format!(
            "alias {name} is {value:?}, which is neither an absolute path nor a URL"
        )),
    })?;
    if place.is_disk() {
        return Err(Error::invalid(format!(
            "alias {name} is {value:?}, which everything lies below; name a folder"
        )));
    }
    let prefix = place.prefix().ok_or_else(|| unusable(name))?;
    match prefix.segments.iter().all(|segment| is_plain(segment)) {
        true => Ok(kept.to_owned()),
        false => Err(unusable(name)),
    }
}

/// No `.` and `..`, which mean a place by way of another, and nothing that no path has.
fn is_plain(path: &str) -> bool {
    !path.chars().any(char::is_control) && !path.split('/').any(|part| part == "." || part == "..")
}

fn unusable(name: &str) -> Error {
    Error::invalid(format!(
        "alias {name} does not stand for a path that can be one: it has \"..\", \".\", an empty segment or a control character"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `NAME=path NAME=path`.
    fn aliases(text: &str) -> Aliases {
        let pairs = text
            .split_whitespace()
            .map(|pair| pair.split_once('=').unwrap());
        pairs.fold(Aliases::new(), |aliases, (name, path)| {
            aliases.with(name, path).unwrap()
        })
    }

    #[track_caller]
    fn shortens(set: &str, text: &str, expected: &str) {
        assert_eq!(aliases(set).shorten(text), expected, "{set}: {text}");
    }

    #[track_caller]
    fn expands(set: &str, stored: &str, expected: &str) {
        let aliases = aliases(set);
        assert_eq!(aliases.expand(stored), expected, "{set}: {stored}");
    }

    #[test]
    fn the_longest_alias_of_whole_segments_is_taken() {
        let set = "DISK=/data PHOTOS=/data/photos";
        shortens(set, "/data/photos/1.jpg", "<PHOTOS>/1.jpg");
        shortens(set, "/data/photos", "<PHOTOS>");
        shortens(set, "/data/photos/", "<PHOTOS>/");
        shortens(set, "/data/photos2/1.jpg", "<DISK>/photos2/1.jpg");
        shortens(set, "/data", "<DISK>");
        shortens(set, "/data//x", "<DISK>//x");
        for other in [
            "/database/x",
            "/dat",
            "//data/x",
            "data/x",
            "",
            "/",
            "a /data/x",
            "<DISK>/x",
        ] {
            shortens(set, other, other);
        }
        shortens("DISK=/data/", "/data/x", "<DISK>/x");
        shortens("", "/data/x", "/data/x");
    }

    #[test]
    fn a_path_and_its_url_are_one_place() {
        for value in ["/a b", "file:///a%20b", "file://localhost/a%20b/"] {
            let set = Aliases::new().with("DISK", value).unwrap();
            assert_eq!(set.shorten("/a b/x"), "<DISK>/x", "{value}");
            assert_eq!(set.shorten("file:///a%20b/x"), "<DISK>/x", "{value}");
            assert_eq!(set.shorten("FILE://localhost/a b/x"), "<DISK>/x", "{value}");
        }
        expands("DISK=/data", "<DISK>/x", "/data/x");
        expands("DISK=file:///data", "<DISK>/x", "file:///data/x");
    }

    #[test]
    fn what_means_something_else_in_a_url_is_encoded_after_a_token() {
        let (disk, bucket) = ("DISK=/data", "DISK=s3://zoo/data");
        shortens(disk, "/data/50%?#.jpg", "<DISK>/50%25%3F%23.jpg");
        expands(disk, "<DISK>/50%25%3F%23.jpg", "/data/50%?#.jpg");
        expands(
            bucket,
            "<DISK>/50%25%3F%23.jpg",
            "s3://zoo/data/50%25%3F%23.jpg",
        );
        shortens(disk, "file:///data/a%20b.jpg", "<DISK>/a%20b.jpg");
        expands(disk, "<DISK>/a%20b.jpg", "/data/a b.jpg");
        shortens(bucket, "s3://zoo/data/a%20b.jpg", "<DISK>/a%20b.jpg");
        expands(disk, "<DISK>/100%.jpg", "/data/100%.jpg");
        // No text, so no path.
        expands(disk, "<DISK>/%FF.jpg", "<DISK>/%FF.jpg");
    }

    #[test]
    fn a_url_is_below_an_alias_of_its_own_store() {
        let set = "ZOO=s3://zoo PHOTOS=s3://zoo/photos";
        shortens(set, "s3://zoo/photos/1.jpg", "<PHOTOS>/1.jpg");
        shortens(set, "S3://zoo/1.jpg", "<ZOO>/1.jpg");
        for other in [
            "s3://zoo2/photos/1.jpg",
            "gs://zoo/photos/1.jpg",
            "s3://key@zoo/photos/1.jpg",
            "s3://zoo/photos/1.jpg?version=3",
            "s3://zoo/photos/1.jpg#top",
            "file://zoo/photos/1.jpg",
            "/photos/1.jpg",
        ] {
            shortens(set, other, other);
        }
    }

    #[test]
    fn a_token_is_a_name_in_brackets_and_whole_segments_after_it() {
        let set = "A=/a A_1=/b";
        expands(set, "<A>/x", "/a/x");
        expands(set, "<A>", "/a");
        expands(set, "<A_1>/x", "/b/x");
        for other in [
            "<A>x", "<a>/x", "<>/x", "<A/x", "A>/x", " <A>/x", "<1A>/x", "<B>/x", "/a/x",
        ] {
            expands(set, other, other);
        }
    }

    #[test]
    fn nothing_leads_out_of_an_alias() {
        for (rest, inside) in [
            ("/a/../b", true),
            ("/a/./b..c", true),
            ("/..", false),
            ("/a/../../b", false),
            ("/a//../../b", false),
            ("/%2e%2E/b", false),
            ("/..%2Fb", false),
            ("/a\\..\\..\\b", false),
            ("/.\t./b", false),
        ] {
            for set in ["DISK=/data", "DISK=s3://zoo/data"] {
                let stored = format!("<DISK>{rest}");
                let set = aliases(set);
                assert_eq!(set.expand(&stored) != stored, inside, "{stored}");
                let opened = set.resolve(&stored);
                assert_eq!(opened.is_ok(), inside, "{stored}");
                if let Err(err) = opened {
                    assert!(err.to_string().contains("leads out of <DISK>"), "{err}");
                }
            }
        }
        shortens("DISK=/data", "/data/../etc/passwd", "/data/../etc/passwd");
        shortens(
            "DISK=/data",
            "file:///data/%2e%2e/etc",
            "file:///data/%2e%2e/etc",
        );
    }

    #[test]
    fn an_alias_that_is_not_set_is_shown_and_not_opened() {
        let set = aliases("PHOTOS=<BUCKET>/photos");
        for (stored, missing) in [("<PHOTOS>/1.jpg", "<BUCKET>"), ("<OTHER>/1.jpg", "<OTHER>")] {
            assert_eq!(set.expand(stored), stored);
            let err = set.resolve(stored).unwrap_err();
            assert_eq!(err.kind(), crate::ErrorKind::NotFound);
            for part in [
                stored,
                missing,
                "tlc alias set",
                "TLC_ALIAS_",
                "RootOptions",
            ] {
                assert!(err.to_string().contains(part), "{err}");
            }
        }
        assert_eq!(set.get("PHOTOS"), None);
        assert_eq!(set.shorten("<BUCKET>/photos/x"), "<BUCKET>/photos/x");
    }

    #[test]
    fn a_value_may_begin_with_another_alias() {
        let set = "PHOTOS=<ZOO>/my%20photos ZOO=/data RAW=<PHOTOS>";
        expands(set, "<RAW>/1.jpg", "/data/my photos/1.jpg");
        shortens(set, "/data/my photos/1.jpg", "<PHOTOS>/1.jpg");
        expands("A=<B>/x B=s3://zoo", "<A>/y", "s3://zoo/x/y");
    }

    #[test]
    fn a_circle_of_aliases_is_an_error_that_names_it() {
        let set = aliases("A=<B>/b B=<C>");
        let err = set.with("C", "<A>/a").unwrap_err();
        assert!(err.to_string().contains("<A> → <B> → <C> → <A>"), "{err}");
        assert!(aliases("").with("A", "<A>/x").is_err());
        assert!(set.over(&aliases("C=<B>")).is_err());
    }

    #[test]
    fn what_cannot_be_an_alias_is_said_by_name() {
        let cases = [
            ("photos", "/data", "\"photos\" cannot name an alias"),
            ("", "/data", "\"\" cannot name an alias"),
            ("PHO TOS", "/data", "cannot name an alias"),
            ("A", "data", "neither an absolute path nor a URL"),
            ("A", "", "neither an absolute path nor a URL"),
            ("A", "/", "everything lies below"),
            ("A", "file:///", "everything lies below"),
            ("A", "/data/../x", "has \"..\""),
            ("A", "s3://zoo/%2e%2e/x", "has \"..\""),
            ("A", "<B>/../x", "has \"..\""),
            ("A", "/data//x", "an empty segment"),
            ("A", "/data\n", "a control character"),
            ("A", "s3://key:hush@zoo/x", "credentials or a query"),
            ("A", "https://zoo/x?token=hush", "credentials or a query"),
        ];
        for (name, value, expected) in cases {
            let err = Aliases::new().with(name, value).unwrap_err();
            assert_eq!(err.kind(), crate::ErrorKind::Invalid);
            let text = format!("{err:#}");
            assert!(text.contains(expected), "{name}={value}: {text}");
            assert!(!text.contains("hush"), "{text}");
        }
    }

    #[test]
    fn own_aliases_lie_over_those_of_the_project() {
        let project = aliases("DISK=/vm PHOTOS=<DISK>/photos");
        let both = aliases("DISK=s3://zoo").over(&project).unwrap();
        assert_eq!(both.get("PHOTOS"), Some("s3://zoo/photos"));
        assert_eq!(Aliases::new().over(&project).unwrap(), project);
    }

    proptest! {
        #[test]
        fn a_path_that_was_shortened_is_expanded_to_itself(
            rest in "[ -~é\\t]{0,12}",
            is_url in any::<bool>(),
        ) {
            let (set, start) = if is_url { ("A=s3://zoo/a", "s3://zoo/a/") } else { ("A=/a", "/a/") };
            let set = aliases(set);
            let text = format!("{start}{rest}");
            let stored = set.shorten(&text);
            prop_assert_eq!(set.expand(&stored), text.as_str());
        }

        #[test]
        fn shortening_twice_is_shortening_once(text in "(/|file:///|s3://)[ab/%.2F]{0,12}") {
            let set = aliases("A=/a B=/a/b C=s3://a");
            let once = set.shorten(&text).into_owned();
            prop_assert_eq!(set.shorten(&once), once.as_str());
        }
    }
}
