//! What a failure looks like, and its exit code.

use std::fs;

use serde_json::{Value, json};

use crate::site::Site;

#[test]
fn what_is_not_there_is_exit_code_4_and_what_is_there_is_named() {
    let site = Site::with_animals();
    site.check_err(
        &["ls", "circus"],
        4,
        "
        error: there is no project circus in the root ROOT
        hint: the projects there are: zoo
        ",
    );
    site.check_err(
        &["table", "show", "zoo/plants"],
        4,
        "
        error: project zoo has no table plants
        hint: the tables of zoo are: animals
        ",
    );
    site.check_err(
        &["table", "show", "zoo/animals@7"],
        4,
        "
        error: table animals has no revision 7; its newest is 0
        hint: `tlc table log zoo/animals` lists the revisions
        ",
    );
    assert_eq!(
        site.tlc(&["table", "diff", "zoo/animals", "0", "7"]).code,
        4
    );
    assert_eq!(site.tlc(&["import", "absent.csv", "zoo/absent"]).code, 4);
    let answer = site.tlc(&["sql", "SELECT * FROM zoo.plants"]);
    assert!(
        answer.code == 4 && answer.err.contains("plants") && answer.err.contains("hint: "),
        "{}",
        answer.err
    );
    assert_eq!(site.tlc(&["run", "show", "zoo/nobody"]).code, 4);
}

#[test]
fn a_root_that_is_not_there_is_named_with_its_origin() {
    let site = Site::new();
    let hint = "hint: name another with --root or TLC_ROOT, or make this one with `tlc import SOURCE PROJECT/TABLE`\n";
    site.check_err(
        &["ls"],
        4,
        &format!("error: there is no root ROOT (from TLC_ROOT)\n{hint}"),
    );
    site.check_err(
        &["ls", "--root", "/no/where"],
        4,
        &format!("error: there is no root /no/where (from --root)\n{hint}"),
    );
    let mut command = site.command(&["ls"]);
    let output = command.env_remove("TLC_ROOT").output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("/.local/share/tlc (the default)"), "{err}");
    assert!(!site.root().exists(), "a verb that reads made the root");
}

#[test]
fn the_config_file_names_the_root() {
    let site = Site::with_animals();
    site.write("tlc.yaml", "root: root\nauthor: Configured\n");
    let run = |args: &[&str]| {
        let mut command = site.command(args);
        command
            .env_remove("TLC_ROOT")
            .env("TLC_CONFIG", site.path("tlc.yaml"))
            .output()
            .unwrap()
    };
    assert_eq!(
        run(&[
            "sql",
            "SELECT count(*) AS n FROM zoo.animals",
            "--format",
            "csv"
        ])
        .stdout,
        b"n\n4\n"
    );
    run(&[
        "table",
        "edit",
        "zoo/animals",
        "--set",
        "legs=1",
        "--where",
        "_rowid = 0",
        "-m",
        "x",
    ]);
    assert_eq!(
        site.json(&["table", "log", "zoo/animals"])[0]["author"],
        "Configured"
    );
    site.write("tlc.yaml", "rot: root\n");
    let output = run(&["ls"]);
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && err.contains("\"rot\"") && err.contains("tlc.yaml"),
        "{err}"
    );
}

#[test]
fn a_taken_name_is_a_conflict() {
    let site = Site::with_animals();
    let answer = site.tlc(&["import", "animals.csv", "zoo/animals"]);
    assert_eq!(answer.code, 3, "{}", answer.err);
    assert!(
        answer.err.contains("animals") && answer.err.contains("hint: `tlc table show zoo/animals`"),
        "{}",
        answer.err
    );
    assert_eq!(
        site.json(&["table", "log", "zoo/animals"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let site = Site::with_animals();
    let cases: [&[&str]; 9] = [
        &["frobnicate"],
        &["table", "show"],
        &["table", "show", "animals"],
        &["table", "show", "../x/animals"],
        &[
            "table",
            "edit",
            "zoo/animals",
            "--set",
            "legs",
            "--where",
            "true",
            "-m",
            "x",
        ],
        &["table", "edit", "zoo/animals", "--set", "legs=1", "-m", "x"],
        &[
            "table",
            "edit",
            "zoo/animals@0",
            "--set",
            "legs=1",
            "--where",
            "true",
            "-m",
            "x",
        ],
        &["import", "animals.csv", "zoo/x", "--in-place"],
        &["sql", "SELECT 1", "--format", "xml"],
    ];
    for args in cases {
        let answer = site.tlc(args);
        assert_eq!(answer.code, 2, "{args:?}: {}", answer.err);
        assert!(
            answer.err.starts_with("error: ") && answer.text().is_empty(),
            "{args:?}: {}",
            answer.err
        );
        let answer = site.tlc(&[args, &["--json"]].concat());
        let err: Value = serde_json::from_str(&answer.err)
            .unwrap_or_else(|err| panic!("{args:?}: {err}: {}", answer.err));
        assert_eq!(
            (answer.code, &err["kind"]),
            (2, &json!("usage")),
            "{args:?}"
        );
        assert!(
            err["message"].is_string() && err.get("hint").is_some(),
            "{args:?}: {err}"
        );
    }
}

#[test]
fn a_wrong_request_is_exit_code_1_and_changes_nothing() {
    let site = Site::with_animals();
    let edit = |set: &str, condition: &str| {
        let answer = site.tlc(&[
            "table",
            "edit",
            "zoo/animals",
            "--set",
            set,
            "--where",
            condition,
            "-m",
            "x",
        ]);
        (answer.code, answer.err)
    };
    for (set, condition, named) in [
        ("legs='many'", "true", "legs"),
        ("legs=1", "legs = = 4", ""),
        ("legs=", "true", "legs="),
    ] {
        let (code, err) = edit(set, condition);
        assert!(code == 1 || set == "legs=", "{code} {err}");
        assert!(err.starts_with("error: ") && err.contains(named), "{err}");
    }
    let (code, err) = edit("wings=2", "true");
    assert!(
        code == 4 && err.contains("wings") && err.contains("legs"),
        "{code} {err}"
    );
    let wrong = site.tlc(&["sql", "SELEC 1"]);
    assert!(
        wrong.code == 1 && wrong.err.starts_with("error: "),
        "{}",
        wrong.err
    );
    assert_eq!(site.tlc(&["sql", "DROP TABLE zoo.animals"]).code, 1);
    let twice = site.tlc(&[
        "sql",
        "SELECT a.name, b.name FROM zoo.animals a, zoo.animals b",
        "--json",
    ]);
    assert!(twice.code == 1 && twice.err.contains("AS"), "{}", twice.err);
    assert_eq!(
        site.json(&["table", "log", "zoo/animals"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn an_error_for_a_program_is_one_object() {
    let site = Site::with_animals();
    let answer = site.tlc(&["table", "show", "zoo/plants", "--json"]);
    let err: Value = serde_json::from_str(&answer.err).unwrap();
    assert_eq!(
        err,
        json!({"kind": "not found", "message": "project zoo has no table plants", "hint": "the tables of zoo are: animals"})
    );
    assert_eq!((answer.code, answer.text().as_str()), (4, ""));
}

#[test]
fn a_broken_log_is_an_error_that_names_it() {
    let site = Site::with_animals();
    let entry = site
        .root()
        .join("zoo/tables/animals/log/00000000000000000000.json");
    fs::write(&entry, "{").unwrap();
    let answer = site.tlc(&["table", "show", "zoo/animals"]);
    assert!(
        answer.code == 1 && answer.err.contains("animals"),
        "{}",
        answer.err
    );
    assert_eq!(fs::read_to_string(entry).unwrap(), "{");
}

#[test]
fn help_and_version_are_answers() {
    let site = Site::new();
    let version = concat!("tlc ", env!("CARGO_PKG_VERSION"), "\n");
    site.check(&["--version"], version);
    for args in [
        &["--help"][..],
        &["sql", "--help"],
        &["table", "edit", "--help"],
        &["run", "show", "--help"],
    ] {
        assert!(site.tlc(args).done().text().contains("Example"), "{args:?}");
    }
}
