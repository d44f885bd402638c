//! `tlc doctor`, on a folder and on real servers, and `--single-writer`.

use serde_json::json;

use crate::servers::{self, Address};
use crate::site::{Answer, Site};

/// The command on the root at `address`.
fn tlc(site: &Site, address: &Address, args: &[&str]) -> Answer {
    let mut command = site.command(args);
    command.env("TLC_ROOT", &address.url);
    for (key, value) in &address.options {
        command.env(key.to_ascii_uppercase(), value);
    }
    command.output().unwrap().into()
}

#[test]
fn a_folder_is_safe_and_stays_as_it_was() {
    let site = Site::with_animals();
    let text = site.tlc(&["doctor"]).done().text();
    for part in [
        "create if absent",
        "safe for any number of writers",
        "clock  as ours",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let mut left = std::fs::read_dir(site.root()).unwrap();
    assert_eq!(left.next().unwrap().unwrap().file_name(), "zoo");
    assert!(left.next().is_none());
}

#[test]
fn a_folder_that_is_not_there_is_not_made() {
    let site = Site::new();
    assert_eq!(site.tlc(&["doctor", "nowhere"]).code, 4);
    assert!(!site.path("nowhere").exists());
}

#[test]
fn a_server_that_keeps_conditional_puts_is_safe() {
    let (site, address) = (Site::new(), servers::s3());
    let answer = tlc(&site, &address, &["doctor", "--json"]).done();
    let view: serde_json::Value = serde_json::from_slice(&answer.out).unwrap();
    assert_eq!(view["writers"], "many");
    assert_eq!(view["is_safe"], true);
    assert_eq!(view["checks"][4]["name"], "create if absent");
    assert_eq!(view["checks"][4]["holds"], true);
    site.write("a.csv", "x\n1\n2\n");
    tlc(&site, &address, &["import", "a.csv", "p/a"]).done();
    let answer = tlc(&site, &address, &["ls", "--json"]).done();
    let listed: serde_json::Value = serde_json::from_slice(&answer.out).unwrap();
    assert_eq!(
        listed,
        json!([{"project": "p", "tables": 1, "runs": 0, "artifacts": 0}])
    );
}

#[test]
fn azure_is_safe() {
    let (site, address) = (Site::new(), servers::azure());
    let text = tlc(&site, &address, &["doctor"]).done().text();
    assert!(text.contains("safe for any number of writers"), "{text}");
}

#[test]
fn a_server_that_ignores_the_condition_is_found_out_and_refused() {
    let (site, address) = (Site::new(), servers::unconditional());
    let answer = tlc(&site, &address, &["doctor"]);
    assert_eq!(answer.code, 1);
    let text = answer.text();
    assert!(text.contains("was created again"), "{text}");
    assert!(answer.err.starts_with("error: s3://tlc/"), "{}", answer.err);
    site.write("a.csv", "x\n1\n2\n");
    let answer = tlc(&site, &address, &["import", "a.csv", "p/a"]);
    assert_eq!(answer.code, 1);
    assert!(answer.err.contains("single_writer"), "{}", answer.err);
    assert_eq!(
        tlc(&site, &address, &["ls"]).done().text(),
        format!("no projects in {}\n", address.url)
    );
}

#[test]
fn a_single_writer_says_so_by_flag_variable_or_config_file() {
    let (site, address) = (Site::new(), servers::unconditional());
    site.write("a.csv", "x\n1\n2\n");
    tlc(
        &site,
        &address,
        &["import", "a.csv", "p/flag", "--single-writer"],
    )
    .done();
    let mut command = site.command(&["import", "a.csv", "p/variable"]);
    command
        .env("TLC_ROOT", &address.url)
        .env("TLC_SINGLE_WRITER", "true");
    for (key, value) in &address.options {
        command.env(key.to_ascii_uppercase(), value);
    }
    Answer::from(command.output().unwrap()).done();
    std::fs::create_dir_all(site.path(".config/tlc")).unwrap();
    site.write(".config/tlc/config.yaml", "single_writer: true\n");
    tlc(&site, &address, &["import", "a.csv", "p/config"]).done();
    assert_eq!(tlc(&site, &address, &["import", "a.csv", "p/flag"]).code, 3);
}
