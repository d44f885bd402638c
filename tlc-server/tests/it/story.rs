//! A table's whole life, as two people lead it with the command alone: in a folder, and on servers.

use serde_json::{Value, json};

use crate::servers;
use crate::site::{Answer, Site};

#[test]
fn in_a_folder() {
    tell(&Site::on_disk());
}

#[test]
fn on_s3() {
    tell(&Site::at(Some(servers::s3())));
}

#[test]
fn on_azure() {
    tell(&Site::at(Some(servers::azure())));
}

fn tell(site: &Site) {
    ada_and_ben_part(site);
    nothing_is_decided_for_them(site);
    whatever_decides_both_sides_other_edits_are_in(site);
    main_gets_it_and_says_who_did_what(site);
    what_was_done_is_undone_and_done_elsewhere(site);
    the_house_is_in_order(site);
}

/// `PROGRAM ARGUMENT…` without quotes: words of a line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn tlc(site: &Site, line: &str) -> Answer {
    site.tlc(&words(line))
}

#[track_caller]
fn check(site: &Site, line: &str, expected: &str) {
    site.check(&words(line), expected);
}

#[track_caller]
fn write(site: &Site, statement: &str, expected: &str) {
    let expected = format!("zoo/animals {expected}, SIZE");
    let args = ["sql", statement, "-m", statement];
    let found = site.masked(&args);
    assert!(found.starts_with(&expected), "{statement}: {found}");
}

/// The rows of a revision, as `name:legs:tame …`.
fn rows(site: &Site, revision: &str) -> String {
    let query = format!("SELECT name, legs, tame FROM zoo.\"animals@{revision}\" ORDER BY _rowid");
    let rows = site.json(&["sql", &query]);
    let cell = |value: &Value| value.to_string().replace('"', "");
    let row = |row: &Value| {
        ["name", "legs", "tame"]
            .map(|name| cell(&row[name]))
            .join(":")
    };
    let rows = rows.as_array().unwrap().iter().map(row);
    rows.collect::<Vec<_>>().join(" ")
}

fn ada_and_ben_part(site: &Site) {
    site.write(
        "animals.csv",
        "name,legs,tame\ncat,4,true\nant,6,false\nwolf,4,false\nsnake,,false\n",
    );
    let import = "import animals.csv zoo/animals -m animals";
    check(site, import, "zoo/animals r0: 4 rows, SIZE\n");
    let branch = "table branch zoo/animals ben";
    check(site, branch, "zoo/animals: branch ben at r0\n");
    for (statement, expected) in [
        // Ada, on main.
        (
            "UPDATE zoo.animals SET legs = 3 WHERE name = 'cat'",
            "r2: 1 cell in 1 row",
        ),
        (
            "UPDATE zoo.animals SET tame = true WHERE _rowid = 2",
            "r3: 1 cell in 1 row",
        ),
        // Ben, on his branch.
        (
            "UPDATE zoo.\"animals@ben\" SET legs = legs * 2 WHERE name = 'cat'",
            "r4 on ben: 1 cell in 1 row",
        ),
        (
            "UPDATE zoo.\"animals@ben\" SET legs = 0 WHERE legs IS NULL",
            "r5 on ben: 1 cell in 1 row",
        ),
        (
            "DELETE FROM zoo.\"animals@ben\" WHERE name = 'ant'",
            "r6 on ben: 1 row",
        ),
        (
            "INSERT INTO zoo.\"animals@ben\" VALUES ('owl', 2, false)",
            "r7 on ben: 1 row",
        ),
    ] {
        write(site, statement, expected);
    }
    let ben = "cat:8:true wolf:4:false snake:0:false owl:2:false";
    assert_eq!(rows(site, "ben"), ben);
    let main = "cat:3:true ant:6:false wolf:4:true snake:null:false";
    assert_eq!(rows(site, "main"), main);
}

fn nothing_is_decided_for_them(site: &Site) {
    let merge = tlc(site, "table merge zoo/animals ben");
    let cells = "\
_rowid  column  base  ours  theirs
──────  ──────  ────  ────  ──────
     0  legs    4     3     8
";
    assert_eq!((merge.code, merge.text().as_str()), (3, cells));
    let says = "error: 1 cell was changed differently on both sides; nothing was written\nhint: ";
    assert!(merge.err.starts_with(says), "{}", merge.err);
    let log = site.json(&["table", "log", "zoo/animals", "-n", "1"]);
    assert_eq!(log[0]["revision"], 7, "there is no revision of the merge");
}

/// Each on a branch of its own, which begins at `main`.
fn whatever_decides_both_sides_other_edits_are_in(site: &Site) {
    let merge = tlc(site, "table merge zoo/animals ben --json");
    let mut conflicts: Value = serde_json::from_slice(&merge.out).unwrap();
    conflicts[0]["take"] = json!("theirs");
    site.write("decided.json", &conflicts.to_string());
    site.write("decided.csv", "_rowid,column,take,value\n0,legs,,5\n");
    let query = "SELECT 0 AS _rowid, 'legs' AS \"column\", 'null' AS take";
    site.tlc(&["sql", query, "-o", "decided.parquet"]).done();
    for (branch, decides, legs) in [
        ("a", "--ours", "3"),
        ("b", "--theirs", "8"),
        ("c", "--resolve decided.json", "8"),
        ("d", "--resolve decided.csv", "5"),
        ("e", "--resolve decided.parquet", "null"),
    ] {
        tlc(site, &format!("table branch zoo/animals {branch}")).done();
        tlc(
            site,
            &format!("table merge zoo/animals@{branch} ben {decides}"),
        )
        .done();
        let expected = format!("cat:{legs}:true wolf:4:true snake:0:false owl:2:false");
        assert_eq!(rows(site, branch), expected, "{decides}");
        tlc(site, &format!("table branch zoo/animals {branch} -d")).done();
    }
}

fn main_gets_it_and_says_who_did_what(site: &Site) {
    let merge = "table merge zoo/animals ben --resolve decided.csv";
    let merged = "zoo/animals r23: merged ben (r7) into main: 2 cells in 4 rows, SIZE\n";
    check(site, merge, merged);
    let tag = "table tag zoo/animals gold -m published";
    check(site, tag, "zoo/animals: tag gold at r23\n");
    let diff = "
        _rowid  column  old   new
        ──────  ──────  ────  ───
             0  legs    3     5
             3  legs    null  0
        2 cells set
        1 row added (_rowid 4)
        1 row dropped (_rowid 1)
        ";
    check(site, "table diff zoo/animals 3 gold", diff);
    check(site, "table diff zoo/animals 3..gold", diff);
    check(site, "table diff zoo/animals 3", diff);
    let blame = "
        _rowid  legs  revision  time                         author  message
        ──────  ────  ────────  ───────────────────────────  ──────  ────────────────────────────────────────────────────────
             0  5     r23       TIME  ada     merge ben into main
             2  4     r0        TIME  ada     animals
             3  0     r5        TIME  ada     UPDATE zoo.\"animals@ben\" SET legs = 0 WHERE legs IS NULL
             4  2     r7        TIME  ada     INSERT INTO zoo.\"animals@ben\" VALUES ('owl', 2, false)
        (4 cells)
        ";
    check(site, "table blame zoo/animals legs", blame);
    let drawn = [
        "* r23 main, tag gold",
        "|\\",
        "| * r7 ben",
        "| * r6",
        "| * r5",
        "| * r4",
    ];
    let rest = ["* | r3", "* | r2", "|/", "* r0"];
    let log = tlc(site, "table log zoo/animals@gold").done().text();
    let shown: Vec<String> = log.lines().skip(2).map(graph).collect();
    assert_eq!(shown, [&drawn[..], &rest[..]].concat(), "{log}");
    let newest = tlc(site, "table log zoo/animals@gold -n 2").done().text();
    let lines: Vec<String> = newest.lines().skip(2).map(graph).collect();
    let expected = [&drawn[..3], &["(and 6 earlier revisions)"]].concat();
    assert_eq!(lines, expected, "{newest}");
}

/// The graph, the revision and its names, of a line of the log.
fn graph(line: &str) -> String {
    let words = line.split_whitespace();
    let shown: Vec<&str> = words.take_while(|word| !word.ends_with('Z')).collect();
    shown.join(" ")
}

fn what_was_done_is_undone_and_done_elsewhere(site: &Site) {
    let before = rows(site, "3");
    check(
        site,
        "table revert zoo/animals gold",
        "zoo/animals r25: reverted r23 on main: 2 cells in 4 rows, SIZE\n",
    );
    assert_eq!(rows(site, "main"), before);
    check(
        site,
        "table cherry-pick zoo/animals 5",
        "zoo/animals r26: picked r5 onto main: 1 cell in 1 row, SIZE\n",
    );
    let picked = before.replace("snake:null", "snake:0");
    assert_eq!(rows(site, "main"), picked);
    let again = "table revert zoo/animals 4 --json";
    assert_eq!(tlc(site, again).code, 3, "Ada had set that cell, too");
}

fn the_house_is_in_order(site: &Site) {
    let (main, gold) = (rows(site, "main"), rows(site, "gold"));
    let compacted = site.json(&["table", "compact", "zoo/animals"]);
    assert_eq!(compacted["revision"], 27);
    assert_eq!((rows(site, "main"), rows(site, "gold")), (main, gold));
    let verified = site.json(&["verify"]);
    assert_eq!(verified["damaged"], false, "{verified}");
    assert_eq!(verified["findings"], json!([]));
    let garbage = site.json(&["gc"]);
    assert_eq!(garbage["files"], json!([]), "all are young");
    let listed = site.json(&["ls", "zoo"]);
    assert_eq!(listed["tables"][0]["rows"], 4);
}
