//! `tlc alias`, and what the other verbs make of aliases.

use std::fs::{self, File};
use std::sync::Arc;

use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tlc_core::arrow::array::{ArrayRef, RecordBatch, StringArray};
use tlc_core::arrow::datatypes::Schema;
use tlc_core::schema;

use crate::site::Site;

const CONFIG: &str = ".config/tlc/config.yaml";

/// A site with the table `zoo/photos`, whose paths lie in `/data` and elsewhere.
fn with_photos(args: &[&str]) -> Site {
    let site = Site::new();
    write_photos(&site, "photos.parquet");
    let import = ["import", "photos.parquet", "zoo/photos"];
    site.tlc(&[args, &import].concat()).done();
    site
}

fn write_photos(site: &Site, name: &str) {
    let paths: ArrayRef = Arc::new(StringArray::from(vec!["/data/1.jpg", "/home/2.jpg"]));
    let schema = Arc::new(Schema::new(vec![schema::image_url("photo")]));
    let batch = RecordBatch::try_new(schema, vec![paths]).unwrap();
    let file = File::create(site.path(name)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// The paths of `zoo/photos` as this call reads them.
fn paths(site: &Site, args: &[&str]) -> String {
    let query = ["sql", "SELECT photo FROM zoo.photos ORDER BY _rowid"];
    let rows = site.json(&[args, &query].concat());
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row["photo"].as_str().unwrap().to_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// `name value from` of each alias listed.
fn listed(site: &Site, args: &[&str]) -> Vec<String> {
    let views = site.json(&[&["alias", "list"], args].concat());
    let here = site.path("").display().to_string();
    let shown = |view: &Value| {
        let part = |key: &str| view[key].as_str().unwrap_or("-").replace(&here, "HERE/");
        format!("{} {} {}", part("name"), part("path"), part("from"))
    };
    views.as_array().unwrap().iter().map(shown).collect()
}

#[test]
fn a_table_written_with_an_alias_is_read_with_another() {
    let site = with_photos(&["--alias", "ZOO=/data"]);
    assert_eq!(paths(&site, &[]), "<ZOO>/1.jpg /home/2.jpg");
    assert_eq!(
        paths(&site, &["--alias", "ZOO=s3://zoo"]),
        "s3://zoo/1.jpg /home/2.jpg"
    );
    let mut command = site.command(&["table", "show", "zoo/photos"]);
    let answer = command.env("TLC_ALIAS_ZOO", "/mnt").output().unwrap();
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(text.contains("/mnt/1.jpg"), "{text}");
}

#[test]
fn the_one_nearest_to_the_call_wins() {
    let site = with_photos(&["--alias", "ZOO=/data"]);
    site.tlc(&["alias", "set", "ZOO", "/project", "--project", "zoo"])
        .done();
    assert_eq!(paths(&site, &[]), "/project/1.jpg /home/2.jpg");
    assert_eq!(
        listed(&site, &["zoo"]),
        ["ZOO /project aliases.yaml of the project"]
    );
    assert_eq!(listed(&site, &[]), [""; 0]);
    site.tlc(&["alias", "set", "ZOO", "/config"]).done();
    assert_eq!(paths(&site, &[]), "/config/1.jpg /home/2.jpg");
    assert_eq!(
        listed(&site, &["zoo"]),
        [format!("ZOO /config HERE/{CONFIG}")]
    );
    let with_variable = |args: &[&str]| {
        let mut command = site.command(args);
        let output = command.env("TLC_ALIAS_ZOO", "/env").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let query = ["sql", "SELECT photo FROM zoo.photos", "--format", "csv"];
    assert!(with_variable(&query).contains("/env/1.jpg"));
    assert!(
        with_variable(&[&query[..], &["--alias", "ZOO=/flag"]].concat()).contains("/flag/1.jpg")
    );
    let list = with_variable(&["alias", "list", "zoo"]);
    assert!(
        list.contains("/env") && list.contains("TLC_ALIAS_ZOO"),
        "{list}"
    );
    // Another project has aliases of its own, also in one query.
    write_photos(&site, "more.parquet");
    site.tlc(&[
        "import",
        "more.parquet",
        "farm/photos",
        "--alias",
        "ZOO=/data",
    ])
    .done();
    site.tlc(&["alias", "unset", "ZOO"]).done();
    site.tlc(&["alias", "set", "ZOO", "/farm", "--project", "farm"])
        .done();
    let both = "SELECT photo FROM zoo.photos WHERE photo LIKE '%1.jpg' UNION ALL SELECT photo FROM farm.photos WHERE photo LIKE '%1.jpg' ORDER BY photo";
    let expected = "
        photo
        /farm/1.jpg
        /project/1.jpg
        ";
    site.check(&["sql", both, "--format", "csv"], expected);
}

#[test]
fn what_is_set_is_listed_and_can_be_unset() {
    let site = Site::new();
    site.check(&["alias", "list"], "no alias is set\n");
    let view = site.json(&["alias", "set", "ZOO_PHOTOS", "data/"]);
    let here = site
        .path("data")
        .canonicalize()
        .unwrap_or(site.path("data"));
    let from = site.path(CONFIG);
    let expected =
        json!({"name": "ZOO_PHOTOS", "value": here, "path": here, "from": from, "warning": null});
    assert_eq!(view, expected);
    let text = fs::read_to_string(site.path(CONFIG)).unwrap();
    assert_eq!(
        text,
        format!("aliases:\n  ZOO_PHOTOS: {}\n", here.display())
    );
    fs::write(
        site.path(CONFIG),
        format!("# mine\nauthor: grace # me\n{text}"),
    )
    .unwrap();
    site.tlc(&["alias", "set", "RAW", "<ZOO_PHOTOS>/raw"])
        .done();
    let text = fs::read_to_string(site.path(CONFIG)).unwrap();
    assert!(
        text.starts_with("# mine\nauthor: grace # me\naliases:\n"),
        "{text}"
    );
    assert!(text.ends_with("  RAW: <ZOO_PHOTOS>/raw\n"), "{text}");
    let raw = here.join("raw").display().to_string();
    assert_eq!(site.json(&["alias", "list"])[0]["path"], json!(raw));
    site.tlc(&["alias", "unset", "ZOO_PHOTOS"]).done();
    let views = site.json(&["alias", "list"]);
    assert_eq!(
        (&views[0]["path"], views.as_array().unwrap().len()),
        (&Value::Null, 1)
    );
    assert!(
        views[0]["warning"].as_str().unwrap().contains("not set"),
        "{views}"
    );
    site.check_err(
        &["alias", "unset", "ZOO_PHOTOS"],
        4,
        "
        error: HERE/.config/tlc/config.yaml sets no alias \"ZOO_PHOTOS\"
        hint: `tlc alias list` and `tlc alias list PROJECT` show what is set
        ",
    );
}

#[test]
fn a_name_that_others_may_use_too_is_warned_of() {
    let site = Site::new();
    let answer = site.tlc(&["alias", "set", "DATA", "/data"]).done();
    assert!(
        answer.err.starts_with("warning: <DATA> is so general"),
        "{}",
        answer.err
    );
    let answer = site.tlc(&["alias", "list"]).done();
    assert!(
        answer.err.starts_with("warning: <DATA> is so general"),
        "{}",
        answer.err
    );
    let args = ["alias", "set", "DATA", "/project", "--project", "zoo"];
    let view = site.json(&args);
    let warning = view["warning"].as_str().unwrap();
    assert!(
        warning.contains("config.yaml sets DATA too, and wins here"),
        "{view}"
    );
}

#[test]
fn what_cannot_be_an_alias_is_refused() {
    let site = with_photos(&[]);
    site.check_err(
        &["alias", "set", "photos", "/data"],
        1,
        "
        error: \"photos\" cannot name an alias; take capital letters, digits and _, beginning with a letter, such as PHOTOS
        ",
    );
    let answer = site.tlc(&["alias", "set", "A", "s3://key:hush@zoo/x"]);
    assert_eq!(answer.code, 1);
    assert!(
        answer.err.contains("credentials") && !answer.err.contains("hush"),
        "{}",
        answer.err
    );
    assert!(!site.path(CONFIG).exists());
    site.tlc(&["alias", "set", "A", "<B>/a"]).done();
    let before = fs::read_to_string(site.path(CONFIG)).unwrap();
    let circle = site.tlc(&["alias", "set", "B", "<A>/b"]);
    assert!(
        circle.code == 1 && circle.err.contains("<A> → <B> → <A>"),
        "{}",
        circle.err
    );
    assert_eq!(fs::read_to_string(site.path(CONFIG)).unwrap(), before);
    let usage = site.tlc(&["ls", "--alias", "A"]);
    assert!(
        usage.code == 2 && usage.err.contains("NAME=PATH"),
        "{}",
        usage.err
    );
    let usage = site.tlc(&["ls", "--alias", "A=s3://key:hush@zoo"]);
    assert!(
        usage.code == 2 && usage.err.contains("credentials") && !usage.err.contains("hush"),
        "{}",
        usage.err
    );
    fs::write(site.path(CONFIG), "aliases: {A: /a}\n").unwrap();
    let flow = site.tlc(&["alias", "set", "B", "/b"]);
    assert!(
        flow.code == 1 && flow.err.contains("one alias a line"),
        "{}",
        flow.err
    );
    fs::write(site.path("root/zoo/aliases.yaml"), "A: [").unwrap();
    let broken = site.tlc(&["table", "show", "zoo/photos"]);
    assert!(
        broken.code == 1 && broken.err.contains("zoo/aliases.yaml"),
        "{}",
        broken.err
    );
}

#[test]
fn paths_of_before_are_stored_by_their_aliases() {
    let site = with_photos(&[]);
    site.tlc(&["alias", "set", "ZOO", "/data", "--project", "zoo"])
        .done();
    let apply = ["alias", "apply", "zoo/photos"];
    let dry = site.json(&[&apply[..], &["--dry-run"]].concat());
    assert_eq!(
        dry,
        json!([{"_rowid": 0, "column": "photo", "old": "/data/1.jpg", "new": "<ZOO>/1.jpg"}])
    );
    let expected = "
        _rowid  column  old          new
        ──────  ──────  ───────────  ───────────
             0  photo   /data/1.jpg  <ZOO>/1.jpg
        1 cell set
        ";
    site.check(&["alias", "apply", "zoo/photos", "--dry-run"], expected);
    site.check(&apply, "zoo/photos r1: 1 cell in 1 row, SIZE\n");
    let again = site.json(&apply);
    assert_eq!(
        (&again["revision"], &again["cells"]),
        (&json!(1), &json!(0))
    );
    let answer = site.tlc(&apply).done();
    assert!(
        answer.text().is_empty() && answer.err.starts_with("nothing to store"),
        "{}",
        answer.err
    );
    assert_eq!(paths(&site, &[]), "/data/1.jpg /home/2.jpg");
    assert_eq!(
        paths(&site, &["--alias", "ZOO=/mnt"]),
        "/mnt/1.jpg /home/2.jpg"
    );
    assert_eq!(site.tlc(&["alias", "apply", "zoo/photos@0"]).code, 2);
    assert_eq!(site.tlc(&["alias", "apply", "zoo/none"]).code, 4);
}

#[test]
fn a_file_in_place_is_imported_by_its_alias_and_found_elsewhere() {
    let site = Site::new();
    fs::create_dir(site.path("a")).unwrap();
    write_photos(&site, "a/photos.parquet");
    let alias = |folder: &str| format!("BASE={}", site.path(folder).display());
    for (source, table) in [
        ("a/photos.parquet", "zoo/path"),
        ("<BASE>/photos.parquet", "zoo/token"),
    ] {
        site.tlc(&[
            "import",
            source,
            table,
            "--in-place",
            "--alias",
            &alias("a"),
        ])
        .done();
    }
    fs::rename(site.path("a"), site.path("b")).unwrap();
    for table in ["path", "token"] {
        let query = format!("SELECT count(photo) AS n FROM zoo.{table}");
        assert_eq!(
            site.json(&["sql", &query, "--alias", &alias("b")]),
            json!([{"n": 2}])
        );
        let answer = site.tlc(&["sql", &query]);
        assert_eq!(answer.code, 4, "{}", answer.err);
        for part in [
            "<BASE>/photos.parquet",
            "tlc alias set BASE",
            "TLC_ALIAS_BASE",
        ] {
            assert!(answer.err.contains(part), "{}", answer.err);
        }
        let columns = site.json(&["ls", "zoo"]);
        assert_eq!(
            columns["tables"][0]["rows"],
            json!(2),
            "the log says what is there"
        );
    }
}
