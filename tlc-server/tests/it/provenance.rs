//! What a run is made of, told by the real binary in a real repository.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::site::{Answer, Site};

/// Runs Git itself, as nobody in particular.
#[track_caller]
fn git(site: &Site, line: &str) -> String {
    let done = Command::new("git")
        .args(line.split_whitespace())
        .current_dir(site.path(""))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "ada")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "ada@example.org")))
        .output()
        .unwrap();
    assert!(done.status.success(), "git {line}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// A site that is a repository with a program of one commit, and changes to it that are in none.
fn repository() -> Site {
    let site = Site::on_disk();
    git(&site, "init -q -b main");
    site.write("train.py", "rate = 0.1\nprint('trained')\n");
    git(&site, "add .");
    git(&site, "commit -q -m first");
    site.write("train.py", "rate = 0.2\nprint('trained')\n");
    site.write("model.py", "layers = 3\n");
    site
}

fn run(site: &Site, name: &str, variables: &[(&str, &str)]) -> Answer {
    let run = format!("zoo/{name}");
    let mut command = site.command(&["run", "exec", &run, "--no-system", "--"]);
    command.args([
        "sh",
        "-c",
        "true",
        "--api-key",
        "sk-planted0123456789abcdef",
    ]);
    command.args([
        "--password=planted-in-argument",
        "https://ada:planted-user@example.org/",
    ]);
    command.envs(variables.iter().copied());
    command.output().unwrap().into()
}

fn code(site: &Site, run: &str) -> Value {
    site.json(&["run", "code", run])
}

#[test]
fn a_run_knows_its_commit_and_the_changes_to_it() {
    let site = repository();
    run(&site, "first", &[("RUST_LOG", "warn"), ("HOME_PAGE", "x")]).done();
    let told = code(&site, "zoo/first");
    let (made_of, patch) = (&told["provenance"], told["patch"].as_str().unwrap());
    let commit = git(&site, "rev-parse HEAD").trim().to_owned();
    assert_eq!(made_of["code"]["commit"], commit);
    assert_eq!(made_of["code"]["branch"], "main");
    assert_eq!(
        made_of["code"]["changes"],
        json!([{"path": "train.py", "kind": "modified"}, {"path": "model.py", "kind": "untracked"}])
    );
    assert!(patch.contains("-rate = 0.1\n+rate = 0.2\n") && patch.contains("+layers = 3\n"));
    assert_eq!(made_of["environment"]["RUST_LOG"], "warn");
    assert_eq!(made_of["environment"]["HOME_PAGE"], Value::Null);
    assert_eq!(
        made_of["machine"]["host"].as_str().is_some(),
        cfg!(target_os = "linux")
    );
    assert_eq!(made_of.get("missing"), None, "{made_of}");

    let shown = site.json(&["run", "show", "zoo/first"]);
    assert_eq!(
        shown["code"],
        json!({"commit": commit, "branch": "main", "dirty": true})
    );
    let text = site.tlc(&["run", "show", "zoo/first"]).done().text();
    let expected = format!("\ncode      {} on main, with changes\n", &commit[..12]);
    assert!(text.contains(&expected), "{text}");
    let text = site.tlc(&["run", "code", "zoo/first"]).done().text();
    for expected in [&commit, "model.py", "untracked", "+rate = 0.2"] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    let rows = site.json(&["sql", "SELECT \"commit\", branch, dirty FROM zoo.runs"]);
    assert_eq!(
        rows,
        json!([{"commit": commit, "branch": "main", "dirty": true}])
    );
    let edges = site.json(&[
        "sql",
        "SELECT source, target, kind, revision, role FROM zoo.lineage",
    ]);
    let edge = json!([{"source": commit, "target": "first", "kind": "run", "revision": null, "role": "code"}]);
    assert_eq!(edges, edge);
}

#[test]
fn the_patch_makes_the_code_again() {
    let site = repository();
    run(&site, "first", &[]).done();
    let patch = site
        .tlc(&["run", "code", "zoo/first", "--patch"])
        .done()
        .out;
    git(&site, "stash -q -u");
    fs::write(site.path("../patch-of-a-run"), &patch).unwrap();
    git(&site, "apply ../patch-of-a-run");
    fs::remove_file(site.path("../patch-of-a-run")).unwrap();
    assert_eq!(
        fs::read_to_string(site.path("train.py")).unwrap(),
        "rate = 0.2\nprint('trained')\n"
    );
    assert_eq!(
        fs::read_to_string(site.path("model.py")).unwrap(),
        "layers = 3\n"
    );
}

#[test]
fn no_secret_is_in_any_file() {
    let site = repository();
    git(
        &site,
        "remote add origin https://ada:planted-remote@example.org/x.git",
    );
    site.write("ghp_plantedinname0123456789.py", "x = 1\n");
    site.write(".env", "NOTHING_TELLING=planted-in-file\n");
    site.write("settings.toml", "password = \"planted-in-settings\"\n");
    site.write(
        "model.py",
        "client(api_key=\"planted-in-source\")\nx = 'planted-variable'\n",
    );
    let variables = [
        ("AWS_SECRET_ACCESS_KEY", "planted-variable"),
        ("CARGO_REGISTRY_TOKEN", "planted-token"),
        ("RUST_LOG", "https://ada:planted-in-value@example.org/"),
    ];
    run(&site, "first", &variables).done();
    let made_of = &code(&site, "zoo/first")["provenance"];
    let paths = made_of["code"]["changes"].as_array().unwrap().iter();
    let paths: Vec<&str> = paths
        .map(|change| change["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "train.py",
            ".env",
            "[redacted].py",
            "model.py",
            "settings.toml"
        ]
    );
    let mut n_files = 0;
    each_file(&site.path("root"), &mut |path, bytes| {
        n_files += 1;
        let text = String::from_utf8_lossy(bytes).into_owned() + &path.to_string_lossy();
        assert!(!text.contains("planted"), "{}: {text}", path.display());
    });
    assert!(n_files >= 4, "{n_files}");
}

fn each_file(folder: &Path, check: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => each_file(&path, check),
            false => check(&path, &fs::read(&path).unwrap()),
        }
    }
}

#[test]
fn without_a_repository_that_is_said_and_the_run_goes_on() {
    let site = Site::on_disk();
    run(&site, "first", &[]).done();
    // Not that of the command itself, which lies in a repository.
    let made_of = &code(&site, "zoo/first")["provenance"];
    assert_eq!(made_of["code"], Value::Null);
    assert_eq!(made_of["lock"], Value::Null);
    let missing = made_of["missing"][0].as_str().unwrap();
    assert!(missing.starts_with("the code is not known: "), "{missing}");
    assert_eq!(
        site.json(&["run", "show", "zoo/first"])["status"],
        "completed"
    );
}

#[test]
fn a_file_that_is_damaged_or_gone_is_found() {
    let site = repository();
    run(&site, "first", &[]).done();
    site.tlc(&["verify"]).done();
    let folder = site.path("root/zoo/provenance");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort_by_key(|path| path.extension().map(ToOwned::to_owned));
    assert_eq!(files.len(), 2, "{files:?}");
    let (record, patch) = (&files[0], &files[1]);
    let good = fs::read(patch).unwrap();
    fs::write(patch, [&good[..], b"x"].concat()).unwrap();
    let answer = site.tlc(&["run", "code", "zoo/first"]);
    assert!(
        answer.code == 1 && answer.err.contains("damaged"),
        "{answer:?}"
    );
    assert_eq!(site.tlc(&["verify"]).code, 1);
    fs::write(patch, good).unwrap();
    fs::remove_file(record).unwrap();
    let answer = site.tlc(&["run", "code", "zoo/first"]);
    assert!(
        answer.code == 4 && answer.err.contains("is gone"),
        "{answer:?}"
    );
    assert_eq!(site.tlc(&["verify"]).code, 1);
    assert_eq!(
        site.json(&["run", "show", "zoo/first"])["code"]["dirty"],
        true
    );
}

#[test]
fn it_travels_with_the_run() {
    let site = repository();
    run(&site, "first", &[]).done();
    site.tlc(&["sync", "root", "other"]).done();
    let there = site.json(&["run", "code", "zoo/first", "--root", "other"]);
    assert_eq!(there, code(&site, "zoo/first"));
    let again = site.json(&["sync", "root", "other"]);
    assert_eq!(again["files"], 0, "{again}");
}

#[test]
fn of_runs_that_are_not_meant_nothing_travels() {
    let site = repository();
    run(&site, "first", &[]).done();
    site.write("private.py", "x = 1\n");
    run(&site, "second", &[]).done();
    site.tlc(&["sync", "root", "other", "zoo/first"]).done();
    let mut n_files = 0;
    each_file(&site.path("other"), &mut |path, bytes| {
        n_files += usize::from(path.to_string_lossy().contains("/provenance/"));
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("private.py"), "{}", path.display());
    });
    assert_eq!(n_files, 2);
    let there = site.json(&["run", "code", "zoo/first", "--root", "other"]);
    assert_eq!(there, code(&site, "zoo/first"));
}
