//! What a run is made of, where the store fails: it is there whole or not at all, and the run goes on. What is found out about code is
//! tested with the command, on real repositories.

use std::sync::Arc;

use tlc_core::object_store::ObjectStore;
use tlc_core::object_store::memory::InMemory;
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{Code, Provenance, RunOptions, RunStatus, VerifyOptions, block_on};

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
