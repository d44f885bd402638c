//! Paths that travel: written on one machine, read on another.

use std::fs;
use std::io::Cursor;
use std::sync::Arc;

use image::{GrayImage, ImageFormat, Luma};
use tempfile::TempDir;
use tlc_core::arrow::array::{
    Array as _, ArrayRef, AsArray as _, Float32Array, RecordBatch, StringArray, StructArray,
};
use tlc_core::arrow::datatypes::{DataType, Field, Schema, UInt8Type};
use tlc_core::object_store::ObjectStoreExt as _;
use tlc_core::object_store::path::Path as StorePath;
use tlc_core::{
    Aliases, ErrorKind, Loader, Project, Result, ScanOptions, Snapshot, Table, block_on, schema,
};

use crate::support::{Ground, animals, reader, rows, text};
use crate::tables::write_parquet;

/// A root on disk, or where `TLC_TEST_STORE` says.
fn ground() -> Ground {
    Ground::chosen_or(Ground::disk)
}

/// The project `zoo` in `root`, for somebody with these aliases: `NAME=path`.
fn project(root: &Ground, aliases: &[&str]) -> Project {
    let root = root.root_with(|options| {
        let pairs = aliases.iter().map(|pair| pair.split_once('=').unwrap());
        pairs.fold(options, |options, (name, path)| {
            options.alias(name, path).unwrap()
        })
    });
    root.project("zoo").unwrap()
}

/// The project's own file of aliases, as it lies in the store.
fn aliases_file(project: &Project) -> StorePath {
    StorePath::from(format!("{}/zoo/aliases.yaml", project.root().path()))
}

fn head(project: &Project, table: &str) -> Snapshot {
    block_on(block_on(project.table(table)).unwrap().head()).unwrap()
}

/// A table of photos, by path.
fn photos(paths: &[&str]) -> RecordBatch {
    let fields = vec![schema::image_url("photo"), schema::text("note")];
    let paths: ArrayRef = Arc::new(StringArray::from(paths.to_vec()));
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        vec![Arc::clone(&paths), paths],
    )
    .unwrap()
}

fn create(project: &Project, batch: RecordBatch) -> Table {
    block_on(project.create_table("train", reader(batch), "made for a test")).unwrap()
}

/// The column `photo` as this reader reads it, and as it is stored.
fn photo(snapshot: &Snapshot) -> (String, String) {
    let read =
        |options: ScanOptions| text(&block_on(snapshot.read(options.columns(["photo"]))).unwrap());
    (read(ScanOptions::new()), read(ScanOptions::new().stored()))
}

fn both(read: &str, stored: &str) -> (String, String) {
    (read.to_owned(), stored.to_owned())
}

#[test]
fn a_path_is_stored_by_its_alias_and_read_by_the_readers_own() {
    let root = ground();
    let vm = project(&root, &["PHOTOS=/data/photos"]);
    let table = create(
        &vm,
        photos(&[
            "/data/photos/1.jpg",
            "/home/2.jpg",
            "file:///data/photos/3.jpg",
        ]),
    );
    let stored = "<PHOTOS>/1.jpg /home/2.jpg <PHOTOS>/3.jpg";
    let read = "/data/photos/1.jpg /home/2.jpg /data/photos/3.jpg";
    assert_eq!(photo(&block_on(table.head()).unwrap()), both(read, stored));
    let laptop = head(&project(&root, &["PHOTOS=s3://zoo/p"]), "train");
    let read = "s3://zoo/p/1.jpg /home/2.jpg s3://zoo/p/3.jpg";
    assert_eq!(photo(&laptop), both(read, stored));
    let taken = block_on(laptop.take(&[2, 0], &["photo", "note"])).unwrap();
    let note = "file:///data/photos/3.jpg";
    assert_eq!(
        text(&taken),
        format!("s3://zoo/p/3.jpg:{note} s3://zoo/p/1.jpg:/data/photos/1.jpg")
    );
    let nobody = head(&project(&root, &[]), "train");
    assert_eq!(photo(&nobody), both(stored, stored));
}

#[test]
fn cells_appended_rows_and_new_columns_are_stored_by_their_aliases() {
    let root = ground();
    let vm = project(&root, &["DISK=/data"]);
    let table = create(&vm, photos(&["/data/1", "/data/2"]));
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.set(1, "photo", "/data/new/2").unwrap();
    patch.append(&photos(&["/data/3"])).unwrap();
    patch
        .add_column(schema::image_url("mask"), "/data/blank")
        .unwrap();
    patch.set(0, "mask", "/data/mask").unwrap();
    let committed = block_on(table.commit(&patch, "more")).unwrap();
    let laptop = head(&project(&root, &["DISK=/mnt"]), "train");
    let columns = ScanOptions::new().columns(["photo", "mask"]);
    let read = |snapshot: &Snapshot, options| text(&block_on(snapshot.read(options)).unwrap());
    assert_eq!(
        read(&laptop, columns.clone().stored()),
        "<DISK>/1:<DISK>/mask <DISK>/new/2:<DISK>/blank <DISK>/3:<DISK>/blank"
    );
    assert_eq!(
        read(&laptop, columns.clone()),
        "/mnt/1:/mnt/mask /mnt/new/2:/mnt/blank /mnt/3:/mnt/blank"
    );
    assert_eq!(
        read(&committed.snapshot, columns),
        "/data/1:/data/mask /data/new/2:/data/blank /data/3:/data/blank"
    );
    let diff = block_on(laptop.table().diff(0, 1)).unwrap();
    let cell = |values: &ArrayRef| values.as_string::<i32>().value(0).to_owned();
    let photo = diff
        .cells
        .iter()
        .find(|cells| cells.column.as_str() == "photo")
        .unwrap();
    assert_eq!(
        (cell(&photo.old), cell(&photo.new)),
        both("/mnt/2", "/mnt/new/2")
    );
}

#[test]
fn paths_in_lists_and_structs_travel_too() {
    let root = ground();
    let fields = vec![
        schema::image_url("file"),
        Field::new("n", DataType::Float32, true),
    ];
    let parts: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("/data/1"), None])),
        Arc::new(Float32Array::from(vec![0.5, 1.0])),
    ];
    let frame = StructArray::try_new(fields.clone().into(), parts, None).unwrap();
    let field = Field::new("frame", DataType::Struct(fields.into()), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let batch = RecordBatch::try_new(schema, vec![Arc::new(frame)]).unwrap();
    let table = create(&project(&root, &["DISK=/data"]), batch);
    let stored = block_on(
        block_on(table.head())
            .unwrap()
            .read(ScanOptions::new().stored()),
    )
    .unwrap();
    assert_eq!(
        text(&stored),
        "0:{file: <DISK>/1, n: 0.5} 1:{file: -, n: 1.0}"
    );
    let laptop = head(&project(&root, &["DISK=/mnt"]), "train");
    assert_eq!(
        rows(&laptop),
        "0:{file: /mnt/1, n: 0.5} 1:{file: -, n: 1.0}"
    );
}

#[test]
fn the_same_place_set_by_two_machines_is_no_conflict() {
    let root = ground();
    let vm = create(&project(&root, &["DISK=/data"]), photos(&["/data/1"]));
    let laptop = block_on(project(&root, &["DISK=/mnt"]).table("train")).unwrap();
    let nobody = block_on(project(&root, &[]).table("train")).unwrap();
    let patch = |table: &Table, path: &str| {
        let mut patch = block_on(table.at(0)).unwrap().patch();
        patch.set(0, "photo", path).unwrap();
        patch
    };
    let (ours, theirs) = (patch(&vm, "/data/2"), patch(&laptop, "/mnt/2"));
    // Written before there was an alias, so stored as it is.
    block_on(nobody.commit(&patch(&nobody, "/data/2"), "first")).unwrap();
    let err = block_on(laptop.commit(&theirs, "second")).unwrap_err();
    assert_eq!(
        err.kind(),
        ErrorKind::Conflict,
        "/data/2 is another place on the laptop"
    );
    block_on(vm.commit(&ours, "second")).unwrap();
    block_on(laptop.commit(&theirs, "stored as the second was")).unwrap();
    let other = patch(&vm, "/data/3");
    assert_eq!(
        block_on(vm.commit(&other, "x")).unwrap_err().kind(),
        ErrorKind::Conflict
    );
}

#[test]
fn the_projects_own_aliases_hold_unless_somebody_has_others() {
    let root = ground();
    let plain = project(&root, &[]);
    assert_eq!(block_on(plain.aliases_file()).unwrap(), None);
    let yaml = "# ours\nDISK: /data\nPHOTOS: <DISK>/photos\n";
    block_on(plain.write_aliases_file(yaml)).unwrap();
    assert_eq!(
        block_on(plain.aliases_file()).unwrap().as_deref(),
        Some(yaml)
    );
    let store = plain.root().store();
    let written = block_on(async { store.get(&aliases_file(&plain)).await?.bytes().await });
    assert_eq!(written.unwrap(), yaml);
    let plain = project(&root, &[]);
    let table = create(&plain, photos(&["/data/photos/1"]));
    let snapshot = block_on(table.head()).unwrap();
    assert_eq!(photo(&snapshot), both("/data/photos/1", "<PHOTOS>/1"));
    let laptop = head(&project(&root, &["DISK=/mnt"]), "train");
    assert_eq!(photo(&laptop).0, "/mnt/photos/1");
    let root_of_two = plain.root();
    let other = root_of_two.project("farm").unwrap();
    block_on(other.write_aliases_file("DISK: /farm")).unwrap();
    assert_eq!(
        block_on(other.aliases()).unwrap(),
        Aliases::new().with("DISK", "/farm").unwrap()
    );
}

#[test]
fn a_file_of_aliases_that_is_none_is_named() {
    let root = ground();
    let plain = project(&root, &[]);
    for (yaml, expected) in [
        ("- a", "is not a YAML map of aliases"),
        ("DISK: [", "is not a YAML map of aliases"),
        ("DISK: 7", "has the alias \"DISK\", which is not text"),
        ("disk: /data", "\"disk\" cannot name an alias"),
        ("DISK: <DISK>/x", "in a circle: <DISK> → <DISK>"),
        ("DISK: s3://a:hush@b", "credentials"),
    ] {
        let err = block_on(plain.write_aliases_file(yaml)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        let message = format!("{err:#}");
        assert!(
            message.contains("zoo/aliases.yaml") && message.contains(expected),
            "{message}"
        );
        assert!(!message.contains("hush"), "{message}");
    }
    assert_eq!(block_on(plain.aliases_file()).unwrap(), None);
    create(&plain, photos(&["/data/1"]));
    let file = aliases_file(&plain);
    block_on(plain.root().store().put(&file, "DISK: 7".into())).unwrap();
    let table = block_on(project(&root, &[]).table("train")).unwrap();
    let err = block_on(table.head()).unwrap_err();
    assert!(err.to_string().contains("zoo/aliases.yaml"), "{err}");
}

#[test]
fn a_file_in_place_is_found_where_its_alias_is() {
    let (root, data) = (ground(), TempDir::new().unwrap());
    let (a, b) = (data.path().join("a"), data.path().join("b"));
    fs::create_dir(&a).unwrap();
    write_parquet(&a.join("x.parquet"), &animals("0:1 1:1"));
    let vm = project(&root, &[&format!("BASE={}", a.display())]);
    let path = a.join("x.parquet");
    block_on(vm.create_table_in_place("train", &[path.to_str().unwrap()], "in place")).unwrap();
    block_on(vm.create_table_in_place("token", &["<BASE>/x.parquet"], "in place")).unwrap();
    assert_eq!(rows(&head(&vm, "train")), "0:0:1.0 1:1:1.0");
    fs::create_dir(&b).unwrap();
    // A copy has another tag than the original.
    fs::copy(&path, b.join("x.parquet")).unwrap();
    fs::remove_dir_all(&a).unwrap();
    let laptop = project(&root, &[&format!("BASE={}", b.display())]);
    for table in ["train", "token"] {
        let snapshot = head(&laptop, table);
        assert_eq!(rows(&snapshot), "0:0:1.0 1:1:1.0");
        assert_eq!(
            block_on(snapshot.take(&[1], &["animal"]))
                .unwrap()
                .num_rows(),
            1
        );
    }
    let nobody = head(&project(&root, &[]), "train");
    assert_eq!((nobody.n_rows(), nobody.schema().fields().len()), (2, 2));
    let err = block_on(nobody.read(ScanOptions::new())).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    let message = format!("{err:#}");
    for part in [
        "<BASE>/x.parquet",
        "alias <BASE>, which is not set",
        "TLC_ALIAS_BASE",
        "tlc alias set BASE",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let out = project(&root, &["BASE=/data"]);
    let err =
        block_on(out.create_table_in_place("out", &["<BASE>/../x.parquet"], "x")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid, "{err:#}");
}

#[test]
fn paths_stored_before_there_was_an_alias_are_found() {
    let root = ground();
    let nobody = project(&root, &[]);
    create(
        &nobody,
        photos(&["/data/1", "/home/2", "/data/3", "<DISK>/4"]),
    );
    let vm = project(&root, &["DISK=/data"]);
    let snapshot = head(&vm, "train");
    let found = block_on(snapshot.unaliased_paths()).unwrap();
    let [cells] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (cells.column.as_str(), &cells.row_ids[..]),
        ("photo", &[0, 2][..])
    );
    let texts = |values: &ArrayRef| {
        values
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        (texts(&cells.old), texts(&cells.new)),
        both("/data/1 /data/3", "<DISK>/1 <DISK>/3")
    );
    let mut patch = snapshot.patch();
    patch
        .set_column("photo", &cells.row_ids, &cells.new)
        .unwrap();
    let committed = block_on(snapshot.table().commit(&patch, "by their alias")).unwrap();
    assert_eq!(committed.cells, 2);
    assert_eq!(
        photo(&committed.snapshot).1,
        "<DISK>/1 /home/2 <DISK>/3 <DISK>/4"
    );
    assert!(
        block_on(committed.snapshot.unaliased_paths())
            .unwrap()
            .is_empty()
    );
    assert!(
        block_on(snapshot.table().diff(0, 1))
            .unwrap()
            .cells
            .is_empty(),
        "nothing reads otherwise"
    );
    assert!(
        block_on(head(&nobody, "train").unaliased_paths())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn parameters_that_are_paths_travel() {
    let root = ground();
    let vm = project(&root, &["DISK=/data"]);
    let run = vm.start_run("first").unwrap();
    run.params(
        &[
            ("images", "/data/photos"),
            ("note", "see /data/photos"),
            ("lr", "0.1"),
        ]
        .into_iter()
        .collect::<std::collections::BTreeMap<_, _>>(),
    )
    .unwrap();
    run.finish().unwrap();
    let params = |aliases: &[&str]| {
        block_on(project(&root, aliases).run("first"))
            .unwrap()
            .params["images"]
            .clone()
    };
    assert_eq!(params(&["DISK=/mnt"]), "/mnt/photos");
    assert_eq!(params(&[]), "<DISK>/photos");
    let record = block_on(vm.run("first")).unwrap();
    assert_eq!(record.params["note"], "see /data/photos");
}

/// A grey image of 2 x 2.
fn png(grey: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image = GrayImage::from_pixel(2, 2, Luma([grey]));
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// The first pixel of each row of an epoch, or the error that ends it.
fn pixels(loader: &Loader) -> Result<Vec<u8>> {
    let mut found = Vec::new();
    for batch in loader.epoch(0) {
        let record = batch?.record;
        let images = record.column(0).as_fixed_size_list().clone();
        found.extend(
            (0..images.len()).map(|row| images.value(row).as_primitive::<UInt8Type>().value(0)),
        );
    }
    Ok(found)
}

#[test]
fn a_loader_fetches_images_wherever_their_alias_is() {
    let (root, data) = (ground(), TempDir::new().unwrap());
    let (a, b) = (data.path().join("a"), data.path().join("b"));
    fs::create_dir_all(a.join("sub dir")).unwrap();
    let names: Vec<String> = (0..40).map(|n| format!("sub dir/{n}%.png")).collect();
    for (n, name) in (0..).zip(&names) {
        fs::write(a.join(name), png(n)).unwrap();
    }
    let paths: Vec<String> = names
        .iter()
        .map(|name| a.join(name).display().to_string())
        .collect();
    let vm = project(&root, &[&format!("PHOTOS={}", a.display())]);
    create(
        &vm,
        photos(&paths.iter().map(String::as_str).collect::<Vec<_>>()),
    );
    fs::rename(&a, &b).unwrap();
    let url = url::Url::from_file_path(&b).unwrap();
    for value in [b.display().to_string(), url.to_string()] {
        let laptop = head(&project(&root, &[&format!("PHOTOS={value}")]), "train");
        for cache in [0, u64::MAX] {
            let loader = Loader::new(&laptop).columns(["photo"]).unwrap();
            let loader = loader.batch_size(7).cache_bytes_max(cache);
            assert_eq!(pixels(&loader).unwrap(), (0..40).collect::<Vec<u8>>());
            // The second epoch finds in memory what was decoded in the first.
            let first = &names[0];
            fs::remove_file(b.join(first)).unwrap();
            let again = pixels(&loader);
            fs::write(b.join(first), png(0)).unwrap();
            assert_eq!(again.is_ok(), cache > 0, "{again:?}");
        }
    }
    let nobody = head(&project(&root, &[]), "train");
    let err = pixels(&Loader::new(&nobody).columns(["photo"]).unwrap()).unwrap_err();
    let message = format!("{err:#}");
    for part in [
        "row 0",
        "\"photo\"",
        "alias <PHOTOS>, which is not set",
        "TLC_ALIAS_PHOTOS",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn an_image_that_cannot_be_fetched_is_named() {
    let data = TempDir::new().unwrap();
    fs::write(data.path().join("text.png"), "no image").unwrap();
    let huge = fs::File::create(data.path().join("huge.png")).unwrap();
    huge.set_len((64 << 20) + 1).unwrap();
    for (name, kind, expected) in [
        ("gone.png", ErrorKind::NotFound, "gone.png"),
        ("text.png", ErrorKind::Invalid, "cannot be decoded"),
        (
            "huge.png",
            ErrorKind::Invalid,
            "an image of 67108865 bytes is larger than 67108864",
        ),
        ("ftp://zoo/x.png", ErrorKind::Invalid, "ftp://zoo/x.png"),
    ] {
        let root = ground();
        let path = if name.contains("://") {
            name.to_owned()
        } else {
            data.path().join(name).display().to_string()
        };
        let project = project(&root, &[]);
        create(&project, photos(&[&path]));
        let err = pixels(
            &Loader::new(&head(&project, "train"))
                .columns(["photo"])
                .unwrap(),
        )
        .unwrap_err();
        assert_eq!(err.kind(), kind, "{err:#}");
        let message = format!("{err:#}");
        assert!(
            message.contains(expected) && message.contains("row 0"),
            "{message}"
        );
    }
}
