//! `tlc run exec`: real programs as runs.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::site::{Answer, Site};

/// Runs a shell's program as the run `zoo/first`.
fn sh(site: &Site, program: &str) -> Answer {
    site.tlc(&[
        "run",
        "exec",
        "zoo/first",
        "--no-system",
        "--",
        "sh",
        "-c",
        program,
    ])
}

/// Runs a program of Python as the run `zoo/first`.
fn python(site: &Site, program: &str) -> Answer {
    site.tlc(&["run", "exec", "zoo/first", "--", "python3", "-c", program])
}

/// The same, while it goes on.
fn begun(site: &Site, program: &str) -> Child {
    let mut command = site.command(&["run", "exec", "zoo/first", "--", "sh", "-c", program]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

fn sql(site: &Site, query: &str) -> Value {
    site.json(&["sql", query])
}

/// The lines of a console, one after the other.
fn console(site: &Site, name: &str) -> Vec<String> {
    let rows = sql(
        site,
        &format!(
            "SELECT text FROM zoo.texts WHERE run = 'first' AND name = '{name}' AND step IS NULL ORDER BY line"
        ),
    );
    let texts = rows.as_array().unwrap().iter();
    texts
        .map(|row| row["text"].as_str().unwrap().to_owned())
        .collect()
}

/// Status and reason of the run.
fn end(site: &Site) -> String {
    let run = site.json(&["run", "show", "zoo/first"]);
    let reason = run["reason"].as_str().unwrap_or("-");
    format!("{} {reason}", run["status"].as_str().unwrap())
}

/// Sends a signal to a process.
fn kill(signal: &str, pid: u32) {
    let sent = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn marked_lines_are_scalars_and_everything_else_is_console() {
    let site = Site::new();
    let lines = [
        "begin",
        r#"{"tlc": {"step": 3, "loss": 0.5, "val": {"loss": 1.5}}}"#,
        r#"{"tlc": {"loss": NaN, "note": "odd"}}"#,
        r#"{"loss": 7}"#,
        r#"{"tlc": {"step": 9, "loss": 7}"#,
    ];
    site.write("lines", &(lines.join("\n") + "\n"));
    let answer = sh(
        &site,
        r#"cat lines; echo '{"tlc": {"step": 1, "loss": 8}}' >&2; echo wrong >&2"#,
    )
    .done();
    assert_eq!(answer.text(), lines.join("\n") + "\n");
    assert_eq!(answer.err, "{\"tlc\": {\"step\": 1, \"loss\": 8}}\nwrong\n");
    assert_eq!(end(&site), "completed -");
    assert_eq!(console(&site, "stdout"), [lines[0], lines[3], lines[4]]);
    assert_eq!(
        console(&site, "stderr"),
        [r#"{"tlc": {"step": 1, "loss": 8}}"#, "wrong"]
    );
    assert_eq!(
        sql(
            &site,
            "SELECT name, step, CAST(value AS VARCHAR) AS value FROM zoo.scalars ORDER BY step, name"
        ),
        json!([
            {"name": "loss", "step": 3, "value": "0.5"},
            {"name": "val.loss", "step": 3, "value": "1.5"},
            {"name": "loss", "step": 4, "value": "NaN"},
        ])
    );
    assert_eq!(
        sql(
            &site,
            "SELECT name, step, text FROM zoo.texts WHERE step IS NOT NULL"
        ),
        json!([{"name": "note", "step": 4, "text": "odd"}])
    );
    let run = site.json(&["run", "show", "zoo/first"]);
    let command = run["params"]["command"].as_str().unwrap();
    assert!(command.starts_with("sh -c 'cat lines;"), "{command}");
    assert_eq!(run["params"].as_object().unwrap().len(), 1);
}

#[test]
fn bytes_are_passed_on_as_they_are_and_recorded_as_text() {
    let site = Site::new();
    let long = "x".repeat(200_000);
    site.write("long", &long);
    let program = r"printf 'a\377b\n10%%\r20%%\r30%%\n'; cat long; echo; printf last";
    let answer = sh(&site, program).done();
    let expected = [b"a\xffb\n10%\r20%\r30%\n", long.as_bytes(), b"\nlast"].concat();
    assert!(answer.out == expected, "{}", answer.text());
    let lines = console(&site, "stdout");
    assert_eq!(
        (lines.len(), &*lines[0], &*lines[1], &*lines[3]),
        (4, "a\u{fffd}b", "30%", "last")
    );
    let cut = lines[2].strip_suffix("… (cut)").unwrap();
    assert!(cut.len() == 64 << 10 && long.starts_with(cut));
}

#[test]
fn the_exit_code_is_passed_on_and_is_the_reason() {
    let site = Site::new();
    assert_eq!(sh(&site, "exit 3").code, 3);
    assert_eq!(end(&site), "failed exit code 3");
    let taken = sh(&site, "echo never");
    assert_eq!((taken.code, taken.text()), (3, String::new()));
    assert!(taken.err.contains("resume"), "{}", taken.err);
    let args = ["run", "exec", "zoo/first", "--resume", "--", "true"];
    site.tlc(&args).done();
    assert_eq!(end(&site), "completed -");
}

#[test]
fn secrets_of_a_command_line_are_not_stored() {
    let site = Site::on_disk();
    let planted = [
        "--token",
        "hunter2",
        "KEY=x",
        "API_KEY=hunter2",
        "https://ada:hunter2@host/x",
    ];
    let program = [
        "run",
        "exec",
        "zoo/first",
        "--no-system",
        "--",
        "sh",
        "-c",
        "exit 0",
        "sh",
    ];
    site.tlc(&[&program[..], &planted[..]].concat()).done();
    let command = &sql(&site, "SELECT value FROM zoo.params WHERE name = 'command'")[0]["value"];
    let expected =
        "sh -c 'exit 0' sh --token [redacted] KEY=x API_KEY=[redacted] https://[redacted]@host/x";
    assert_eq!(command.as_str(), Some(expected));
    for entry in fs::read_dir(site.root().join("zoo/runs/first/log")).unwrap() {
        let entry = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!entry.contains("hunter2"), "{entry}");
    }
}

#[test]
fn a_program_that_is_not_there_begins_no_run() {
    let site = Site::new();
    for (program, code) in [
        ("no-such-program", 4),
        ("./no/such", 4),
        ("./plain", 1),
        (".", 4),
    ] {
        site.write("plain", "not to be executed");
        let answer = site.tlc(&["run", "exec", "zoo/first", "--", program]);
        assert_eq!(answer.code, code, "{program}: {}", answer.err);
        assert!(answer.err.contains(program), "{}", answer.err);
        assert_eq!(site.tlc(&["run", "show", "zoo/first"]).code, 4);
    }
    assert_eq!(site.tlc(&["run", "exec", "zoo/first"]).code, 2);
}

#[test]
fn a_crash_is_told_by_its_signal() {
    let site = Site::new();
    let answer = sh(&site, "echo before; kill -SEGV $$");
    assert_eq!((answer.code, &*answer.text()), (139, "before\n"));
    assert_eq!(end(&site), "failed killed by SIGSEGV");
    assert_eq!(console(&site, "stdout"), ["before"]);
    let site = Site::new();
    let answer = python(
        &site,
        "import ctypes\nprint('before', flush=True)\nctypes.string_at(0)",
    );
    assert_eq!((answer.code, &*answer.text()), (139, "before\n"));
    assert_eq!(end(&site), "failed killed by SIGSEGV");
}

#[test]
fn a_kill_from_outside_is_told() {
    let site = Site::new();
    let mut tlc = begun(&site, "echo $$; exec sleep 600");
    let mut out = BufReader::new(tlc.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    kill("KILL", line.trim().parse().unwrap());
    assert_eq!(tlc.wait().unwrap().code(), Some(137));
    let end = end(&site);
    assert!(end.starts_with("failed killed by SIGKILL"), "{end}");
}

#[test]
fn signals_are_handed_to_the_program_which_decides() {
    for (signal, program, code, expected) in [
        (
            "TERM",
            "echo; exec sleep 600",
            143,
            "failed killed by SIGTERM",
        ),
        (
            "INT",
            "echo; exec sleep 600",
            130,
            "failed killed by SIGINT",
        ),
        (
            "TERM",
            "trap 'exit 5' TERM; echo; while :; do sleep 0.1; done",
            5,
            "failed exit code 5 after SIGTERM",
        ),
        (
            "INT",
            "trap 'echo saved; exit 0' INT; echo; while :; do sleep 0.1; done",
            0,
            "completed -",
        ),
    ] {
        let site = Site::new();
        let mut tlc = begun(&site, program);
        let mut out = BufReader::new(tlc.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        kill(signal, tlc.id());
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(tlc.wait().unwrap().code(), Some(code), "{signal} {program}");
        assert_eq!(end(&site), expected, "{signal} {program}");
        assert_eq!(rest.contains("saved"), code == 0, "{rest:?}");
    }
}

#[test]
fn a_million_lines_are_all_recorded() {
    let site = Site::new();
    let answer = python(&site, "for n in range(1_000_000): print('line', n)").done();
    assert_eq!(
        answer.out.iter().filter(|byte| **byte == b'\n').count(),
        1_000_000
    );
    assert!(answer.text().ends_with("\nline 999999\n"));
    assert_eq!(
        sql(
            &site,
            "SELECT count(*) AS n, max(line) AS last, count(DISTINCT line) AS lines, count(DISTINCT text) AS texts FROM zoo.texts"
        ),
        json!([{"n": 1_000_000, "last": 999_999, "lines": 1_000_000, "texts": 1_000_000}])
    );
    assert_eq!(
        sql(
            &site,
            "SELECT count(*) AS n FROM zoo.texts WHERE text = 'line ' || CAST(line AS VARCHAR)"
        ),
        json!([{"n": 1_000_000}])
    );
    let run = site.json(&["run", "show", "zoo/first"]);
    assert_eq!(run["lost"]["items"], 0);
}

#[test]
fn a_program_reads_our_input_and_finds_the_run() {
    let site = Site::new();
    let mut tlc = begun(&site, "echo $TLC_ROOT $TLC_PROJECT $TLC_RUN; cat");
    let mut out = BufReader::new(tlc.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, format!("{} zoo first\n", site.url()));
    let mut input = tlc.stdin.take().unwrap();
    input.write_all(b"an answer\n").unwrap();
    // It comes back before there is more, and before the end.
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "an answer\n");
    drop(input);
    assert_eq!(tlc.wait().unwrap().code(), Some(0));
    assert_eq!(console(&site, "stdout").last().unwrap(), "an answer");
}

#[test]
fn a_program_whose_reader_has_left_ends_as_it_would_without_us() {
    let site = Site::new();
    let mut tlc = begun(&site, "exec yes");
    let mut out = BufReader::new(tlc.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    assert_eq!(tlc.wait().unwrap().code(), Some(141));
    assert_eq!(end(&site), "failed killed by SIGPIPE");
}
