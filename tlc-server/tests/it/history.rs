//! The verbs for history: branches and tags, merge, revert and cherry-pick, blame, columns and classes.

use serde_json::{Value, json};
use tlc_core::{CommitOptions, Patch, block_on};

use crate::site::{Answer, Site};

/// The words of a command line; none of them has a space in it.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn tlc(site: &Site, line: &str) -> Answer {
    site.tlc(&words(line))
}

fn answer(site: &Site, line: &str) -> Value {
    site.json(&words(line))
}

#[track_caller]
fn check(site: &Site, line: &str, expected: &str) {
    site.check(&words(line), expected);
}

fn edit(site: &Site, table: &str, set: &str, condition: &str) {
    let args = ["table", "edit", table, "--set", set, "--where", condition];
    site.tlc(&[&args[..], &["-m", set]].concat()).done();
}

/// Changes a branch of `zoo/animals` by what the command has no verb for.
fn change(site: &Site, branch: &str, change: impl FnOnce(&mut Patch)) {
    let project = site.opened().project("zoo").unwrap();
    block_on(async {
        let table = project.table("animals").await?;
        let mut patch = table.branch(branch).await?.patch();
        change(&mut patch);
        let options = CommitOptions::new("by hand").branch(branch);
        table.commit(&patch, options).await
    })
    .unwrap();
}

/// The legs of a snapshot, as CSV without its heading.
fn legs(site: &Site, revision: &str) -> String {
    let query = format!("SELECT legs FROM zoo.\"animals@{revision}\" ORDER BY _rowid");
    let answer = site.tlc(&["sql", &query, "--format", "csv"]).done();
    let legs = answer.text().replace("\"\"", "null");
    legs.lines().skip(1).collect::<Vec<_>>().join(" ")
}

/// `fix` and `main` each set the legs of row 0 differently: r2 and r3.
fn parted() -> Site {
    let site = Site::with_animals();
    tlc(&site, "table branch zoo/animals fix").done();
    edit(&site, "zoo/animals@fix", "legs=8", "_rowid=0");
    edit(&site, "zoo/animals", "legs=3", "_rowid=0");
    site
}

#[test]
fn a_branch_is_a_name_that_moves() {
    let site = Site::with_animals();
    check(
        &site,
        "table branch zoo/animals fix",
        "zoo/animals: branch fix at r0\n",
    );
    edit(&site, "zoo/animals@fix", "legs=8", "_rowid=0");
    let list = "
        branch  revision  time                         author  message
        ──────  ────────  ───────────────────────────  ──────  ─────────────
        fix     r2        TIME  ada     legs=8
        main    r0        TIME  ada     first animals
        ";
    check(&site, "table branch zoo/animals", list);
    assert_eq!(
        (legs(&site, "fix"), legs(&site, "main")),
        ("8 6 4 null".into(), "4 6 4 null".into())
    );
    let listed = answer(&site, "table branch zoo/animals");
    assert_eq!(listed[0]["name"], "fix");
    assert_eq!(listed[0]["revision"], 2);
    let made = answer(&site, "table branch zoo/animals older --at 0");
    assert_eq!(
        made,
        json!({"table": "zoo/animals", "kind": "branch", "name": "older", "revision": 0, "dropped": false})
    );
    check(
        &site,
        "table branch zoo/animals fix --drop",
        "zoo/animals: branch fix is gone; it was at r2\n",
    );
    assert_eq!(legs(&site, "2"), "8 6 4 null");
    assert_eq!(tlc(&site, "table show zoo/animals@fix").code, 4);
}

#[test]
fn a_tag_is_a_name_that_stays() {
    let site = Site::with_animals();
    check(&site, "table tag zoo/animals", "no tag yet\n");
    check(
        &site,
        "table tag zoo/animals gold -m published --author grace",
        "zoo/animals: tag gold at r0\n",
    );
    edit(&site, "zoo/animals", "legs=8", "_rowid=0");
    assert_eq!(legs(&site, "gold"), "4 6 4 null");
    let list = "
        tag   revision  time                         author  message
        ────  ────────  ───────────────────────────  ──────  ─────────
        gold  r0        TIME  grace   published
        ";
    check(&site, "table tag zoo/animals", list);
    let shown = answer(&site, "table show zoo/animals@gold");
    assert_eq!(
        (&shown["tags"], &shown["heads"]),
        (&json!(["gold"]), &json!([]))
    );
    let text = tlc(&site, "table show zoo/animals@gold").done().text();
    assert!(
        text.starts_with("zoo/animals r0 (tag gold): 4 rows"),
        "{text}"
    );
    check(
        &site,
        "table tag zoo/animals gold --drop",
        "zoo/animals: tag gold is gone; it was at r0\n",
    );
    assert_eq!(answer(&site, "table tag zoo/animals"), json!([]));
}

#[test]
fn a_name_is_given_once_and_to_what_is_there() {
    let site = Site::with_animals();
    tlc(&site, "table tag zoo/animals gold").done();
    for (line, code, hint) in [
        ("table branch zoo/animals gold", 3, "take another name"),
        ("table tag zoo/animals main", 3, "take another name"),
        (
            "table tag zoo/animals new --at 9",
            4,
            "`tlc table log zoo/animals`",
        ),
        ("table tag zoo/animals 7", 1, ""),
        ("table tag zoo/animals absent --drop", 4, ""),
        ("table branch zoo/animals main --drop", 1, ""),
        ("table branch zoo/animals@0 new", 2, "--at 0"),
        ("table branch zoo/animals --drop", 2, ""),
        ("table branch zoo/animals x --drop --at 0", 2, ""),
        (
            "table edit zoo/animals@gold --set legs=1 --where true -m x",
            2,
            "--at gold",
        ),
        (
            "table edit zoo/animals@absent --set legs=1 --where true -m x",
            4,
            "lists the branches",
        ),
    ] {
        let answer = tlc(&site, line);
        assert_eq!(answer.code, code, "{line}: {}", answer.err);
        assert!(answer.err.contains(hint), "{line}: {}", answer.err);
    }
}

#[test]
fn a_merge_brings_what_only_one_side_changed() {
    let site = Site::with_animals();
    tlc(&site, "table branch zoo/animals fix").done();
    edit(&site, "zoo/animals@fix", "legs=8", "_rowid=0");
    edit(&site, "zoo/animals", "legs=3", "_rowid=1");
    check(
        &site,
        "table merge zoo/animals fix",
        "zoo/animals r4: merged fix (r2) into main: 1 cell in 1 row, SIZE\n",
    );
    assert_eq!(legs(&site, "main"), "8 3 4 null");
    check(
        &site,
        "table merge zoo/animals fix",
        "already up to date: main (r4) has all of fix (r2)\n",
    );
    check(
        &site,
        "table merge zoo/animals@fix main -m forward",
        "zoo/animals r5: fix is fast-forwarded to main (r4), SIZE\n",
    );
    assert_eq!(legs(&site, "fix"), "8 3 4 null");
    let text = tlc(&site, "table log zoo/animals").done().text();
    let drawn: Vec<String> = text.lines().skip(2).map(graph).collect();
    let expected = [
        "* r5 fix",
        "|\\",
        "* | r4 main",
        "|\\ \\",
        "| |/",
        "* | r3",
        "| * r2",
        "|/",
        "* r0",
    ];
    assert_eq!(drawn, expected, "{text}");
    let led = answer(&site, "table log zoo/animals@2");
    let led = led.as_array().unwrap().iter();
    assert_eq!(
        led.map(|record| &record["revision"]).collect::<Vec<_>>(),
        [2, 0]
    );
}

/// The graph, the revision and its names, of a line of the log.
fn graph(line: &str) -> String {
    let mut words = line.split_whitespace();
    let shown: Vec<&str> = words
        .by_ref()
        .take_while(|word| !word.ends_with('Z'))
        .collect();
    shown.join(" ")
}

#[test]
fn a_merge_says_what_it_did_to_programs() {
    let site = Site::with_animals();
    tlc(&site, "table branch zoo/animals fix").done();
    edit(&site, "zoo/animals@fix", "legs=8", "_rowid=0");
    let merged = answer(&site, "table merge zoo/animals fix");
    assert_eq!(merged["result"], "fast-forward");
    let again = answer(&site, "table merge zoo/animals fix");
    assert_eq!(
        (&again["result"], &again["bytes"]),
        (&json!("nothing"), &json!(0))
    );
    let log = answer(&site, "table log zoo/animals");
    check(
        &site,
        "table revert zoo/animals 3",
        "zoo/animals r4: reverted r3 on main: 1 cell in 1 row, SIZE\n",
    );
    assert_eq!(log[0]["message"], "merge fix into main");
    assert_eq!(
        (&log[0]["heads"], &log[1]["heads"]),
        (&json!(["main"]), &json!(["fix"]))
    );
}

#[test]
fn a_conflict_is_exit_code_3_and_its_cells() {
    let site = parted();
    let answer = tlc(&site, "table merge zoo/animals fix");
    let expected = "\
_rowid  column  base  ours  theirs
──────  ──────  ────  ────  ──────
     0  legs    4     3     8
";
    assert_eq!((answer.code, answer.text().as_str()), (3, expected));
    assert!(
        answer.err.starts_with("error: 1 cell was changed differently on both sides; nothing was written\nhint: add --ours"),
        "{}",
        answer.err
    );
    let answer = tlc(&site, "table merge zoo/animals fix --json");
    let cells: Value = serde_json::from_slice(&answer.out).unwrap();
    assert_eq!(
        cells,
        json!([{"_rowid": 0, "column": "legs", "base": 4, "ours": 3, "theirs": 8}])
    );
    let err: Value = serde_json::from_str(&answer.err).unwrap();
    assert_eq!((answer.code, &err["kind"]), (3, &json!("conflict")));
    assert_eq!(legs(&site, "main"), "3 6 4 null");
}

#[test]
fn a_side_is_taken_where_it_is_said() {
    for (flag, expected) in [("--ours", "3 6 4 null"), ("--theirs", "8 6 4 null")] {
        let site = parted();
        tlc(&site, &format!("table merge zoo/animals fix {flag}")).done();
        assert_eq!(legs(&site, "main"), expected, "{flag}");
    }
    let site = parted();
    assert_eq!(
        tlc(&site, "table merge zoo/animals fix --ours --theirs").code,
        2
    );
}

#[test]
fn a_file_decides_cell_by_cell() {
    for (name, text, expected) in [
        (
            "a.csv",
            "_rowid,column,take,value\n0,legs,,5\n",
            "5 6 4 null",
        ),
        ("a.csv", "column,_rowid,take\nlegs,0,theirs\n", "8 6 4 null"),
        (
            "a.csv",
            "_rowid,column,take\n0,legs,null\n",
            "null 6 4 null",
        ),
        (
            "a.jsonl",
            "{\"_rowid\":0,\"column\":\"legs\",\"take\":\"ours\"}\n",
            "3 6 4 null",
        ),
    ] {
        let site = parted();
        site.write(name, text);
        tlc(
            &site,
            &format!("table merge zoo/animals fix --resolve {name}"),
        )
        .done();
        assert_eq!(legs(&site, "main"), expected, "{text}");
    }
    let site = parted();
    site.write("a.csv", "_rowid,column,take\n0,legs,\n");
    assert_eq!(
        tlc(&site, "table merge zoo/animals fix --resolve a.csv").code,
        3
    );
    tlc(
        &site,
        "table merge zoo/animals fix --resolve a.csv --theirs",
    )
    .done();
    assert_eq!(
        tlc(
            &parted(),
            "table merge zoo/animals fix --resolve absent.csv"
        )
        .code,
        4
    );
}

#[test]
fn the_conflicts_are_the_file_that_decides_them() {
    let site = parted();
    let answer = tlc(&site, "table merge zoo/animals fix --json");
    let mut cells: Value = serde_json::from_slice(&answer.out).unwrap();
    cells[0]["take"] = json!("theirs");
    site.write("cells.json", &cells.to_string());
    tlc(&site, "table merge zoo/animals fix --resolve cells.json").done();
    assert_eq!(legs(&site, "main"), "8 6 4 null");
}

#[test]
fn a_dropped_row_is_said_to_be_dropped() {
    let site = Site::with_animals();
    tlc(&site, "table branch zoo/animals fix").done();
    edit(&site, "zoo/animals@fix", "legs=8", "_rowid=0");
    change(&site, "main", |patch| patch.drop_rows(&[0]));
    let conflict = tlc(&site, "table merge zoo/animals fix");
    let row = conflict
        .text()
        .lines()
        .nth(2)
        .unwrap_or_default()
        .to_owned();
    assert_eq!(
        words(&row),
        ["0", "legs", "4", "dropped", "8"],
        "{}",
        conflict.err
    );
    let conflict = tlc(&site, "table merge zoo/animals fix --json");
    let cells: Value = serde_json::from_slice(&conflict.out).unwrap();
    assert_eq!(cells[0]["dropped"], "ours");
}

#[test]
fn a_class_is_named_in_conflicts_and_what_decides_them() {
    let site = Site::with_pictures();
    tlc(&site, "table class zoo/pictures animal add bird").done();
    tlc(&site, "table branch zoo/pictures fix").done();
    edit(&site, "zoo/pictures@fix", "animal='dog'", "_rowid=0");
    edit(&site, "zoo/pictures", "animal='bird'", "_rowid=0");
    let conflict = tlc(&site, "table merge zoo/pictures fix");
    let row = conflict
        .text()
        .lines()
        .nth(2)
        .unwrap_or_default()
        .to_owned();
    assert_eq!(words(&row), ["0", "animal", "cat", "bird", "dog"]);
    site.write("a.csv", "_rowid,column,value\n0,animal,cow\n");
    let wrong = tlc(&site, "table merge zoo/pictures fix --resolve a.csv");
    assert!(
        wrong.code == 1 && wrong.err.contains("cow"),
        "{}",
        wrong.err
    );
    site.write("a.csv", "_rowid,column,value\n0,animal,cat\n");
    tlc(&site, "table merge zoo/pictures fix --resolve a.csv").done();
    let query = "SELECT label_name(animal) AS a FROM zoo.pictures WHERE _rowid = 0";
    assert_eq!(site.json(&["sql", query]), json!([{"a": "cat"}]));
}

#[test]
fn a_revert_undoes_one_or_several() {
    let site = Site::with_animals();
    for legs in [1, 2, 3] {
        edit(
            &site,
            "zoo/animals",
            &format!("legs={legs}"),
            &format!("_rowid={legs}"),
        );
    }
    check(
        &site,
        "table revert zoo/animals 2",
        "zoo/animals r4: reverted r2 on main: 1 cell in 1 row, SIZE\n",
    );
    assert_eq!(legs(&site, "main"), "4 1 4 3");
    check(
        &site,
        "table revert zoo/animals 2..4 -m back",
        "zoo/animals r5: reverted r3 to r4 on main: 2 cells in 2 rows, SIZE\n",
    );
    assert_eq!(legs(&site, "main"), "4 1 2 null");
    let first = tlc(&site, "table revert zoo/animals 0");
    assert!(
        first.code == 1 && first.err.contains("r0 made the table"),
        "{}",
        first.err
    );
    assert_eq!(tlc(&site, "table revert zoo/animals 3..1").code, 1);
    assert_eq!(tlc(&site, "table revert zoo/animals 1..9").code, 4);
}

#[test]
fn a_revert_of_what_was_set_again_is_a_conflict() {
    let site = Site::with_animals();
    edit(&site, "zoo/animals", "legs=5", "_rowid=0");
    edit(&site, "zoo/animals", "legs=6", "_rowid=0");
    let conflict = tlc(&site, "table revert zoo/animals 1");
    let row = conflict
        .text()
        .lines()
        .nth(2)
        .unwrap_or_default()
        .to_owned();
    assert_eq!(words(&row), ["0", "legs", "5", "6", "4"]);
    let reverted = answer(&site, "table revert zoo/animals 1 --theirs");
    assert_eq!(
        (&reverted["result"], &reverted["cells"]),
        (&json!("reverted"), &json!(1))
    );
    assert_eq!(legs(&site, "main"), "4 6 4 null");
}

#[test]
fn a_cherry_pick_does_once_more_what_one_revision_did() {
    let site = Site::with_animals();
    tlc(&site, "table branch zoo/animals fix").done();
    edit(&site, "zoo/animals@fix", "legs=8", "_rowid=0");
    edit(&site, "zoo/animals@fix", "legs=9", "_rowid=1");
    check(
        &site,
        "table cherry-pick zoo/animals 3",
        "zoo/animals r4: picked r3 onto main: 1 cell in 1 row, SIZE\n",
    );
    assert_eq!(legs(&site, "main"), "4 9 4 null");
    assert_eq!(
        answer(&site, "table log zoo/animals")[0]["message"],
        "legs=9"
    );
}

#[test]
fn blame_says_who_set_a_cell() {
    let site = Site::with_animals();
    tlc(&site, "table branch zoo/animals fix").done();
    edit(&site, "zoo/animals@fix", "legs=8", "_rowid=0");
    edit(&site, "zoo/animals", "legs=3", "_rowid=1");
    tlc(&site, "table merge zoo/animals fix").done();
    let text = "
        _rowid  legs  revision  time                         author  message
        ──────  ────  ────────  ───────────────────────────  ──────  ─────────────
             0  8     r2        TIME  ada     legs=8
             1  3     r3        TIME  ada     legs=3
             2  4     r0        TIME  ada     first animals
             3  null  r0        TIME  ada     first animals
        (4 cells)
        ";
    check(&site, "table blame zoo/animals legs", text);
    let short = tlc(&site, "table blame zoo/animals legs --limit 1")
        .done()
        .text();
    assert!(
        short.ends_with(
            "(the first 1 of 4 cells; for more of them use --limit, --rows, --where or --json)\n"
        ),
        "{short}"
    );
    let blamed = answer(&site, "table blame zoo/animals@3 legs --rows 1,0");
    let pick = |cell: &Value| ["_rowid", "value", "revision"].map(|key| cell[key].clone());
    let cells: Vec<_> = blamed.as_array().unwrap().iter().map(pick).collect();
    assert_eq!(
        cells,
        [
            [json!(0), json!(4), json!(0)],
            [json!(1), json!(3), json!(3)]
        ]
    );
    let eight = answer(&site, "table blame zoo/animals name --where legs=8");
    assert_eq!(eight.as_array().unwrap().len(), 1);
    assert_eq!(
        (&eight[0]["value"], &eight[0]["author"]),
        (&json!("cat"), &json!("ada"))
    );
    assert_eq!(
        answer(&site, "table blame zoo/animals name --where false"),
        json!([])
    );
    for (line, code) in [
        ("table blame zoo/animals wings", 4),
        ("table blame zoo/animals legs --rows 9", 4),
        ("table blame zoo/animals legs --where legs==", 1),
        ("table blame zoo/animals legs --rows x", 2),
    ] {
        assert_eq!(tlc(&site, line).code, code, "{line}");
    }
}

#[test]
fn a_column_is_renamed_dropped_and_described() {
    let site = Site::with_animals();
    tlc(&site, "table branch zoo/animals fix").done();
    tlc(&site, "table column zoo/animals@fix rename legs feet").done();
    tlc(
        &site,
        "table column zoo/animals@fix role name text -m words",
    )
    .done();
    check(
        &site,
        "table column zoo/animals@fix drop tame",
        "zoo/animals r4: drop column tame on fix, SIZE\n",
    );
    let expected = "
        0 cells set
        column tame dropped
        column name: role none is now text
        column legs renamed to feet
        ";
    check(&site, "table diff zoo/animals main fix", expected);
    let found = answer(&site, "table diff zoo/animals main fix");
    assert_eq!(
        found[0],
        json!({"_rowid": null, "column": "tame", "old": {"name": "tame", "type": "Boolean", "role": null, "classes": []}, "new": null})
    );
    assert_eq!(
        (
            &found[2]["column"],
            &found[2]["old"]["name"],
            &found[2]["new"]["name"]
        ),
        (&json!("feet"), &json!("legs"), &json!("feet"))
    );
    let messages = answer(&site, "table log zoo/animals@fix");
    let messages: Vec<_> = (0..3).map(|at| messages[at]["message"].clone()).collect();
    assert_eq!(
        messages,
        ["drop column tame", "words", "rename column legs to feet"]
    );
    let same = tlc(&site, "table column zoo/animals@fix role name text").done();
    assert!(same.err.starts_with("nothing to change"), "{}", same.err);
    for (line, code) in [
        ("table column zoo/animals rename legs name", 3),
        ("table column zoo/animals rename wings x", 4),
        ("table column zoo/animals role legs image", 1),
        ("table column zoo/animals role legs king", 1),
    ] {
        assert_eq!(tlc(&site, line).code, code, "{line}");
    }
}

#[test]
fn classes_are_renamed_added_and_merged() {
    let site = Site::with_pictures();
    tlc(&site, "table class zoo/pictures animal rename dog wolf").done();
    tlc(&site, "table class zoo/pictures animal add bird").done();
    check(
        &site,
        "table class zoo/pictures animal merge wolf cat -m both",
        "zoo/pictures r3: merge class wolf of animal into cat: 1 cell in 1 row, SIZE\n",
    );
    let expected = "
        _rowid  column  old  new
        ──────  ──────  ───  ───
             1  animal  dog  cat
        1 cell set
        column animal: class dog renamed to wolf
        column animal: class wolf merged into cat
        column animal: class bird added
        ";
    check(&site, "table diff zoo/pictures 0 main", expected);
    let shown = answer(&site, "table show zoo/pictures");
    assert_eq!(shown["columns"][0]["classes"][1]["merged_into"], 0);
    let text = tlc(&site, "table show zoo/pictures").done().text();
    assert!(text.contains("label  cat, bird\n"), "{text}");
    assert_eq!(
        tlc(&site, "table class zoo/pictures animal add cat").code,
        3
    );
    assert_eq!(tlc(&site, "table class zoo/pictures note add cat").code, 1);
}
