//! What a run is made of, where the store fails: it is there whole or not at all, and the run goes on. What is found out about code is
//! tested with the command, on real repositories.

use std::sync::Arc;

use tlc_core::object_store::ObjectStore;
use tlc_core::object_store::memory::InMemory;
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{Code, Provenance, RunOptions, RunStatus, VerifyOptions, block_on};
#[cfg(feature = "code")]
use tlc_core::{Root, RootOptions};

use crate::support::project_in;

const PATCH: &str = "--- a/model.rs\n+++ b/model.rs\n";

fn made_of() -> Provenance {
    Provenance {
        code: Some(Code {
            commit: Some("c0ffee".to_owned()),
            ..Code::default()
        }),
        ..Provenance::default()
    }
}

#[test]
fn a_store_that_fails_once_leaves_it_whole_and_the_run_goes_on() {
    for when in [When::Before, When::After] {
        for k in 1.. {
            assert!(k < 100, "the run never ends well");
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let faults = Faults::at(k, when);
            let faulty = FaultyStore::new(Arc::clone(&store), Arc::clone(&faults));
            let options = RunOptions::from("lenet").provenance(made_of(), Some(PATCH.to_owned()));
            let started = project_in(Arc::new(faulty)).start_run(options);
            let clean = project_in(Arc::clone(&store));
            let Ok(run) = started else {
                assert!(faults.n_requests() >= k, "request {k} {when:?}");
                continue;
            };
            run.log(1, &[("loss", 0.5)]);
            let ended = run.finish();
            let record = block_on(clean.run("lenet")).unwrap();
            if let Ok(ended) = &ended {
                assert_eq!(ended.status, RunStatus::Completed);
                assert!(record.code.is_some(), "request {k} {when:?}");
            }
            if record.code.is_some() {
                let found = block_on(clean.provenance("lenet")).unwrap().unwrap();
                assert_eq!(found.code.unwrap().commit.as_deref(), Some("c0ffee"));
                let patch = block_on(clean.code_patch("lenet")).unwrap();
                assert_eq!(patch.as_deref(), Some(PATCH));
            }
            let report = block_on(clean.verify(VerifyOptions::default()));
            assert!(!report.unwrap().is_damaged(), "request {k} {when:?}");
            if faults.n_requests() < k {
                ended.unwrap();
                break;
            }
        }
    }
}

#[cfg(feature = "code")]
#[test]
fn a_root_and_a_spool_in_the_work_tree_are_no_code_of_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut git = std::process::Command::new("git");
    let done = git.args(["init", "-q"]).current_dir(folder.path()).status();
    assert!(done.unwrap().success());
    std::fs::write(path("model.py"), "layers = 3\n").unwrap();
    let check = |url: &str| {
        // With the system's clock: under that of a test, nothing is found out.
        let options = RootOptions::new().spool(path("spool"));
        let root = block_on(Root::open_with(url, options)).unwrap();
        let project = root.project("zoo").unwrap();
        for name in ["first", "second"] {
            let options = RunOptions::from(name).code_in(folder.path());
            project.start_run(options).unwrap().finish().unwrap();
            let code = block_on(project.provenance(name)).unwrap().unwrap().code;
            let changes = code.unwrap().changes.unwrap();
            let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
            assert_eq!(paths, ["model.py"], "{url} {name}");
        }
    };
    check(path("root").to_str().unwrap());
    std::fs::remove_dir_all(path("root")).unwrap();
    // Only roots that are not on this disk have a spool.
    std::fs::create_dir_all(path("spool")).unwrap();
    std::fs::write(path("spool/left.json"), "{}\n").unwrap();
    check("memory:///");
}
