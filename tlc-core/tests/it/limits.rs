//! Runs at their limits: stores that are slow, disks that take no more, rows that are too large, names without end.
//! Training goes on, memory is bounded, and what is lost is counted.

use std::fs;
use std::path::Path as DiskPath;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tlc_core::arrow::array::{ArrayRef, Float32Array, LargeBinaryArray, RecordBatch};
use tlc_core::arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use tlc_core::object_store::memory::InMemory;
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{ErrorKind, Project, Rows, RunRecord, RunStatus, Snapshot, block_on};

use crate::support::{animals, project, project_in, project_on_disk, quiet, reader};

fn n_scalars(project: &Project, record: &RunRecord) -> usize {
    let scalars = block_on(project.scalars(&record.name)).unwrap();
    scalars.iter().map(RecordBatch::num_rows).sum()
}

fn losses(n: usize) -> RecordBatch {
    let loss: ArrayRef = Arc::new(Float32Array::from(vec![0.5; n]));
    RecordBatch::try_from_iter([("loss", loss)]).unwrap()
}

#[test]
fn a_store_that_is_slow_loses_nothing() {
    let faults = Faults::at(0, When::Before);
    let store = FaultyStore::new(Arc::new(InMemory::new()), Arc::clone(&faults));
    let project = project_in(Arc::new(store));
    faults.slow_down(Duration::from_millis(100));
    let run = project.start_run("slow").unwrap();
    for step in 0..10_000 {
        run.log(step, &[("a", 1.0), ("b", 2.0)]);
        if step % 1_000 == 0 {
            let rows = Rows::new("train", step / 1_000, vec![0, 1]).unwrap();
            run.samples(&rows, &losses(2)).unwrap();
        }
    }
    run.flush().unwrap();
    let record = run.finish().unwrap();
    faults.heal();
    assert_eq!(
        (record.status, record.warning()),
        (RunStatus::Completed, None)
    );
    assert_eq!(n_scalars(&project, &record), 20_000);
}

/// Not a test of its own: the one below limits the size of its files. Does nothing elsewhere.
#[test]
fn child_process() {
    if !DiskPath::new("logs-on-a-full-disk").exists() {
        return;
    }
    let project = block_on(Project::open("root", "zoo")).unwrap();
    let run = project.start_run(quiet("full")).unwrap();
    for step in 0..N_STEPS {
        // Of values that are alike very many go into a small file.
        let value = |i: i32| ("a", f64::from(i).sqrt());
        let values: Vec<(&str, f64)> = (0..VALUES).map(|i| value(step * VALUES + i)).collect();
        run.log(step.into(), &values);
        if step == 10 {
            run.flush().unwrap();
        }
    }
    let err = run.flush().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable);
    let record = run.finish().unwrap();
    assert_eq!(record.status, RunStatus::Completed);
    let told = record.warning().unwrap();
    assert!(told.contains("were lost"), "{told}");
}

const N_STEPS: i32 = 300;

/// Logged at each step.
const VALUES: i32 = 10_000;

#[test]
fn a_disk_that_takes_no_more_costs_what_it_does_not_take_and_that_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("logs-on-a-full-disk"), "").unwrap();
    // Writing beyond the limit then is an error, as on a full disk, and not the end of the process.
    let limited = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" --exact limits::child_process";
    let child = Command::new("bash")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
    let root = folder.path().join("root");
    let project = block_on(Project::open(root.to_str().unwrap(), "zoo")).unwrap();
    let record = block_on(project.run("full")).unwrap();
    let n_logged = u64::try_from(N_STEPS * VALUES).unwrap();
    let n_kept = n_scalars(&project, &record) as u64;
    assert!(n_kept > 0 && record.lost.scalars > 0, "{:?}", record.lost);
    assert_eq!(n_kept + record.lost.scalars, n_logged, "{n_kept} are kept");
}

#[test]
fn a_row_of_a_gigabyte_is_an_error_at_the_call_and_the_run_goes_on() {
    let project = project();
    let run = project.start_run("large").unwrap();
    // Zeros that nobody touches take no memory.
    let bytes = vec![0_u8; 1 << 30];
    let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0_i64, 1 << 30]));
    let row: ArrayRef = Arc::new(LargeBinaryArray::new(
        offsets,
        Buffer::from_vec(bytes),
        None,
    ));
    let row = RecordBatch::try_from_iter([("loss", row)]).unwrap();
    let rows = Rows::new("large", 0, vec![0]).unwrap();
    let err = run.samples(&rows, &row).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(err.to_string().contains("1073741"), "{err}");
    let rows = Rows::new("train", 0, vec![0]).unwrap();
    run.samples(&rows, &losses(1)).unwrap();
    let record = run.finish().unwrap();
    assert_eq!(record.warning(), None);
    assert_eq!(
        block_on(project.sample_files(&record.name)).unwrap().len(),
        1
    );
}

#[test]
fn a_row_id_that_is_not_in_the_table_is_an_error_at_the_call_and_the_run_goes_on() {
    let project = project();
    let table = project.create_table("train", reader(animals("0:1 1:1 2:1")), "made");
    let table = block_on(table).unwrap();
    let first = block_on(table.head()).unwrap();
    let mut patch = first.patch();
    patch.drop_rows(&[1]);
    let second = block_on(table.commit(&patch, "one less")).unwrap().snapshot;
    let run = project.start_run("ids").unwrap();
    let log = |ids: Vec<u64>, of: &Snapshot| {
        let n = ids.len();
        let rows = Rows::new("train", 0, ids).unwrap();
        let rows = rows.source(table.name().clone(), of.revision());
        run.samples(&rows, &losses(n))
    };
    log(vec![7], &first).unwrap();
    run.input(&first).unwrap();
    run.input(&second).unwrap();
    log(vec![0, 1, 2], &first).unwrap();
    log(vec![0, 2], &second).unwrap();
    for (ids, of, expected) in [
        (vec![0, 3], &first, "row id 3 is not in train@0"),
        (vec![0, 1], &second, "row id 1 is not in train@1"),
        (vec![u64::MAX], &second, "row id 18446744073709551615"),
    ] {
        let err = log(ids, of).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        assert!(err.to_string().contains(expected), "{err}");
    }
    let record = run.finish().unwrap();
    let samples = block_on(project.samples(&record.name, &"train".parse().unwrap(), 0)).unwrap();
    let n_rows: usize = samples.iter().map(RecordBatch::num_rows).sum();
    assert_eq!((n_rows, record.inputs.len()), (6, 2));
}

/// `TLC_NAMES=10000000` logs ten million names.
#[test]
fn names_without_end_take_bounded_memory() {
    #[expect(clippy::disallowed_methods, reason = "what runs the tests says it so")]
    let n_names = std::env::var("TLC_NAMES").map_or(400_000, |n| n.parse().unwrap());
    let (_folder, project) = project_on_disk();
    let run = project.start_run(quiet("names")).unwrap();
    for step in 0..n_names {
        let name = format!("a/name/that/is/met/once/{step}");
        run.log(step, &[(name.as_str(), 1.0)]);
    }
    let record = run.finish().unwrap();
    let lost = usize::try_from(record.lost.scalars).unwrap();
    let found = n_scalars(&project, &record);
    assert!(found > 0);
    assert_eq!(found + lost, usize::try_from(n_names).unwrap());
    let most = peak_bytes();
    assert!(most < 2 << 30, "{most} bytes at the most");
    println!("{found} values, {lost} lost, {most} bytes at the most");
}

/// The most memory that this process ever had; 0 where the system does not say.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
