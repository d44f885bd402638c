//! `tlc artifact`.

use std::fs;

use serde_json::{Value, json};

use crate::site::Site;

/// A file of the safetensors form with one tensor of three numbers.
fn safetensors() -> Vec<u8> {
    let header = r#"{"__metadata__":{"format":"pt"},"weight":{"dtype":"F32","shape":[3,1],"data_offsets":[0,12]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &[0; 12]].concat()
}

/// A site with two versions of `zoo/model`: a file, then a folder.
fn with_model() -> Site {
    let site = Site::with_animals();
    site.write("model.bin", "weights");
    let put = ["artifact", "put", "zoo/model", "model.bin", "-m", "first"];
    site.tlc(&[&put[..], &["--as", "best"]].concat()).done();
    fs::create_dir_all(site.path("out/sub")).unwrap();
    fs::write(site.path("out/model.safetensors"), safetensors()).unwrap();
    site.write("out/sub/config.json", "{}");
    site.write("out/broken.safetensors", "not at all");
    let put = ["artifact", "put", "zoo/model", "out", "--author", "ben"];
    site.tlc(&put).done();
    site
}

#[test]
fn a_file_is_put_and_got_and_nothing_is_stored_twice() {
    let site = Site::new();
    site.write("model.bin", "weights");
    let put = ["artifact", "put", "zoo/model", "model.bin"];
    site.check(&put, "zoo/model@1: 1 file, SIZE; 7 B stored\n");
    let mut view =
        site.json(&[&put[..], &["-m", "again", "--as", "best", "--as", "prod"]].concat());
    assert!(view["time"].as_str().unwrap().ends_with('Z'));
    view["time"] = Value::Null;
    assert_eq!(
        view,
        json!({
            "artifact": "zoo/model", "version": 2, "time": null, "author": "ada", "run": null, "message": "again",
            "files": 1, "bytes": 7, "bytes_stored": 0, "aliases": ["best", "prod"],
        })
    );
    site.check(
        &[&put[..], &["--as", "best", "--as", "best"]].concat(),
        "zoo/model@3 (best): 1 file, SIZE; all of it was there\n",
    );
    let get = ["artifact", "get", "zoo/model@prod", "a/b.bin"];
    site.check(&get, "zoo/model@2 to a/b.bin: 1 file, SIZE, all verified\n");
    assert_eq!(fs::read(site.path("a/b.bin")).unwrap(), b"weights");
    site.check_err(
        &get,
        3,
        "
        error: HERE/a/b.bin is there already
        hint: name another target, or add --replace to replace a/b.bin
        ",
    );
    site.write("a/b.bin", "other");
    let view = site.json(&[&get[..], &["--replace"]].concat());
    assert_eq!(
        view,
        json!({"artifact": "zoo/model", "version": 2, "target": "a/b.bin", "files": 1, "bytes": 7})
    );
    assert_eq!(fs::read(site.path("a/b.bin")).unwrap(), b"weights");
}

#[test]
fn a_folder_is_replaced_by_a_folder_alone_and_whoever_asks_is_told_what_goes() {
    let site = with_model();
    fs::create_dir(site.path("kept")).unwrap();
    site.write("kept/mine.txt", "mine");
    let get = |more: &[&str]| site.tlc(&[&["artifact", "get"], more].concat());
    let answer = get(&["zoo/model@2", "kept"]);
    assert_eq!(answer.code, 3, "{}", answer.err);
    assert!(
        answer.err.ends_with(
            "or add --replace to delete the folder, with all that is in it, and replace kept\n"
        ),
        "{}",
        answer.err
    );
    for more in [&["kept"][..], &["kept/"], &["kept", "--replace"], &["."]] {
        let answer = get(&[&["zoo/model@1"], more].concat());
        assert_eq!(answer.code, 1, "{more:?}: {}", answer.err);
        assert!(answer.err.contains("model.bin"), "{}", answer.err);
    }
    let answer = get(&["zoo/model@2", ".", "--replace"]);
    assert!(
        answer.code == 1 && answer.err.contains("the current folder is in it"),
        "{}",
        answer.err
    );
    assert_eq!(fs::read(site.path("kept/mine.txt")).unwrap(), b"mine");
    assert_eq!(get(&["zoo/model@2", "kept", "--replace"]).code, 0);
    assert!(!site.path("kept/mine.txt").exists());
}

#[test]
fn without_a_target_a_version_has_its_own_name() {
    let site = with_model();
    fs::remove_file(site.path("model.bin")).unwrap();
    site.tlc(&["artifact", "get", "zoo/model@1"]).done();
    assert_eq!(fs::read(site.path("model.bin")).unwrap(), b"weights");
    site.tlc(&["artifact", "get", "zoo/model"]).done();
    assert_eq!(fs::read(site.path("model/sub/config.json")).unwrap(), b"{}");
    assert_eq!(
        fs::read(site.path("model/model.safetensors")).unwrap(),
        safetensors()
    );
}

#[test]
fn an_artifact_is_shown_with_versions_aliases_files_and_tensors() {
    let site = with_model();
    site.tlc(&["artifact", "alias", "zoo/model", "best"]).done();
    let text = site.masked(&["artifact", "show", "zoo/model"]);
    let words: Vec<_> = text
        .split_whitespace()
        .filter(|word| !word.starts_with('─'))
        .collect();
    let text = words.join(" ");
    for expected in [
        "zoo/model@2: 3 files, SIZE put by ben, TIME",
        "file size broken.safetensors 10 B model.safetensors",
        "broken.safetensors in zoo/model@2 is no safetensors file: its header",
        "tensor type shape size weight F32 [3, 1] 12 B",
        "2 TIME ben",
        "1 TIME ada 7 B 7 B first",
        "best 2 1 TIME ada best 1 none TIME ada",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text:?}");
    }
    let view = site.json(&["artifact", "show", "zoo/model@2"]);
    assert_eq!(view["version"], 2);
    assert_eq!(view["versions"][0]["message"], "first");
    let moves = &view["aliases"][0]["moves"];
    assert_eq!(
        (&moves[0]["from"], &moves[0]["to"]),
        (&Value::Null, &json!(1))
    );
    assert_eq!((&moves[1]["from"], &moves[1]["to"]), (&json!(1), &json!(2)));
    assert_eq!(view["aliases"][0]["version"], 2);
    assert_eq!(view["files"][2]["path"], "sub/config.json");
    assert_eq!(view["files"][2]["bytes"], 2);
    assert_eq!(
        view["tensors"],
        json!([
            {
                "file": "broken.safetensors",
                "tensors": [],
                "metadata": {},
                "error": "broken.safetensors in zoo/model@2 is no safetensors file: its header would be larger than 16 MiB",
            },
            {
                "file": "model.safetensors",
                "tensors": [{"name": "weight", "dtype": "F32", "shape": [3, 1], "bytes": 12}],
                "metadata": {"format": "pt"},
                "error": null,
            },
        ])
    );
    let first = site.json(&["artifact", "show", "zoo/model@v1"]);
    assert_eq!(
        (&first["version"], &first["files"][0]["path"]),
        (&json!(1), &json!("model.bin"))
    );
}

#[test]
fn what_others_wrote_is_shown_on_one_line_and_without_control_characters() {
    let site = Site::new();
    let name = format!("\\u001b[31m{}", "long".repeat(100));
    let shape = vec!["1"; 200].join(",");
    let header =
        format!(r#"{{"{name}":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,4]}}}}"#);
    let length = (header.len() as u64).to_le_bytes();
    let file = [&length[..], header.as_bytes(), &[0; 4]].concat();
    fs::write(site.path("x.safetensors"), file).unwrap();
    let message = "first\u{1b}[31m\nsecond";
    let put = [
        "artifact",
        "put",
        "zoo/model",
        "x.safetensors",
        "-m",
        message,
    ];
    site.tlc(&put).done();
    let text = site.tlc(&["artifact", "show", "zoo/model"]).done().text();
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains("first\\u{1b}[31m\nsecond\n"), "{text}");
    assert!(
        text.contains("\\u{1b}[31mlong") && text.contains('…'),
        "{text}"
    );
    assert!(
        text.lines().all(|line| line.chars().count() < 250),
        "{text}"
    );
}

#[test]
fn artifacts_are_listed_alone_and_with_what_else_a_project_holds() {
    let site = with_model();
    let text = site.masked(&["artifact", "list", "zoo"]);
    assert!(text.starts_with("artifact  version"), "{text}");
    assert!(
        text.contains("TIME") && text.ends_with("best @1\n(1 artifact)\n"),
        "{text}"
    );
    assert!(
        site.tlc(&["ls", "zoo"])
            .done()
            .text()
            .ends_with("best @1\n(1 artifact)\n")
    );
    let entry = site.json(&["artifact", "list", "zoo"]);
    assert_eq!(
        (&entry[0]["artifact"], &entry[0]["version"]),
        (&json!("model"), &json!(2))
    );
    assert_eq!(entry[0]["aliases"], json!({"best": 1}));
    assert_eq!(site.json(&["ls", "zoo"])["artifacts"], entry);
    assert_eq!(site.json(&["ls"])[0]["artifacts"], 1);
    site.write("a.csv", "x\n1\n");
    site.tlc(&["import", "a.csv", "other/a"]).done();
    site.check(&["artifact", "list", "other"], "(0 artifacts)\n");
}

#[test]
fn an_alias_moves_as_it_is_told() {
    let site = with_model();
    fn alias<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["artifact", "alias", "zoo/model"], more].concat()
    }
    site.check(
        &alias(&["prod", "--if", "none"]),
        "zoo/model: prod is version 2\n",
    );
    site.check_err(
        &alias(&["prod", "--at", "best", "--if", "1"]),
        3,
        "
        error: zoo/model: alias prod stays
          because: it names version 2, not version 1
        hint: `tlc artifact show zoo/model` says who moved it; then decide again
        ",
    );
    site.check(
        &alias(&["prod", "--at", "best", "--if", "2"]),
        "zoo/model: prod is version 1; it was version 2\n",
    );
    site.check(
        &alias(&["prod", "--at", "1"]),
        "zoo/model: prod names version 1 already\n",
    );
    let view = site.json(&alias(&["prod", "--remove"]));
    assert_eq!(
        view,
        json!({"artifact": "zoo/model", "alias": "prod", "version": null, "from": 1})
    );
    let again = site.tlc(&alias(&["prod", "--remove"]));
    assert_eq!(again.code, 4, "{}", again.err);
    for (more, code) in [
        (&["prod", "--at", "9"][..], 4),
        (&["prod", "--at", "none"], 4),
        (&["3"], 1),
        (&["prod", "--if", "some"], 2),
        (&["prod", "--remove", "--at", "1"], 2),
        (&[], 2),
    ] {
        assert_eq!(site.tlc(&alias(more)).code, code, "{more:?}");
    }
    let on_version = site.tlc(&["artifact", "alias", "zoo/model@1", "prod"]);
    assert!(
        on_version.code == 2 && on_version.err.contains("--at 1"),
        "{}",
        on_version.err
    );
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let site = with_model();
    for verb in ["get", "show"] {
        let answer = site.tlc(&["artifact", verb, "zoo/absent"]);
        assert_eq!(answer.code, 4);
        assert!(
            answer
                .err
                .ends_with("hint: the artifacts of zoo are: model\n"),
            "{}",
            answer.err
        );
        let answer = site.tlc(&["artifact", verb, "zoo/model@prod"]);
        assert_eq!(answer.code, 4);
        assert!(
            answer.err.contains("no alias \"prod\"; it has best"),
            "{}",
            answer.err
        );
        assert!(
            answer
                .err
                .contains("hint: `tlc artifact show zoo/model` lists"),
            "{}",
            answer.err
        );
    }
    assert_eq!(site.tlc(&["artifact", "get", "nowhere/model"]).code, 4);
    assert_eq!(site.tlc(&["artifact", "list", "nowhere"]).code, 4);
    let put = |more: &[&str]| site.tlc(&[&["artifact", "put"], more].concat());
    assert_eq!(put(&["zoo/model", "absent.bin"]).code, 4);
    assert_eq!(put(&["zoo/model", "model.bin", "--run", "nobody"]).code, 4);
    assert_eq!(put(&["zoo/model@3", "model.bin"]).code, 2);
    assert_eq!(put(&["zoo/model", "model.bin", "--as", "v7"]).code, 1);
    assert_eq!(put(&["zoo", "model.bin"]).code, 2);
    let answer = site.tlc(&["artifact", "get", "zoo/absent", "--json"]);
    let error: Value = serde_json::from_str(&answer.err).unwrap();
    assert_eq!(error["kind"], "not found");
}

#[test]
fn a_run_that_made_a_version_says_so() {
    let site = with_model();
    let project = site.opened().project("zoo").unwrap();
    project.start_run("first").unwrap().finish().unwrap();
    let put = [
        "artifact",
        "put",
        "zoo/model",
        "model.bin",
        "--run",
        "first",
    ];
    assert_eq!(site.json(&put)["run"], "first");
    let run = site.json(&["run", "show", "zoo/first"]);
    let used = json!([{"artifact": "model", "version": 3, "role": "output"}]);
    assert_eq!(
        (&run["artifacts"], &run["status"]),
        (&used, &json!("completed"))
    );
    let text = site.tlc(&["run", "show", "zoo/first"]).done().text();
    assert!(text.contains("model@3   output"), "{text}");
}

#[test]
fn damage_is_found_and_syncing_brings_artifacts_over() {
    let site = Site::on_disk();
    site.write("model.bin", "weights");
    site.tlc(&["artifact", "put", "zoo/model", "model.bin"])
        .done();
    let synced = site.json(&["sync", "root", "elsewhere"]);
    assert_eq!(
        (&synced["artifacts"], &synced["files"]),
        (&json!(1), &json!(3))
    );
    let text = site.tlc(&["verify", "zoo"]).done().text();
    assert!(text.ends_with("0 runs, 1 artifact\n"), "{text}");
    let chunk = fs::read_dir(site.root().join("zoo/chunks"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    fs::write(chunk.path(), "weighty").unwrap();
    let verified = site.tlc(&["verify"]);
    assert_eq!(verified.code, 1);
    let text = verified.text();
    assert!(
        text.contains("damage: zoo/chunks/") && text.contains("zoo/model@1"),
        "{text}"
    );
    let got = site.tlc(&["artifact", "get", "zoo/model", "x"]);
    assert_eq!(got.code, 1);
    assert!(
        got.err.contains("zoo/model@1") && got.err.contains("is damaged"),
        "{}",
        got.err
    );
    assert!(!site.path("x").exists());
    site.tlc(&["--root", "elsewhere", "artifact", "get", "zoo/model", "x"])
        .done();
    assert_eq!(fs::read(site.path("x")).unwrap(), b"weights");
}
