//! `tlc verify`, `tlc gc` and `tlc table compact`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use crate::site::Site;

fn edited() -> Site {
    let site = Site::with_animals();
    for legs in ["1", "2"] {
        let set = format!("legs={legs}");
        let args = [
            "table",
            "edit",
            "zoo/animals",
            "--set",
            &set,
            "--where",
            "name = 'snake'",
        ];
        site.tlc(&[&args[..], &["-m", "legs"]].concat()).done();
    }
    site
}

/// The files in a folder of the table.
fn files(site: &Site, folder: &str) -> Vec<PathBuf> {
    let folder = site.root().join("zoo/tables/animals").join(folder);
    let found = fs::read_dir(folder).unwrap();
    let mut found: Vec<PathBuf> = found.map(|file| file.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn a_compacted_table_shows_the_same_rows() {
    let site = edited();
    let show = |site: &Site| {
        site.tlc(&["sql", "SELECT * FROM zoo.animals"])
            .done()
            .text()
    };
    let before = show(&site);
    let args = ["table", "compact", "zoo/animals"];
    let view = site.json(&args);
    assert_eq!((&view["revision"], &view["cells"]), (&3.into(), &0.into()));
    assert!(view["bytes"].as_u64().unwrap() > 1_000, "{view}");
    assert_eq!(show(&site), before);
    site.check(&args, "zoo/animals r3: compact already\n");
    site.tlc(&["verify"]).done();
}

#[test]
fn verify_says_what_is_wrong_and_what_is_safe() {
    let site = edited();
    let text = site.tlc(&["verify", "zoo"]).done().text();
    assert!(
        text.starts_with("zoo/animals: 3 revisions, all can be read\nall is well: "),
        "{text}"
    );
    let lost = &files(&site, "edits")[0];
    fs::remove_file(lost).unwrap();
    for args in [&["verify", "zoo/animals"][..], &["verify", "--quick"]] {
        let answer = site.tlc(args);
        let text = answer.text();
        assert_eq!((answer.code, answer.err.as_str()), (1, ""), "{text}");
        let name = lost.file_name().unwrap().to_str().unwrap();
        for expected in [
            "damage: zoo/tables/animals/edits/",
            name,
            "is missing",
            "cannot be read because of it: r",
            "NOT all is well",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(text.contains("r2\n"), "{text}");
    }
    let answer = site.tlc(&["verify", "--json"]);
    let view: serde_json::Value = serde_json::from_slice(&answer.out).unwrap();
    assert_eq!((answer.code, &view["damaged"]), (1, &true.into()));
    assert_eq!(view["findings"][0]["severity"], "damage");
    let unreadable = view["findings"][0]["unreadable"][0][1].as_u64();
    assert_eq!(unreadable, Some(2));
}

#[test]
fn verify_looks_at_a_table_that_cannot_be_opened() {
    let site = edited();
    fs::write(&files(&site, "log")[1], "{").unwrap();
    assert_eq!(site.tlc(&["table", "show", "zoo/animals"]).code, 1);
    let answer = site.tlc(&["verify", "zoo/animals"]);
    assert_eq!((answer.code, answer.err.as_str()), (1, ""));
    assert!(answer.text().contains("r0 to r2"), "{}", answer.text());
}

#[test]
fn gc_tells_first_and_deletes_when_told() {
    let site = edited();
    let orphan = site.root().join(format!(
        "zoo/tables/animals/edits/{}.parquet",
        "0".repeat(64)
    ));
    fs::write(&orphan, "left over").unwrap();
    site.check(&["gc"], "nothing to delete; too young for it: 1 file\n");
    assert_eq!(site.json(&["gc"])["young"], 1);
    let file = File::options().write(true).open(&orphan).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written - Duration::from_secs(8 * 86_400))
        .unwrap();
    let text = site.tlc(&["gc", "zoo"]).done().text();
    assert!(
        text.ends_with("1 file to delete, 9 B; add --delete\n"),
        "{text}"
    );
    assert!(text.starts_with("zoo/tables/animals/edits/000"), "{text}");
    site.check(
        &["gc", "--older-than", "30d"],
        "nothing to delete; too young for it: 1 file\n",
    );
    assert!(orphan.exists());
    assert_eq!(site.json(&["gc", "zoo/animals", "--delete"])["bytes"], 9);
    assert!(!orphan.exists());
    site.tlc(&["verify"]).done();
    assert_eq!(site.tlc(&["gc", "--older-than", "1h"]).code, 1);
    assert_eq!(site.tlc(&["gc", "--older-than", "soon"]).code, 2);
    assert_eq!(site.tlc(&["gc", "--keep-revisions", "some"]).code, 2);
}
