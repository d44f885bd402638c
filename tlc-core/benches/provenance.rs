//! What finding out what a run is made of costs the start and the end of a run: in a Git repository of 10,000 files, with and without changes, next to
//! the same program outside of any repository, and to `git status`.
//!
//! `cargo bench --bench provenance`: a minute. Each run is a process of its own, since the code is looked at once in each.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tlc_core::{Project, block_on};

const FILES: usize = 10_000;
const ROUNDS: usize = 21;

/// One run: how long its start took, and how long all of it.
fn child() {
    let project = block_on(Project::open("memory:///", "bench")).unwrap();
    let start = Instant::now();
    let run = project.start_run("run").unwrap();
    let started = start.elapsed();
    let record = run.finish().unwrap();
    let ended = start.elapsed();
    let has_code = record.code.is_some_and(|code| code.commit.is_some());
    println!("{} {} {has_code}", started.as_micros(), ended.as_micros());
}

/// The times of a run that is started in a folder, and whether its commit is known.
fn run_in(folder: &Path) -> (Duration, Duration, bool) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.arg("--child").current_dir(folder).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let micros = |at: usize| Duration::from_micros(words[at].parse().unwrap());
    (micros(0), micros(1), words[2] == "true")
}

fn git(folder: &Path, args: &[&str]) -> Duration {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=a", "-c", "user.email=a@b"]);
    let start = Instant::now();
    let output = git.args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    start.elapsed()
}

fn repository() -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in 0..FILES {
        let parent = folder
            .path()
            .join(format!("part{}/sub{}", file % 20, file % 97));
        std::fs::create_dir_all(&parent).unwrap();
        let text = format!("// File {file}\n").repeat(20 + file % 200);
        std::fs::write(parent.join(format!("file{file}.rs")), text).unwrap();
    }
    git(folder.path(), &["init", "-q"]);
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "-q", "-m", "all"]);
    folder
}

/// The time that `percent` of them do not exceed, but for the first, which fills caches.
fn quantile(times: impl IntoIterator<Item = Duration>, percent: usize) -> Duration {
    let mut times: Vec<Duration> = times.into_iter().skip(1).collect();
    times.sort();
    times[times.len() * percent / 100]
}

fn main() {
    if std::env::args().any(|arg| arg == "--child") {
        child();
        return;
    }
    let (outside, repository) = (TempDir::new().unwrap(), repository());
    for is_changed in [false, true] {
        if is_changed {
            let file = repository.path().join("part0/sub0/file0.rs");
            std::fs::write(file, "// Changed\n").unwrap();
            std::fs::write(repository.path().join("new.rs"), "// New\n").unwrap();
        }
        let (mut inside, mut beside, mut status) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..=ROUNDS {
            inside.push(run_in(repository.path()));
            beside.push(run_in(outside.path()));
            status.push(git(repository.path(), &["status", "--porcelain"]));
        }
        assert!(inside.iter().all(|times| times.2) && beside.iter().all(|times| !times.2));
        let what = if is_changed {
            "two changes"
        } else {
            "no changes"
        };
        for (name, times) in [("inside", &inside), ("outside", &beside)] {
            let (start, whole) = (times.iter().map(|t| t.0), times.iter().map(|t| t.1));
            println!(
                "{what}, {name:<8} start {:>9.2?} (p90 {:>9.2?})   to the end {:>9.2?} (p90 {:>9.2?})",
                quantile(start.clone(), 50),
                quantile(start, 90),
                quantile(whole.clone(), 50),
                quantile(whole, 90),
            );
        }
        println!("{what}, git status {:>9.2?}", quantile(status, 50));
    }
}
