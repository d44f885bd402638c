//! Eight processes that log into one run at once, and `tlc sql` in a loop beside them.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tlc_core::{Project, RunOptions, block_on};

use crate::site::Site;

/// In the folder of a child: its rank.
const TASK: &str = "logs-as-a-rank";

const RANKS: i64 = 8;
const STEPS: i64 = 20_000;

/// Not a test of its own: the processes of the one below. Does nothing elsewhere.
#[test]
fn child_process() {
    let Ok(rank) = fs::read_to_string(TASK) else {
        return;
    };
    let rank: i32 = rank.parse().unwrap();
    let project = block_on(Project::open("../root", "zoo")).unwrap();
    let options = RunOptions::from("together").launch("one").rank(rank);
    let run = project.start_run(options.without_system()).unwrap();
    for step in 0..STEPS {
        run.log(step, &[("loss", f64::from(rank)), ("one", 1.0)]);
    }
    assert_eq!(run.finish().unwrap().warning(), None);
}

fn child(site: &Site, rank: i64) -> Child {
    let folder = site.path(&format!("rank-{rank}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(TASK), rank.to_string()).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ranks::child_process"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn ranks_log_into_one_run_while_somebody_asks_again_and_again() {
    let site = Site::on_disk();
    site.write("animals.csv", "name,legs\ncat,4\n");
    site.tlc(&["import", "animals.csv", "zoo/animals"]).done();
    let mut children: Vec<Child> = (0..RANKS).map(|rank| child(&site, rank)).collect();
    let count =
        "SELECT count(*) AS n, count(DISTINCT rank) AS ranks FROM zoo.scalars WHERE name = 'one'";
    let (mut before, mut n_asked) = (0, 0);
    while children
        .iter_mut()
        .any(|child| child.try_wait().unwrap().is_none())
    {
        let n = site.json(&["sql", count])[0]["n"].as_i64().unwrap();
        assert!(n >= before, "{n} after {before}");
        (before, n_asked) = (n, n_asked + 1);
    }
    assert!(n_asked > 0);
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(
        site.json(&["sql", count]),
        json!([{"n": RANKS * STEPS, "ranks": RANKS}])
    );
    let spread = "SELECT count(*) AS steps, min(low) AS low, max(high) AS high, sum(total) AS total FROM \
        (SELECT step, min(value) AS low, max(value) AS high, sum(value) AS total FROM zoo.scalars \
         WHERE run = 'together' AND name = 'loss' GROUP BY step)";
    assert_eq!(
        site.json(&["sql", spread]),
        json!([{"steps": STEPS, "low": 0.0, "high": 7.0, "total": 28.0 * 20_000.0}])
    );
    let run = site.json(&["run", "show", "zoo/together"]);
    assert_eq!(run["status"], json!("completed"));
}
