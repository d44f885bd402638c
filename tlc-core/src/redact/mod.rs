//! Secrets, taken out of texts before they are stored: command lines, variables of the environment, URLs, diffs.
//!
//! A secret is known by what it is called (`API_TOKEN=…`, `--password …`, `Authorization: …`, the user in a URL) or by its shape
//! (`ghp_…`, `AKIA…`, a JSON Web Token, a private key in PEM). In its place stands [`REDACTED`]. A value that has neither a telling
//! name nor a telling shape is not found, which is why of the environment only variables are kept whose names are known to be harmless.
//!
//! The shapes are those that their issuers document, so that scanners of leaked secrets can find them.

#[cfg(feature = "code")]
mod files;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use url::Url;

#[cfg(feature = "code")]
pub(crate) use self::files::{redacted_settings, redacted_source};

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Secrets by their shape alone.
const SHAPES: [&str; 4] = [
    r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
    r"(?i-u)\b(?:bearer|basic)\s+(?<secret>[\w.~+/=-]{16,})",
    r"(?-u)\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?",
    concat!(
        r"(?-u)\b(?:gh[opsur]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|sk-[\w-]{16,}|sk_(?:live|test)_\w{16,}",
        r"|xox[abeoprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|AIza[\w-]{30,}|ya29\.[\w-]{16,}|hf_\w{16,}",
        r"|npm_\w{16,}|pypi-[\w-]{16,}|cio[\w-]{32,}|dckr_pat_[\w-]{16,}|SG\.[\w-]{16,}\.[\w-]{16,})",
    ),
];

/// The user of a URL, with or without a password. That of `ssh://git@…` says nothing.
const USER: &str = r#"[A-Za-z][A-Za-z0-9+.-]*://(?<secret>[^\s/?#"'<>]*)@"#;

/// What calls something so: `name=`, `"name": `, `--name `.
const NAMED: &str = r#"(?:(?:^|[ \t\r\n])--?(?<option>[A-Za-z][\w.-]*)[ \t\r\n]+|(?<name>[A-Za-z_][\w.-]*)["']?[ \t]*(?:=>|:=|=|:)[ \t\r\n]*)"#;

/// What follows.
const VALUE: &str = r#"^(?:(?i:bearer|basic|token)\s+[^\s"',;]+|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|["']?[^\s,;&"']+)"#;

struct Patterns {
    named: Option<Regex>,
    value: Option<Regex>,
    user: Option<Regex>,
    shapes: Vec<Regex>,
}

/// `None` stands for a pattern that is none, which a test rules out.
static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| Patterns {
    named: Regex::new(NAMED).ok(),
    value: Regex::new(VALUE).ok(),
    user: Regex::new(USER).ok(),
    shapes: SHAPES
        .iter()
        .filter_map(|shape| Regex::new(shape).ok())
        .collect(),
});

/// Words that make a secret of what is named so, wherever they stand in the name.
const SECRET: [&str; 17] = [
    "apikey",
    "auth",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "dsn",
    "jwt",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "pw",
    "pwd",
    "sas",
    "secret",
    "secrets",
];

/// The same, at the end of a word.
const SECRET_ENDS: [&str; 4] = ["apikey", "passwd", "password", "secret"];

/// What a key is of, if it is a secret.
const OF_KEY: [&str; 13] = [
    "access",
    "account",
    "api",
    "auth",
    "deploy",
    "encryption",
    "license",
    "master",
    "private",
    "service",
    "signing",
    "ssh",
    "storage",
];

/// What follows the word token where it is one of a language model.
const OF_TOKENS: [&str; 10] = [
    "count",
    "dim",
    "embedding",
    "embeddings",
    "id",
    "ids",
    "length",
    "limit",
    "loss",
    "type",
];

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

/// Secrets by their shapes.
fn shaped(text: &str) -> Vec<Range<usize>> {
    let mut secrets = Vec::new();
    let users = PATTERNS
        .user
        .iter()
        .flat_map(|user| user.captures_iter(text));
    let users = users.filter_map(|found| found.name("secret"));
    secrets.extend(
        users
            .filter(|user| user.as_str() != "git")
            .map(|user| user.range()),
    );
    for shape in &PATTERNS.shapes {
        let found = shape
            .captures_iter(text)
            .filter_map(|found| found.name("secret").or_else(|| found.get(0)));
        secrets.extend(found.map(|secret| secret.range()));
    }
    secrets
}

/// A command line without the secrets in it, argument by argument: also those that the argument before them names.
#[must_use]
pub fn redacted_arguments<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut is_named = false;
    let redacted = arguments.into_iter().map(|argument| {
        let was_named = std::mem::replace(&mut is_named, names_the_next(argument));
        if was_named && !argument.starts_with('-') {
            return REDACTED.to_owned();
        }
        match argument.split_once('=') {
            // All of it, whatever blanks are in it.
            Some((name, _)) if is_secret_name(name.trim_start_matches('-')) => {
                format!("{name}={REDACTED}")
            }
            _ => redacted(argument).into_owned(),
        }
    });
    redacted.collect()
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
    while let Some(found) = names.captures_at(text, from) {
        let start = found.get(0).map_or(text.len(), |found| found.end());
        let name = found.name("option").or_else(|| found.name("name"));
        let is_secret = name.is_some_and(|name| is_secret_name(name.as_str()));
        let rest = text.get(start..).filter(|_| is_secret && start >= covered);
        if let Some(value) = rest.and_then(|rest| values.find(rest)) {
            covered = start + value.end();
            secrets.push(within_quotes(value.as_str(), start..covered));
        }
        // The value may itself be the name of another, after what stands before it: a sign or a blank, of one byte.
        from = start - 1;
    }
    secrets
}

/// The range of a value without the quotes around it.
fn within_quotes(value: &str, range: Range<usize>) -> Range<usize> {
    let is_quoted = value.len() > 1 && value.starts_with(['"', '\'']);
    match is_quoted && value.ends_with(['"', '\'']) {
        true => range.start + 1..range.end - 1,
        false => range,
    }
}

/// Whether an argument says that the next one is a secret.
fn names_the_next(argument: &str) -> bool {
    let name = argument.trim_start_matches('-');
    name.len() < argument.len() && !name.contains('=') && is_secret_name(name)
}

/// Whether what is called so is a secret. Words are told apart by `_`, `-`, `.` and by capitals: `apiKey`.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let mut pairs = words.iter().zip(words.iter().skip(1));
    let is_key = pairs.any(|(of, what)| what == "key" && OF_KEY.contains(&of.as_str()));
    let is_token = |at: usize| {
        let next = words.get(at + 1).map(String::as_str);
        !next.is_some_and(|next| OF_TOKENS.contains(&next))
    };
    let is_secret = |(at, word): (usize, &String)| match word.as_str() {
        word if word.ends_with("token") => is_token(at),
        word => SECRET.contains(&word) || SECRET_ENDS.iter().any(|end| word.ends_with(end)),
    };
    is_key || words.iter().enumerate().any(is_secret)
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for letter in name.chars() {
        let begins = was_small && letter.is_uppercase();
        was_small = letter.is_lowercase();
        if begins || matches!(letter, '_' | '-' | '.') {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// The text with [`REDACTED`] in the place of these parts, which may meet, and of what has the shape of a secret.
fn without(text: &str, mut secrets: Vec<Range<usize>>) -> Cow<'_, str> {
    secrets.extend(shaped(text));
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
        assert!(PATTERNS.user.is_some());
        assert_eq!(PATTERNS.shapes.len(), SHAPES.len());
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

    #[test]
    fn an_argument_may_name_the_next() {
        let check = |line: &str, expected: &str| {
            let redacted = redacted_arguments(line.split(' '));
            assert_eq!(
                redacted.join(" "),
                expected.replace('*', REDACTED),
                "{line}"
            );
        };
        check("train --token abc --lr 1", "train --token * --lr 1");
        check("train --token --lr 1", "train --token --lr 1");
        check("train --token=abc abc", "train --token=* abc");
        assert_eq!(
            redacted_arguments(["KEY=a b", "API_KEY=a b"]),
            ["KEY=a b", "API_KEY=[redacted]"]
        );
        check("train -password p://q", "train -password *");
        check("train token abc", "train token abc");
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
