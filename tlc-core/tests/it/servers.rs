//! Where the object-store servers of `.ci/servers` are, and with what a root is opened there.
//!
//! Whoever runs the tests starts them and sets variables: `.config/nextest.toml` does, and so does
//! `.ci/test`. Where nobody has, the first test that asks starts them for its process.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;

use tlc_core::Env;

/// The bucket or container that every server has. The same in `.ci/server/serve.py`, with the keys.
const BUCKET: &str = "tlc";

/// A root that no test has used before, and the options of its store.
pub(crate) struct Address {
    pub(crate) url: String,
    pub(crate) options: Vec<(&'static str, String)>,
}

/// A root in moto, which keeps conditional puts as S3 does.
pub(crate) fn s3() -> Address {
    on_s3(&variable("TLC_TEST_S3"))
}

/// A root in rclone, which accepts conditional puts and ignores the condition.
pub(crate) fn unconditional() -> Address {
    on_s3(&variable("TLC_TEST_S3_UNCONDITIONAL"))
}

/// A root in azurite.
pub(crate) fn azure() -> Address {
    const KEY: &str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let options = [
        ("azure_storage_account_name", "devstoreaccount1"),
        ("azure_storage_account_key", KEY),
        ("azure_storage_endpoint", &variable("TLC_TEST_AZURE")),
        ("azure_allow_http", "true"),
    ];
    address("az", &options)
}

fn on_s3(endpoint: &str) -> Address {
    let options = [
        ("aws_endpoint", endpoint),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "tlc"),
        ("aws_secret_access_key", "tlc-secret"),
        ("aws_allow_http", "true"),
    ];
    address("s3", &options)
}

fn address(scheme: &str, options: &[(&'static str, &str)]) -> Address {
    let id = Env::system("").fresh_id();
    let options = options
        .iter()
        .map(|(key, value)| (*key, (*value).to_owned()));
    Address {
        url: format!("{scheme}://{BUCKET}/{id}"),
        options: options.collect(),
    }
}

/// A variable that `.ci/servers` sets.
fn variable(name: &str) -> String {
    static STARTED: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "what runs the tests says it so")]
    if let Ok(value) = std::env::var(name) {
        return value;
    }
    STARTED.get_or_init(start)[name].clone()
}

/// Starts the servers for as long as this process lives.
fn start() -> BTreeMap<String, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/servers");
    let done = Command::new(script)
        .arg(std::process::id().to_string())
        .env_remove("NEXTEST_ENV")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{script} failed:\n{said}");
    let variables = String::from_utf8(done.stdout).unwrap();
    let variables = variables.lines().map(|line| {
        let (name, value) = line.trim_start_matches("export ").split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    variables.collect()
}
