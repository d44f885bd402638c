//! Which names tell of a secret.
//!
//! Words are told apart by `_`, `-`, `.` and by capitals: `apiKey`. Names that machine learning has for other things (`eos_token`, `n_tokens`,
//! `image_key`) tell of none.

/// Words that make a secret of what is named so, wherever they stand in the name. Also their plurals.
const SECRET: [&str; 31] = [
    "accesskey",
    "apikey",
    "auth",
    "authorization",
    "bearer",
    "connectionstring",
    "connstr",
    "cookie",
    "cred",
    "credential",
    "dsn",
    "hmac",
    "jwt",
    "oauth",
    "otp",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "phpsessid",
    "privatekey",
    "psk",
    "pw",
    "pwd",
    "sas",
    "secret",
    "secretkey",
    "sessionid",
    "sig",
    "signature",
    "webhook",
];

/// The same, at the end of a word.
const SECRET_ENDS: [&str; 6] = ["apikey", "pass", "passwd", "password", "pwd", "secret"];

/// Words that end so and tell of none.
const HARMLESS_WORDS: [&str; 12] = [
    "allpass",
    "bandpass",
    "bypass",
    "compass",
    "encompass",
    "highpass",
    "lowpass",
    "multipass",
    "onepass",
    "overpass",
    "singlepass",
    "surpass",
];

/// Two words that tell of one together.
const PAIRS: [(&str, &str); 10] = [
    ("conn", "str"),
    ("conn", "string"),
    ("connection", "string"),
    ("gh", "pat"),
    ("github", "pat"),
    ("gitlab", "pat"),
    ("azure", "pat"),
    ("devops", "pat"),
    ("session", "id"),
    ("session", "key"),
];

/// What a key is of, if it is a secret.
const OF_KEY: [&str; 27] = [
    "access",
    "account",
    "anthropic",
    "api",
    "auth",
    "client",
    "comet",
    "deploy",
    "encryption",
    "functions",
    "hf",
    "huggingface",
    "kaggle",
    "license",
    "master",
    "openai",
    "private",
    "secret",
    "service",
    "shared",
    "signing",
    "ssh",
    "storage",
    "stripe",
    "subscription",
    "wandb",
    "webhook",
];

/// What a key is of, if it is none, although its name is in capitals or that of an option.
const OF_OTHER_KEYS: [&str; 40] = [
    "any",
    "attention",
    "batch",
    "cache",
    "class",
    "column",
    "data",
    "dataset",
    "dict",
    "feature",
    "filter",
    "foreign",
    "group",
    "hash",
    "image",
    "index",
    "input",
    "join",
    "label",
    "lookup",
    "mask",
    "metric",
    "monitor",
    "no",
    "order",
    "output",
    "partition",
    "primary",
    "prng",
    "public",
    "query",
    "random",
    "rng",
    "row",
    "search",
    "sort",
    "state",
    "target",
    "text",
    "value",
];

/// What follows the word token where it is one of a language model.
const OF_TOKENS: [&str; 27] = [
    "accuracy",
    "budget",
    "classification",
    "count",
    "counts",
    "dim",
    "dropout",
    "embedding",
    "embeddings",
    "eof",
    "id",
    "ids",
    "idx",
    "index",
    "length",
    "level",
    "limit",
    "loss",
    "mask",
    "merging",
    "mixing",
    "num",
    "prob",
    "rate",
    "size",
    "type",
    "weight",
];

/// What stands before it there, and before a word that counts something.
const BEFORE_TOKENS: [&str; 32] = [
    "additional",
    "audio",
    "bos",
    "class",
    "cls",
    "decoder",
    "end",
    "eos",
    "eot",
    "first",
    "image",
    "last",
    "mask",
    "max",
    "min",
    "n",
    "new",
    "next",
    "num",
    "number",
    "pad",
    "per",
    "prev",
    "sep",
    "special",
    "start",
    "stop",
    "total",
    "unk",
    "video",
    "vision",
    "word",
];

/// What tokens are of, if they are secrets.
const OF_SECRET_TOKENS: [&str; 11] = [
    "access", "api", "auth", "bearer", "bot", "github", "gitlab", "hf", "refresh", "session",
    "slack",
];

/// Last words of names that say where a secret is.
const PLACES: [&str; 7] = ["dir", "file", "folder", "home", "path", "sock", "socket"];

/// What every such name has a part of.
const PARTS: [&str; 20] = [
    "auth", "bearer", "conn", "cookie", "cred", "dsn", "hmac", "jwt", "key", "otp", "pass", "pat",
    "psk", "pw", "sas", "secret", "sess", "sig", "token", "webhook",
];

/// Whether a name in this text may be that of a secret.
pub(super) fn may_name(text: &str) -> bool {
    let small = text.to_ascii_lowercase();
    PARTS.iter().any(|part| small.contains(part))
}

/// Whether what is called so is a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    if !may_name(name) {
        return false;
    }
    let words = words(name);
    let is_pair = |pair: &[String]| {
        let [one, other] = pair else { return false };
        let is_key = singular(other) == "key" && OF_KEY.contains(&one.as_str());
        is_key || PAIRS.contains(&(one, singular(other)))
    };
    let is_secret = |at: usize| is_secret_word(name, &words, at);
    is_key(name, &words) || words.windows(2).any(is_pair) || (0..words.len()).any(is_secret)
}

/// Whether the value of a variable of a secret name is not it, but a folder or a file.
pub(super) fn tells_where(name: &str) -> bool {
    let last = words(name).pop().unwrap_or_default();
    matches!(name, "PWD" | "OLDPWD") || PLACES.contains(&last.as_str())
}

/// Whether a value of this name is a secret. Of names that may also count something, numbers are none.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    let value = value.trim_matches(['"', '\'', ',', ' ']);
    let is_small = value.len() <= 6 && value.parse::<f64>().is_ok();
    let may_count = || {
        let words = words(name);
        let counts = |word: &String| {
            word.ends_with("token") || matches!(word.as_str(), "pass" | "sig" | "auth")
        };
        words.iter().any(counts)
    };
    is_secret_name(name) && !(is_small && may_count())
}

/// `WANDB_KEY`, `--wandb-key`, `X-Functions-Key`.
fn is_key(name: &str, words: &[String]) -> bool {
    let [.., of, last] = words else {
        return false;
    };
    let is_told = name.contains('-') || !name.contains(char::is_lowercase);
    is_told && singular(last) == "key" && !of.is_empty() && !OF_OTHER_KEYS.contains(&of.as_str())
}

fn is_secret_word(name: &str, words: &[String], at: usize) -> bool {
    let near = |at: Option<usize>| at.and_then(|at| words.get(at)).map_or("", String::as_str);
    let (before, word, next) = (near(at.checked_sub(1)), near(Some(at)), near(Some(at + 1)));
    let is_counted = BEFORE_TOKENS.contains(&before);
    let one = singular(word);
    if word.ends_with("tokens") {
        let is_capital = !name.contains(char::is_lowercase) && !is_counted;
        let is_last = at + 1 == words.len();
        return OF_SECRET_TOKENS.contains(&before) || is_last && is_capital;
    }
    if word.ends_with("token") {
        return !is_counted && !OF_TOKENS.contains(&next);
    }
    // `pass_by_value`, `pass_through`.
    if word == "pass" && at + 1 < words.len() && !matches!(next, "phrase" | "word") {
        return false;
    }
    if word.ends_with("pass") && (is_counted || HARMLESS_WORDS.contains(&word)) {
        return false;
    }
    let is_secret =
        |word: &str| SECRET.contains(&word) || SECRET_ENDS.iter().any(|end| word.ends_with(end));
    is_secret(word) || is_secret(one)
}

fn singular(word: &str) -> &str {
    word.strip_suffix('s').unwrap_or(word)
}

/// The words of a name, in small letters and without numbers behind them.
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
    let of = |word: String| {
        word.trim_end_matches(|letter: char| letter.is_ascii_digit())
            .to_owned()
    };
    words.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_of_secrets() {
        for name in "password passwords DB_PASSWORD password2 dbpass mypwd userpass creds cred-file api_keys apiKeys api-key X-Api-Key \
            secrets clientSecret tokens_of_auth.token HF_TOKEN AUTH_TOKENS TOKENS access_tokens github_pat psk hmac connection_string \
            connectionString sig X-Amz-Signature bearer session_token session_id cookies webhook_url WANDB_KEY HF_KEY wandb-key wandb_key \
            x-functions-key Ocp-Apim-Subscription-Key client-key-data AccountKey SharedAccessKey private_key_id auth requirepass pass pass_phrase DB_PASS pass2"
            .split_whitespace()
        {
            assert!(is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn every_word_has_such_a_part() {
        let pairs = PAIRS.map(|(one, other)| format!("{one}{other}"));
        for word in SECRET
            .iter()
            .chain(&SECRET_ENDS)
            .copied()
            .chain(pairs.iter().map(String::as_str))
        {
            assert!(may_name(word), "{word}");
        }
    }

    #[test]
    fn other_names_do_not() {
        for name in "eos_token pad_token bos_token unk-token sep_token cls_token mask_token eos_token_id token-dropout n-tokens max_tokens \
            num_tokens MAX_TOKENS tokens n-pass n_pass bypass lowpass key monkey author keyboard session image_key --sort-key PRIMARY_KEY \
            FOREIGN_KEY PUBLIC_KEY SORT_KEY PARTITION_KEY tokenizer token_count passes sigma pin_memory pass_by_value license path compass keys"
            .split_whitespace()
        {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn what_may_count_something_and_is_a_number_is_none() {
        assert!(!is_secret("token", "512") && !is_secret("pass", "3"));
        assert!(is_secret("password", "512") && is_secret("token", "12345678"));
    }
}
