//! Command lines, argument by argument.

use std::sync::LazyLock;

use regex::Regex;

use super::names::{is_secret, is_secret_name};
use super::shapes::shaped;
use super::{REDACTED, redacted, replaced};

/// What an argument calls something that is all the rest of it, perhaps for another program: `--a=`, `--env=A=`, `-eA=`, `Name: `.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^[-+]{0,2}(?:[\w.-]+[=:])??[ ]?(?<name>[A-Za-z_][\w.-]*)[ ]?(?::=|=|:)").ok()
});

/// Words that stand between a name and a secret.
const SCHEMES: [&str; 7] = [
    "apikey",
    "basic",
    "bearer",
    "digest",
    "key",
    "negotiate",
    "token",
];

/// A command line without the secrets in it, argument by argument: also those that the argument before them names.
#[must_use]
pub fn redacted_arguments<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let arguments: Vec<&str> = arguments.into_iter().collect();
    let mut is_named = false;
    let mut redacted = Vec::with_capacity(arguments.len());
    for (argument, given) in arguments.iter().zip(given_to_commands(&arguments)) {
        let was_named = is_named && !is_long_option(argument);
        is_named = match was_named {
            true => SCHEMES.contains(&argument.to_lowercase().as_str()),
            false => names_the_next(argument),
        };
        redacted.push(match was_named {
            true => REDACTED.to_owned(),
            false => redacted_argument(argument, given),
        });
    }
    redacted
}

fn redacted_argument(argument: &str, given: Option<usize>) -> String {
    let cut = [named_in(argument), given].into_iter().flatten().min();
    match cut.and_then(|cut| argument.get(..cut)) {
        // All the rest of it, whatever blanks and signs are in it.
        Some(before) => format!("{}{REDACTED}", redacted(before)),
        None => redacted(argument).into_owned(),
    }
}

/// Where in an argument the value begins that it names.
fn named_in(argument: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = NAME.as_ref()?.captures(argument.get(from..)?) {
        let (name, all) = (found.name("name")?, found.get(0)?);
        let value = argument.get(from + all.end()..)?;
        if !value.starts_with("//")
            && is_secret(name.as_str(), value.trim_start())
            && !value.is_empty()
        {
            let blanks = value.len() - value.trim_start().len();
            return Some(from + all.end() + blanks);
        }
        // The value may itself name something.
        from += name.start().max(1);
        from += argument.get(from..)?.find(['=', ':'])? + 1;
    }
    None
}

/// Where in each argument what is given to a command begins: `wandb login …`, `mysql -p …`, `curl -u me:…`.
fn given_to_commands(arguments: &[&str]) -> Vec<Option<usize>> {
    let line = arguments.join("\0");
    let mut secrets = shaped(&line);
    secrets.sort_by_key(|secret| secret.start);
    let mut at = 0;
    let given = arguments.iter().map(|argument| {
        let (start, end) = (at, at + argument.len());
        at = end + 1;
        let meets = secrets
            .iter()
            .find(|secret| secret.start < end && secret.end > start)?;
        let cut = meets.start.saturating_sub(start);
        // What ends within the argument is found there too, unless the command is in another one.
        let is_found = replaced(argument, shaped(argument)) != *argument;
        (!is_found).then_some(cut)
    });
    given.collect()
}

/// Whether an argument says that the next one is a secret.
fn names_the_next(argument: &str) -> bool {
    let name = argument.trim_start_matches('-');
    let name = match name.strip_suffix([':', '=']) {
        Some(name) => name,
        None if name.len() < argument.len() => name,
        None => return false,
    };
    !name.contains(['=', ':', ' ']) && is_secret_name(name)
}

fn is_long_option(argument: &str) -> bool {
    let name = argument.strip_prefix("--");
    name.is_some_and(|name| {
        name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        assert!(NAME.is_some());
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let redacted = redacted_arguments(line.split('|'));
        assert_eq!(
            redacted.join("|"),
            expected.replace('*', REDACTED),
            "{line}"
        );
    }

    #[test]
    fn an_argument_may_name_the_next() {
        check("train|--token|abc|--lr|1", "train|--token|*|--lr|1");
        check("train|--token|--lr|1", "train|--token|--lr|1");
        check("train|--password|-abc", "train|--password|*");
        check("train|--password|-----BEGIN", "train|--password|*");
        check("train|-password|p://q", "train|-password|*");
        check("train|token|abc", "train|token|abc");
        check("x|Authorization:|Bearer|abc|y", "x|Authorization:|*|*|y");
        check(
            "x|--dbpass|abc|--wandb-key|abc",
            "x|--dbpass|*|--wandb-key|*",
        );
        check(
            "x|--eos-token|</s>|--n-pass|3",
            "x|--eos-token|</s>|--n-pass|3",
        );
    }

    #[test]
    fn an_argument_may_hold_what_it_names() {
        check("train|--token=abc|abc", "train|--token=*|abc");
        check("KEY=a b|API_KEY=a b", "KEY=a b|API_KEY=*");
        check("x|--env=DB_PASSWORD=a,b;c", "x|--env=DB_PASSWORD=*");
        check(
            "x|-e|DB_PASSWORD=a,b|-eDB_PASSWORD=a,b",
            "x|-e|DB_PASSWORD=*|-eDB_PASSWORD=*",
        );
        check("x|-H|Authorization: ApiKey abc", "x|-H|Authorization: *");
        check("x|--header=X-Auth-Token: a b", "x|--header=X-Auth-Token: *");
        check("x|Cookie: a=1; session=abc", "x|Cookie: *");
        check(
            "x|++db.password='a b'|hydra.api_key=abc",
            "x|++db.password=*|hydra.api_key=*",
        );
        check(
            "sh|-c|export DB_PASSWORD=ab,cd && train --lr 1",
            "sh|-c|export DB_PASSWORD=* && train --lr 1",
        );
        check(
            "x|https://h/p?sas=abc&n=1|a:b=c",
            "x|https://h/p?sas=*&n=1|a:b=c",
        );
        check("x|token=3|lr:0.1", "x|token=3|lr:0.1");
    }

    #[test]
    fn an_argument_may_be_given_to_a_command() {
        check("mysql|-u|root|-pa b|db", "mysql|-u|root|-p*|db");
        check("sshpass|-p|abc|ssh|h", "sshpass|-p|*|ssh|h");
        check("curl|-u|me:a b", "curl|-u|me:*");
        check("curl|--user=me:abc", "curl|--user=me:*");
        check("wandb|login|--relogin|abc", "wandb|login|*|*");
        check(
            "/usr/bin/aws|configure|set|aws_secret_access_key|abc",
            "/usr/bin/aws|configure|set|aws_secret_access_key|*",
        );
        check("sh|-c|mysql -pabc db|x", "sh|-c|mysql -p* db|x");
        check("x|postgres://u:a/b@h/db|y@z", "x|postgres://*@h/db|y@z");
        check("python|-u|a.py|-p|3", "python|-u|a.py|-p|3");
    }
}
