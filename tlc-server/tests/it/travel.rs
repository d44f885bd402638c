//! Tables that hold paths, and tables of files in place, carried to where other folders are: to another folder,
//! and to a bucket. One alias is all that has to be set there.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tlc_core::arrow::array::{
    Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray,
};
use tlc_core::arrow::datatypes::{DataType, Field, Schema, UInt8Type};
use tlc_core::object_store::ObjectStoreExt as _;
use tlc_core::{ErrorKind, Loader, Result, Root, RootOptions, block_on, schema};

use crate::servers::{self, Address};
use crate::site::Site;

/// Images of one pixel: grey 10, 20 and 30.
const PHOTOS: [&str; 3] = [
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mPgAgAADAALyrJREQAAAABJRU5ErkJggg==",
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mMQAQAAFgAVw+YCowAAAABJRU5ErkJggg==",
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mOQAwAAIAAfxgs5ZgAAAABJRU5ErkJggg==",
];

#[test]
fn from_a_folder_to_another() {
    let (vm, laptop) = (written(), Site::on_disk());
    for (name, bytes) in files(&vm.path("root")) {
        store_file(&laptop.path("root").join(name), &bytes);
    }
    let photos = laptop.path("my photos");
    for (name, bytes) in files(&vm.path("data")) {
        store_file(&photos.join(name), &bytes);
    }
    drop(vm);
    check_there(&laptop, photos.to_str().unwrap());
}

#[test]
fn from_a_folder_to_a_bucket() {
    let (vm, root, data) = (written(), servers::s3(), servers::s3());
    upload(&vm.path("root"), &root);
    upload(&vm.path("data"), &data);
    drop(vm);
    check_there(&Site::at(Some(root)), &data.url);
}

/// A site of which the tables hold paths below `data`: `zoo/photos` its images, and `zoo/base` a file in place,
/// which names images itself. Both were edited.
fn written() -> Site {
    let site = Site::on_disk();
    for (n, photo) in PHOTOS.iter().enumerate() {
        let name = format!("data/photos/{n}.png");
        store_file(&site.path(&name), &STANDARD.decode(photo).unwrap());
    }
    let path = |n: usize| {
        site.path(&format!("data/photos/{n}.png"))
            .display()
            .to_string()
    };
    write_table(&site.path("photos.parquet"), &[path(0), path(1)]);
    let token = |n: usize| format!("<ZOO_DATA>/photos/{n}.png");
    write_table(&site.path("data/base.parquet"), &[token(0), token(1)]);
    let data = site.path("data").display().to_string();
    site.tlc(&["alias", "set", "ZOO_DATA", &data]).done();
    site.tlc(&["import", "photos.parquet", "zoo/photos"]).done();
    site.tlc(&["import", "--in-place", "data/base.parquet", "zoo/base"])
        .done();
    for table in ["photos", "base"] {
        let photo = path(2);
        let statement = format!("UPDATE zoo.{table} SET photo = '{photo}', n = 7 WHERE _rowid = 1");
        site.tlc(&["sql", &statement]).done();
        let rows = [[json!(0), json!(path(0))], [json!(7), json!(photo)]];
        assert_eq!(read(&site, table), rows, "{table}");
    }
    site
}

fn write_table(path: &Path, photos: &[String]) {
    let fields = vec![
        Field::new("n", DataType::Int64, true),
        schema::image_url("photo"),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(
            0..i64::try_from(photos.len()).unwrap(),
        )),
        Arc::new(StringArray::from(photos.to_vec())),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn store_file(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The files below a folder, by name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let inside = files(&path).into_iter();
            found.extend(inside.map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.push((name, fs::read(&path).unwrap()));
        }
    }
    found
}

fn upload(folder: &Path, address: &Address) {
    let options = address.options.iter();
    let options = options.fold(RootOptions::new(), |options, (key, value)| {
        options.option(*key, value)
    });
    let root = block_on(Root::open_with(&address.url, options)).unwrap();
    for (name, bytes) in files(folder) {
        let path = format!("{}/{name}", root.path()).into();
        block_on(root.store().put(&path, bytes.into())).unwrap();
    }
}

/// `n` and `photo` of each row.
fn read(site: &Site, table: &str) -> Vec<[Value; 2]> {
    let query = format!("SELECT n, photo FROM zoo.{table} ORDER BY _rowid");
    let rows = site.json(&["sql", &query]);
    let row = |row: &Value| [row["n"].clone(), row["photo"].clone()];
    rows.as_array().unwrap().iter().map(row).collect()
}

/// All is found below `data` once the alias says so, and until then what is missing is said.
fn check_there(site: &Site, data: &str) {
    let rows = |data: &str| {
        let row = |n: u8, photo: u8| [json!(n), json!(format!("{data}/photos/{photo}.png"))];
        vec![row(0, 0), row(7, 2)]
    };
    assert_eq!(read(site, "photos"), rows("<ZOO_DATA>"), "shown as it is");
    check_without(site);
    site.tlc(&["alias", "set", "ZOO_DATA", data]).done();
    for table in ["photos", "base"] {
        assert_eq!(read(site, table), rows(data), "{table}");
        assert_eq!(
            pixels(site, table, Some(data)).unwrap(),
            [10, 30],
            "{table}"
        );
    }
    let verified = site.json(&["verify"]);
    assert_eq!(verified["damaged"], false, "{verified}");
    let wrong = format!("ZOO_DATA={data}/elsewhere");
    let answer = site.tlc(&["sql", "SELECT n FROM zoo.base", "--alias", &wrong]);
    assert_eq!(answer.code, 4, "{}", answer.err);
    for part in [
        "<ZOO_DATA>/base.parquet",
        "is not at ",
        "/elsewhere/base.parquet; put it there, set the alias",
    ] {
        assert!(answer.err.contains(part), "{}", answer.err);
    }
    // What is written here can be carried on.
    let statement = format!("UPDATE zoo.photos SET photo = '{data}/photos/1.png' WHERE _rowid = 0");
    site.tlc(&["sql", &statement]).done();
    assert_eq!(pixels(site, "photos", Some(data)).unwrap(), [20, 30]);
    let query = "SELECT photo FROM zoo.photos WHERE _rowid = 0";
    let elsewhere = site.json(&["sql", query, "--alias", "ZOO_DATA=/mnt"]);
    assert_eq!(elsewhere, json!([{"photo": "/mnt/photos/1.png"}]));
}

/// What is said where the alias is not set.
fn check_without(site: &Site) {
    let ways = [
        "<ZOO_DATA>/base.parquet",
        "the alias <ZOO_DATA>, which is not set",
        "`tlc alias set ZOO_DATA PATH`",
        "--alias ZOO_DATA=PATH",
        "TLC_ALIAS_ZOO_DATA",
    ];
    for args in [
        &["sql", "SELECT n FROM zoo.base"][..],
        &["sql", "UPDATE zoo.base SET n = n + 1"],
        &["table", "show", "zoo/base"],
        &["table", "compact", "zoo/base"],
    ] {
        let answer = site.tlc(args);
        assert_eq!(answer.code, 4, "{args:?}: {}", answer.err);
        for way in ways {
            assert!(answer.err.contains(way), "{args:?}: {way}: {}", answer.err);
        }
    }
    let verify = site.tlc(&["verify"]);
    assert_eq!(verify.code, 1, "{}", verify.text());
    assert!(
        verify.text().contains("tlc alias set ZOO_DATA"),
        "{}",
        verify.text()
    );
    let err = pixels(site, "photos", None).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound, "{err:#}");
    assert!(
        format!("{err:#}").contains("tlc alias set ZOO_DATA"),
        "{err:#}"
    );
}

/// The pixel of each photo, as a program's loader fetches it.
fn pixels(site: &Site, table: &str, data: Option<&str>) -> Result<Vec<u8>> {
    let options = match data {
        Some(data) => RootOptions::new().alias("ZOO_DATA", data)?,
        None => RootOptions::new(),
    };
    let project = site.opened_with(options).project("zoo")?;
    let head = block_on(async { project.table(table).await?.head().await })?;
    let loader = Loader::new(&head).columns(["photo"])?.batch_size(2);
    let mut found = Vec::new();
    for batch in loader.epoch(0) {
        let record = batch?.record;
        let photos = record.column(0).as_fixed_size_list();
        let pixel = |row| photos.value(row).as_primitive::<UInt8Type>().value(0);
        found.extend((0..photos.len()).map(pixel));
    }
    Ok(found)
}
