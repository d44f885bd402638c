//! Runs told to a catalogue of lineage: in a file, and to a real server.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::lineage::with_models;
use crate::site::{Answer, Site};

/// A server that takes as many requests as it has answers.
struct Catalogue {
    host: String,
    requests: Receiver<Request>,
}

/// One request: its first line, its headers in lower case, and its body.
struct Request {
    line: String,
    headers: Vec<String>,
    body: String,
}

impl Catalogue {
    fn new(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (send, requests) = sync_channel(answers.len());
        thread::Builder::new()
            .spawn(move || {
                for answer in answers {
                    let (stream, _) = listener.accept().unwrap();
                    send.send(answered(stream, answer)).unwrap();
                }
            })
            .unwrap();
        Self { host, requests }
    }

    fn next(&self) -> Request {
        self.requests.recv_timeout(Duration::from_secs(60)).unwrap()
    }
}

fn answered(mut stream: TcpStream, answer: &str) -> Request {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut next = || {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let line = next();
    let headers = std::iter::from_fn(|| Some(next()).filter(|line| !line.is_empty()));
    let headers: Vec<String> = headers.map(|line| line.to_ascii_lowercase()).collect();
    let length = headers
        .iter()
        .find_map(|header| header.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    lines.read_exact(&mut body).unwrap();
    let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).unwrap();
    Request {
        line,
        headers,
        body: String::from_utf8(body).unwrap(),
    }
}

fn events(site: &Site, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(site.path(file)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Type, tags and datasets of an event.
fn told(event: &Value) -> String {
    let names = |side: &str| {
        let datasets = event[side].as_array().unwrap().iter();
        let datasets = datasets.map(|dataset| {
            let version = &dataset["facets"]["version"]["datasetVersion"];
            format!(
                "{}@{}",
                dataset["name"].as_str().unwrap(),
                version.as_str().unwrap()
            )
        });
        datasets.collect::<Vec<_>>().join(",")
    };
    format!(
        "{} {} of {}: {} > {}",
        event["eventType"].as_str().unwrap(),
        event["run"]["facets"]["tags"]["tags"][0]["value"]
            .as_str()
            .unwrap(),
        event["job"]["name"].as_str().unwrap(),
        names("inputs"),
        names("outputs")
    )
}

#[test]
fn runs_are_told_to_a_file() {
    let site = with_models();
    let args = ["lineage", "zoo", "--open-lineage", "events.jsonl"];
    site.check(&args, "4 events of 2 runs sent to events.jsonl\n");
    let first = events(&site, "events.jsonl");
    let found: Vec<String> = first.iter().map(told).collect();
    assert_eq!(
        found,
        [
            "START zoo/first of zoo: zoo/tables/animals@1 > zoo/artifacts/model@1",
            "COMPLETE zoo/first of zoo: zoo/tables/animals@1 > zoo/artifacts/model@1",
            "START zoo/second of zoo: zoo/artifacts/model@1 > zoo/artifacts/model@2",
            "COMPLETE zoo/second of zoo: zoo/artifacts/model@1 > zoo/artifacts/model@2",
        ]
    );
    let columns = &first[0]["inputs"][0]["facets"]["schema"]["fields"];
    assert_eq!(columns[1]["name"], "legs");
    assert_eq!(first[0]["run"]["runId"], first[1]["run"]["runId"]);
    assert_ne!(first[0]["run"]["runId"], first[2]["run"]["runId"]);
    // What is sent again says the same, and is appended.
    let sent = site.json(&args);
    assert_eq!(
        (&sent["runs"], &sent["events"]),
        (&Value::from(2), &Value::from(4))
    );
    let again = events(&site, "events.jsonl");
    assert_eq!((again.len(), &again[..4]), (8, &again[4..]));
    // By the model that it made, and printed.
    let args = ["lineage", "zoo/model@best", "--open-lineage", "-"];
    let printed = site.tlc(&args).done().text();
    let printed: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(printed, first[..2]);
}

#[test]
fn runs_are_told_to_a_server() {
    let site = with_models();
    let catalogue = Catalogue::new(&["201 Created", "200 OK"]);
    let target = format!("http://{}", catalogue.host);
    let mut command = site.command(&["lineage", "zoo/first", "--open-lineage", &target]);
    command.env("OPENLINEAGE_API_KEY", "planted-key");
    let answer = Answer::from(command.output().unwrap()).done();
    assert_eq!(
        answer.text(),
        format!("2 events of 1 run sent to {target}/api/v1/lineage\n")
    );
    for expected in ["START", "COMPLETE"] {
        let request = catalogue.next();
        assert_eq!(request.line, "POST /api/v1/lineage HTTP/1.1");
        for header in [
            "content-type: application/json",
            "authorization: bearer planted-key",
        ] {
            assert!(
                request.headers.iter().any(|own| own == header),
                "{:?}",
                request.headers
            );
        }
        let event: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(event["eventType"], expected);
        assert!(!request.body.contains("planted"));
    }
}

#[test]
fn a_user_in_the_address_is_let_in_and_not_shown() {
    let site = with_models();
    let catalogue = Catalogue::new(&["200 OK", "500 Internal Server Error"]);
    let target = format!("http://ada:planted@{}/here?key=planted", catalogue.host);
    let mut command = site.command(&["lineage", "zoo/first", "--open-lineage", &target]);
    command.env("OPENLINEAGE_API_KEY", "planted-key");
    let answer = Answer::from(command.output().unwrap());
    assert_eq!(
        (answer.code, answer.err),
        (
            1,
            format!(
                "error: http://{}/here did not take the event COMPLETE of run zoo/first\n  because: it answered 500 Internal Server Error\nhint: check the disk, the network and the credentials, then try again\n",
                catalogue.host
            )
        )
    );
    let request = catalogue.next();
    assert_eq!(request.line, "POST /here?key=planted HTTP/1.1");
    let let_in: Vec<&String> = request
        .headers
        .iter()
        .filter(|header| header.starts_with("authorization"))
        .collect();
    // The word after it is `ada:planted`, in the letters of base64.
    assert_eq!(let_in, ["authorization: basic ywrhonbsyw50zwq="]);
}

#[test]
fn a_target_that_cannot_be_is_wrong_usage() {
    let site = with_models();
    for (args, code, expected) in [
        (
            &[
                "zoo/first",
                "--open-lineage",
                "http://ada:planted@host:port",
            ][..],
            2,
            "error: the address for the events is no URL\n  because: invalid port number\n",
        ),
        (
            &["zoo/first", "--open-lineage", "s3://bucket/planted"],
            2,
            "error: events go to a file, to - for standard output, or to an address that begins with http:// or https://\n",
        ),
        (
            &["zoo"],
            2,
            "error: say which run or artifact, as PROJECT/NAME; only --open-lineage takes a project\n",
        ),
    ] {
        let answer = site.tlc(&[&["lineage"], args].concat());
        assert_eq!((answer.code, answer.err.as_str()), (code, expected));
    }
    let missing = site.tlc(&["lineage", "zoo/none", "--open-lineage", "events"]);
    assert_eq!(missing.code, 4, "{}", missing.err);
    assert!(!site.path("events").exists());
    let folder = site.tlc(&["lineage", "zoo/first", "--open-lineage", "."]);
    assert_eq!(folder.code, 1);
    assert!(
        folder
            .err
            .starts_with("error: . did not take the event START of run zoo/first\n  because: "),
        "{}",
        folder.err
    );
}

/// Runs a program of the shell as `zoo/first`, and tells a catalogue.
#[cfg(unix)]
fn exec(site: &Site, target: &str, program: &str) -> Answer {
    site.tlc(&[
        "run",
        "exec",
        "zoo/first",
        "--no-system",
        "--open-lineage",
        target,
        "--",
        "sh",
        "-c",
        program,
    ])
}

#[cfg(unix)]
#[test]
fn a_program_is_told_when_it_begins_and_when_it_has_ended() {
    let site = Site::on_disk();
    let catalogue = Catalogue::new(&["200 OK", "200 OK"]);
    let target = format!("http://ada:planted@{}", catalogue.host);
    // The program ends when its beginning was told.
    let mut command = site.command(&["run", "exec", "zoo/first", "--no-system"]);
    command.args(["--open-lineage", &target, "--", "sh", "-c"]);
    command.arg("echo on; until [ -e told ]; do sleep 0.01; done; exit 3");
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let start: Value = serde_json::from_str(&catalogue.next().body).unwrap();
    assert_eq!(told(&start), "START zoo/first of zoo:  > ");
    site.write("told", "");
    let answer = Answer::from(child.wait_with_output().unwrap());
    assert_eq!(
        (answer.code, answer.text().as_str(), answer.err.as_str()),
        (3, "on\n", "")
    );
    let end: Value = serde_json::from_str(&catalogue.next().body).unwrap();
    assert_eq!(told(&end), "FAIL zoo/first of zoo:  > ");
    assert_eq!(
        end["run"]["facets"]["errorMessage"]["message"],
        "exit code 3"
    );
    assert_eq!(start["run"]["runId"], end["run"]["runId"]);
    nothing_planted_below(&site.path("root"));
}

#[cfg(unix)]
fn nothing_planted_below(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            nothing_planted_below(&path);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains("planted"), "{}: {text}", path.display());
        }
    }
}

#[cfg(unix)]
#[test]
fn a_program_is_told_in_a_file() {
    let site = Site::on_disk();
    exec(&site, "events.jsonl", "true").done();
    let found: Vec<String> = events(&site, "events.jsonl").iter().map(told).collect();
    assert_eq!(
        found,
        [
            "START zoo/first of zoo:  > ",
            "COMPLETE zoo/first of zoo:  > "
        ]
    );
}

#[cfg(unix)]
#[test]
fn a_catalogue_that_is_not_well_disturbs_no_program() {
    let check = |target: &str, expected: &str| {
        let site = Site::on_disk();
        let answer = exec(&site, target, "echo on; exit 7");
        assert_eq!((answer.code, answer.text().as_str()), (7, "on\n"));
        assert!(
            answer.err.starts_with(expected) && !answer.err.contains("planted"),
            "{}",
            answer.err
        );
        assert_eq!(answer.err.lines().count(), 1, "{}", answer.err);
        let run = site.json(&["run", "show", "zoo/first"]);
        assert_eq!(run["reason"], "exit code 7");
    };
    // It takes what is said and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap();
    check(
        &format!("http://ada:planted@{host}"),
        &format!(
            "warning: http://{host}/api/v1/lineage did not take the event START of run zoo/first: "
        ),
    );
    // Nobody is there.
    drop(silent);
    check(
        &format!("http://ada:planted@{host}"),
        &format!(
            "warning: http://{host}/api/v1/lineage did not take the event START of run zoo/first: "
        ),
    );
    // The beginning was taken, the end is not.
    let catalogue = Catalogue::new(&["200 OK", "503 Service Unavailable"]);
    let host = &catalogue.host;
    check(
        &format!("http://{host}?key=planted"),
        &format!(
            "warning: http://{host}/api/v1/lineage did not take the event FAIL of run zoo/first: it answered 503"
        ),
    );
    // A beginning that was not taken is told again at the end.
    let catalogue = Catalogue::new(&["503 Service Unavailable", "200 OK", "200 OK"]);
    let site = Site::on_disk();
    let answer = exec(&site, &format!("http://{}", catalogue.host), "true").done();
    assert_eq!(answer.err, "");
    let types = [(); 3].map(|()| {
        let event: Value = serde_json::from_str(&catalogue.next().body).unwrap();
        event["eventType"].as_str().unwrap().to_owned()
    });
    assert_eq!(types, ["START", "START", "COMPLETE"]);
}

#[cfg(unix)]
#[test]
fn what_a_program_prints_is_no_target() {
    let site = Site::on_disk();
    for (target, expected) in [
        ("-", "error: standard output is the program's; name a file"),
        (
            "http://ada:planted@host:port",
            "error: the address for the events is no URL",
        ),
    ] {
        let answer = exec(&site, target, "echo on");
        assert_eq!((answer.code, answer.text().as_str()), (2, ""));
        assert!(
            answer.err.starts_with(expected) && !answer.err.contains("planted"),
            "{}",
            answer.err
        );
    }
    assert!(!site.path("root").exists());
}
