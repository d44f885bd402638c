//! What of a changed file may be kept: which files are sources, which may hold secrets, and how much is enough.
//!
//! Contents lose their secrets before they are compared, so a patch of a file that holds some shows the rest of it, and does not
//! apply near them. Of a file whose name speaks of secrets nothing but the name is kept.

use crate::format::provenance::{Change, ChangeKind};
use crate::redact::{is_secret_name, redacted, redacted_path, redacted_settings, redacted_source};

use super::patch::{Version, of_file};

/// The largest file that is compared.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// The largest untracked file that is kept.
pub(super) const UNTRACKED_BYTES_MAX: u64 = 64 << 10;

/// How long patches of all files together may be.
pub(super) const PATCH_BYTES_MAX: usize = 4 << 20;

/// Endings of programs, where a secret is a text in quotes.
const PROGRAMS: [&str; 22] = [
    "c", "cc", "cl", "cpp", "cu", "cuh", "go", "h", "hpp", "java", "jl", "js", "lua", "metal",
    "py", "pyi", "r", "rs", "swift", "ts", "wgsl", "zig",
];

/// Endings of what else belongs to the source of a program.
const OTHERS: [&str; 14] = [
    "cfg", "conf", "ini", "ipynb", "json", "jsonnet", "lock", "md", "proto", "sh", "sql", "toml",
    "yaml", "yml",
];

/// Endings of keys and certificates.
const KEYS: [&str; 14] = [
    "asc", "crt", "der", "gpg", "jks", "kdbx", "key", "keystore", "ovpn", "p12", "p8", "pem",
    "pfx", "ppk",
];

/// Files and folders that hold secrets.
const SECRETS: [&str; 14] = [
    ".aws",
    ".azure",
    ".docker",
    ".dockercfg",
    ".git-credentials",
    ".gnupg",
    ".htpasswd",
    ".kube",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".ssh",
    ".vault-token",
];

/// The beginnings of the names of others.
const BEGINNINGS: [&str; 6] = [
    ".env",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "kubeconfig",
];

/// One file as it was and as it is, each a side that may be missing, or why it is not known.
pub(super) struct Sides {
    pub(super) old: Result<Option<File>, &'static str>,
    pub(super) new: Result<Option<File>, &'static str>,
}

/// Its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) is_executable: bool,
}

/// The change, with the patch if it may be kept; `None` if nothing differs.
pub(super) fn change(path: &[u8], is_untracked: bool, sides: Sides) -> Option<(Change, String)> {
    let kind = match (&sides.old, &sides.new) {
        _ if is_untracked => ChangeKind::Untracked,
        (Ok(None), _) => ChangeKind::Added,
        (_, Ok(None)) => ChangeKind::Deleted,
        _ => ChangeKind::Modified,
    };
    if matches!((&sides.old, &sides.new), (Ok(old), Ok(new)) if old == new) {
        return None;
    }
    let shown = String::from_utf8_lossy(path);
    let (left_out, patch) = match patch(path, &shown, is_untracked, sides) {
        Ok(patch) => (None, patch),
        Err(why) => (Some(why.to_owned()), String::new()),
    };
    let change = Change {
        path: listed(&shown),
        kind,
        left_out,
    };
    Some((change, patch))
}

/// # Errors
/// Why the file is left out.
fn patch(
    path: &[u8],
    shown: &str,
    is_untracked: bool,
    sides: Sides,
) -> Result<String, &'static str> {
    if let Some(why) = unwanted(shown, is_untracked) {
        return Err(why);
    }
    let is_program = PROGRAMS.contains(&ending(shown).as_str());
    let version = |side: Result<Option<File>, &'static str>| match side? {
        Some(file) => text(file, is_untracked, is_program).map(Some),
        None => Ok(None),
    };
    let (old, new) = (version(sides.old)?, version(sides.new)?);
    if old == new {
        return Err("what differs may be a secret");
    }
    of_file(path, old.as_ref(), new.as_ref()).map_err(|_io| "it could not be compared")
}

/// A path as it is listed.
pub(super) fn listed(path: &str) -> String {
    match unwanted(path, false) {
        Some(_speaks_of_secrets) => redacted_path(path),
        None => redacted(path).into_owned(),
    }
}

/// Why a file of this name is not kept.
pub(super) fn unwanted(path: &str, is_untracked: bool) -> Option<&'static str> {
    let ending = ending(path);
    let is_program = PROGRAMS.contains(&ending.as_str());
    if redacted(path) != path || is_secret(path, &ending, is_program) {
        return Some("its name speaks of secrets");
    }
    let is_source = is_program || OTHERS.contains(&ending.as_str()) || is_known(path);
    (is_untracked && !is_source).then_some("it is no source")
}

fn is_secret(path: &str, ending: &str, is_program: bool) -> bool {
    let is_named = |part: &str| {
        let part = part.to_lowercase();
        SECRETS.contains(&part.as_str()) || BEGINNINGS.iter().any(|start| part.starts_with(start))
    };
    KEYS.contains(&ending)
        || path.split('/').any(is_named)
        || !is_program && path.split(['/', '.']).any(is_secret_name)
}

/// Sources without an ending.
fn is_known(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    matches!(name, "Dockerfile" | "Makefile" | "justfile" | "Justfile")
}

fn ending(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.unwrap_or_default().to_lowercase()
}

fn text(file: File, is_untracked: bool, is_program: bool) -> Result<Version, &'static str> {
    let is_too_long = |max: u64| file.bytes.len() as u64 > max;
    if is_untracked && is_too_long(UNTRACKED_BYTES_MAX) || is_too_long(FILE_BYTES_MAX) {
        return Err("it is too large");
    }
    if file.bytes.contains(&0) {
        return Err("it is no text");
    }
    let text = String::from_utf8(file.bytes).map_err(|_invalid| "it is no text in UTF-8")?;
    let text = match is_program {
        true => redacted_source(&text).into_owned(),
        false => redacted_settings(&text).into_owned(),
    };
    Ok(Version {
        text,
        is_executable: file.is_executable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Option<File>, &'static str> {
        Ok(Some(File {
            bytes: text.into(),
            is_executable: false,
        }))
    }

    #[track_caller]
    fn check(path: &str, is_untracked: bool, sides: (&str, &str), expected: &str) {
        let side = |text: &str| match text {
            "" => Ok(None),
            text => file(text),
        };
        let sides = Sides {
            old: side(sides.0),
            new: side(sides.1),
        };
        let found = change(path.as_bytes(), is_untracked, sides);
        let told = found.map(|(change, patch)| {
            let lines = patch.lines().filter(|line| {
                line.starts_with(['+', '-', ' '])
                    && !line.starts_with("+++")
                    && !line.starts_with("---")
            });
            let lines: Vec<&str> = lines.collect();
            let left_out = change.left_out.unwrap_or_default();
            format!(
                "{} {:?} {left_out}{}",
                change.path,
                change.kind,
                lines.join("|")
            )
        });
        assert_eq!(told.unwrap_or_default(), expected, "{path}");
    }

    #[test]
    fn what_may_be_kept_is_kept() {
        check("a.rs", false, ("x\n", "x\n"), "");
        check("a.rs", false, ("x\n", "y\n"), "a.rs Modified -x|+y");
        check("a.rs", false, ("x\n", ""), "a.rs Deleted -x");
        check("a.bin", false, ("", "y\n"), "a.bin Added +y");
        check(
            ".dockerignore",
            false,
            ("", "y\n"),
            ".dockerignore Added +y",
        );
        check("a.rs", true, ("", "y\n"), "a.rs Untracked +y");
        check(
            "a.csv",
            true,
            ("", "y\n"),
            "a.csv Untracked it is no source",
        );
        check("a.rs", false, ("x", "\0"), "a.rs Modified it is no text");
        let large = "x\n".repeat(40_000);
        check("a.rs", true, ("", &large), "a.rs Untracked it is too large");
    }

    #[test]
    fn secrets_are_not() {
        let why = "its name speaks of secrets";
        for path in [
            ".env",
            "deploy/.env.prod",
            "a/id_rsa",
            "server.pem",
            "x/.ssh/config",
            "db_password.txt",
            "secrets.yaml",
            "My.KEY",
            "api-token.json",
            "secrets/prod.yaml",
        ] {
            check(
                path,
                false,
                ("x\n", "y\n"),
                &format!("{path} Modified {why}"),
            );
        }
        check(
            "conf-ghp_0123456789abcdefghij.rs",
            false,
            ("x\n", "y\n"),
            &format!("conf-[redacted].rs Modified {why}"),
        );
        check(
            "a.toml",
            false,
            ("lr = 1\n", "lr = 2\npassword = hunter2\n"),
            "a.toml Modified -lr = 1|+lr = 2|+password = [redacted]",
        );
        check(
            "a.toml",
            false,
            ("password = a\n", "password = b\n"),
            "a.toml Modified what differs may be a secret",
        );
        check(
            "token.rs",
            false,
            ("a\n", "let token = next();\nlet password = \"hunter2\";\n"),
            "token.rs Modified -a|+let token = next();|+let password = \"[redacted]\";",
        );
    }
}
