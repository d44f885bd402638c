//! Secrets, taken out of texts before they are stored: command lines, variables of the environment, URLs, diffs.
//!
//! A secret is known by what it is called ([`names`]: `API_TOKEN=…`, `--password …`), by its shape ([`shapes`]: `ghp_…`, the user in a URL, a private
//! key in PEM), or by its value, if a variable of the environment is called so ([`known`]). In its place stands [`REDACTED`]. A value of which none
//! of these is true is not found, which is why of the environment only variables are kept whose names are known to be harmless.
//!
//! How a value is told from what follows it depends on the text: [`arguments`] for command lines, `source` and `settings` for files, and here for
//! what a person typed.

mod arguments;
mod known;
mod names;
#[cfg(feature = "code")]
mod settings;
mod shapes;
#[cfg(feature = "code")]
mod source;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use url::Url;

pub use self::arguments::redacted_arguments;
pub use self::known::Secrets;
pub(crate) use self::names::is_secret_name;
use self::names::{is_secret, may_name};
#[cfg(feature = "code")]
pub(crate) use self::settings::redacted_settings;
use self::shapes::shaped;
#[cfg(feature = "code")]
pub(crate) use self::source::redacted_source;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// What calls something so: `name=`, `"name": `, `--name `.
const NAMED: &str = r#"(?:(?:^|[ \t\r\n])--?(?<option>[A-Za-z][\w.-]*)[ \t\r\n]+|(?<name>[A-Za-z_][\w.-]*)["']?[ \t]*(?:=>|:=|=|:)[ \t\r\n]*)"#;

/// What follows.
const VALUE: &str = r#"^(?:(?i:bearer|basic|token)\s+[^\s"',;]+|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\[[^\]\n]*\]?|\{[^}\n]*\}?|["']?[^\s;&"']*[^\s,;&"'])"#;

struct Patterns {
    named: Option<Regex>,
    value: Option<Regex>,
}

/// `None` stands for a pattern that is none, which a test rules out.
static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| Patterns {
    named: Regex::new(NAMED).ok(),
    value: Regex::new(VALUE).ok(),
});

/// Variables that say how a program computes, and hold no secrets.
const HARMLESS: [&str; 8] = [
    "CI",
    "HOSTNAME",
    "LANG",
    "LOCAL_RANK",
    "NODE_RANK",
    "RANK",
    "TZ",
    "WORLD_SIZE",
];

/// The beginnings of the names of such variables.
const HARMLESS_BEGINNINGS: [&str; 28] = [
    "BURN_",
    "CANDLE_",
    "CARGO",
    "CONDA_",
    "CUBLAS_",
    "CUDA",
    "CUDNN",
    "DYLD_",
    "GLOO_",
    "HIP_",
    "LC_",
    "LD_",
    "LIBTORCH",
    "LSB_",
    "MASTER_",
    "MKL_",
    "NCCL_",
    "NVIDIA_",
    "OMPI_",
    "OMP_",
    "OPENBLAS_",
    "PBS_",
    "PYTHON",
    "RAYON_",
    "ROCR_",
    "RUST",
    "SLURM_",
    "TORCH",
];

/// A text without the secrets in it. Linear in its length.
///
/// ```
/// use tlc_core::redacted;
///
/// assert_eq!(redacted("train --lr 0.1 --api-key abc"), "train --lr 0.1 --api-key [redacted]");
/// assert_eq!(redacted("https://me:pw@host/repo.git"), "https://[redacted]@host/repo.git");
/// ```
#[must_use]
pub fn redacted(text: &str) -> Cow<'_, str> {
    without(text, named(text))
}

/// A path that speaks of secrets without what follows the words that do: `password-[redacted].txt`. What else is a secret in it is taken out as well.
#[cfg(feature = "code")]
pub(crate) fn redacted_path(path: &str) -> String {
    let path = redacted(path);
    let parts: Vec<Cow<'_, str>> = path.split('/').map(redacted_part).collect();
    parts.join("/")
}

#[cfg(feature = "code")]
fn redacted_part(part: &str) -> Cow<'_, str> {
    let (stem, ending) = match part.rfind('.').filter(|&dot| dot > 0) {
        Some(dot) => part.split_at(dot),
        None => (part, ""),
    };
    let mut ends = stem.match_indices(['-', '_', '.', ' ', '=']);
    let end = ends.find_map(|(at, _)| stem.get(..at).is_some_and(is_secret_name).then_some(at + 1));
    match end.and_then(|end| stem.get(..end)) {
        Some(telling) => Cow::Owned(format!("{telling}{REDACTED}{ending}")),
        None => Cow::Borrowed(part),
    }
}

/// Those variables of an environment that say how a program computes: libraries, devices, ranks, schedulers, locale, Rust and Python; without
/// the secrets in them. Of all others not even the names are kept.
#[must_use]
pub fn redacted_environment<'a>(
    variables: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<String, String> {
    let is_kept = |name: &str| {
        let is_harmless = HARMLESS.contains(&name)
            || HARMLESS_BEGINNINGS
                .iter()
                .any(|beginning| name.starts_with(beginning));
        is_harmless && !is_secret_name(name)
    };
    let kept = variables.into_iter().filter(|(name, _)| is_kept(name));
    kept.map(|(name, value)| (name.to_owned(), redacted(value).into_owned()))
        .collect()
}

/// A URL of a store without what it may hold of credentials: all of its query, and the user.
pub(crate) fn redacted_url(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    // Both fail only where the URL can hold neither.
    if url.set_password(None).is_ok() && !url.username().is_empty() {
        url.set_username("…").unwrap_or_default();
    }
    url.to_string()
}

/// Where values are that are named like secrets.
fn named(text: &str) -> Vec<Range<usize>> {
    let (Some(names), Some(values)) = (&PATTERNS.named, &PATTERNS.value) else {
        return Vec::new();
    };
    let (mut secrets, mut from, mut covered) = (Vec::new(), 0, 0);
    if !may_name(text) {
        return secrets;
    }
    while let Some(found) = names.captures_at(text, from) {
        let start = found.get(0).map_or(text.len(), |found| found.end());
        let name = found.name("option").or_else(|| found.name("name"));
        let name = name.filter(|name| !is_user(text, name.start()));
        let name = name.filter(|name| start >= covered && is_secret_name(name.as_str()));
        let rest = name.and_then(|_| text.get(start..));
        if let (Some(name), Some(value)) = (name, rest.and_then(|rest| values.find(rest))) {
            covered = start + value.end();
            if is_secret(name.as_str(), value.as_str()) {
                secrets.push(within_quotes(value.as_str(), start..covered));
            }
        }
        // The value may itself be the name of another, after what stands before it: a sign or a blank, of one byte.
        from = start - 1;
    }
    secrets
}

/// Whether a URL has its user there, who is no name of a value.
fn is_user(text: &str, at: usize) -> bool {
    text.get(..at).is_some_and(|before| before.ends_with("://"))
}

/// The range of a value without the quotes around it.
fn within_quotes(value: &str, range: Range<usize>) -> Range<usize> {
    let is_quoted = value.len() > 1 && value.starts_with(['"', '\'']);
    match is_quoted && value.ends_with(['"', '\'']) {
        true => range.start + 1..range.end - 1,
        false => range,
    }
}

/// The text with [`REDACTED`] in the place of these parts, which may meet, and of what has the shape of a secret.
fn without(text: &str, mut secrets: Vec<Range<usize>>) -> Cow<'_, str> {
    secrets.extend(shaped(text));
    replaced(text, secrets)
}

/// The text with [`REDACTED`] in the place of these parts, which may meet.
fn replaced(text: &str, mut secrets: Vec<Range<usize>>) -> Cow<'_, str> {
    secrets.retain(|secret| !secret.is_empty());
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    secrets.sort_by_key(|secret| secret.start);
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        if secret.start >= from {
            out.push_str(text.get(from..secret.start).unwrap_or_default());
            out.push_str(REDACTED);
        }
        from = from.max(secret.end);
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_pattern_is_one() {
        assert!(PATTERNS.named.is_some() && PATTERNS.value.is_some());
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = redacted(text);
        assert_eq!(found, expected.replace('*', REDACTED), "{text}");
        assert_eq!(redacted(&found), found, "once more");
    }

    #[test]
    fn what_is_called_a_secret_is_one() {
        check("API_TOKEN=abc LR=0.1", "API_TOKEN=* LR=0.1");
        check("password: hunter2, user: ada", "password: *, user: ada");
        check(
            r#"{"apiKey": "a b\"c", "n": 1}"#,
            r#"{"apiKey": "*", "n": 1}"#,
        );
        check("+    let secret = 'x y';", "+    let secret = '*';");
        check(
            "train --password abc --epochs 3",
            "train --password * --epochs 3",
        );
        check("train --hf-token=abc", "train --hf-token=*");
        check(
            "-H 'Authorization: Bearer abc.def'",
            "-H 'Authorization: *'",
        );
        check(
            "curl -H \"Authorization: Basic dTpw\"",
            "curl -H \"Authorization: *\"",
        );
        check("{\"password\": [\"a b\"]}", "{\"password\": *}");
        check("a: b: token: x", "a: b: token: *");
        check("url=https://h/p?sas=x&n=1", "url=https://h/p?sas=*&n=1");
        check(
            "AWS_SECRET_ACCESS_KEY := x/y+z==",
            "AWS_SECRET_ACCESS_KEY := *",
        );
        check(
            "AccountKey=abc==;EndpointSuffix=core",
            "AccountKey=*;EndpointSuffix=core",
        );
        check("MYSQL_PWD=a PGPASSWORD=b", "MYSQL_PWD=* PGPASSWORD=*");
        check("pass= --token abc", "pass= * *");
        check("password: \"abc def", "password: * def");
    }

    #[test]
    fn what_has_the_shape_of_a_secret_is_one() {
        check("https://me:p@ss@host/x@y", "https://*@host/x@y");
        check("https://abc@host", "https://*@host");
        check("ssh://git@host/x", "ssh://git@host/x");
        check("git@host:team/x.git", "git@host:team/x.git");
        check("ghp_0123456789abcdefABCD.txt", "*.txt");
        check("x AKIAIOSFODNN7EXAMPLE y", "x * y");
        check("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "*");
        check(
            "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nx",
            "*\nx",
        );
        check("-----BEGIN PRIVATE KEY-----\nabc", "*");
        check("curl bearer 0123456789abcdef", "curl bearer *");
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "",
            "--max-tokens 512 --token-count=7 token_ids=[1, 2]",
            "let tokens = tokenizer.encode(text);",
            "key: value",
            "monkey=1 author=ada keyboard: qwerty",
            "https://host/a?b=c",
            "task-force sk-learn basic training",
        ] {
            check(text, text);
        }
    }

    #[cfg(feature = "code")]
    #[test]
    fn a_path_does_not_say_the_secret_that_it_speaks_of() {
        let check = |path: &str, expected: &str| {
            assert_eq!(redacted_path(path), expected.replace('*', REDACTED));
        };
        check("a/password-hunter2.txt", "a/password-*.txt");
        check("api_key_hunter2.json", "api_key_*.json");
        check("secrets_of/me.txt", "secrets_*/me.txt");
        check("notes_ghp_0123456789abcdefABCDEF.py", "notes_*.py");
        for path in [
            "db_password.txt",
            "api-token.json",
            ".env.prod",
            "secrets/prod.yaml",
            "a/train.py",
        ] {
            check(path, path);
        }
    }

    #[test]
    fn of_the_environment_only_what_is_known_to_be_harmless_is_kept() {
        let variables = [
            ("CUDA_VISIBLE_DEVICES", "0,1"),
            ("RUSTFLAGS", "-C target-cpu=native"),
            ("CARGO_REGISTRY_TOKEN", "abc"),
            ("RANK", "3"),
            ("RANKED", "3"),
            ("CI", "true"),
            ("CI_JOB", "abc"),
            ("MASTER_ADDR", "https://me:pw@host"),
            ("SLURM_JWT", "abc"),
            ("DATABASE_URL", "abc"),
            ("HOME", "/home/ada"),
        ];
        let kept = redacted_environment(variables);
        let kept: Vec<String> = kept
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let expected = "CI=true CUDA_VISIBLE_DEVICES=0,1 MASTER_ADDR=https://*@host RANK=3 RUSTFLAGS=-C target-cpu=native";
        assert_eq!(kept.join(" "), expected.replace('*', REDACTED));
    }

    #[test]
    fn a_list_that_is_never_closed_is_read_once() {
        assert_eq!(redacted("password=[a, b\nn=1"), "password=[redacted]\nn=1");
        for part in ["password=[ ", "password={ "] {
            // Were its end looked for from every name, it would take minutes.
            let found = redacted(&part.repeat(1 << 18)).into_owned();
            assert_eq!(found, "password=[redacted]", "{part:?}");
        }
    }

    proptest! {
        #[test]
        fn a_planted_secret_is_found_wherever_it_stands(
            before in "[ -~\n]{0,40}",
            secret in "[A-Za-z0-9]{20,40}",
            form in 0..6_usize,
            after in "[ -~\n]{0,40}",
        ) {
            let planted = match form {
                0 => format!("ghp_{secret}"),
                1 => format!("https://me:{secret}@host/"),
                2 => format!("API_KEY={secret}"),
                3 => format!("\"password\": \"{secret}\""),
                4 => format!("--token {secret}"),
                _ => format!("Authorization: Bearer {secret}"),
            };
            let found = redacted(&format!("{before} {planted} {after}")).into_owned();
            prop_assert!(!found.contains(&secret), "{found}");
        }

        #[test]
        fn any_text_is_redacted_without_a_panic(text in "\\PC{0,200}") {
            let once = redacted(&text).into_owned();
            prop_assert_eq!(redacted_arguments([text.as_str()]).len(), 1);
            prop_assert!(once.len() <= text.len() + text.len() * REDACTED.len());
        }
    }
}
