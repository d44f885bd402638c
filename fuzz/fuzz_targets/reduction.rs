//! The file of a fitted reduction, put as an artifact: its tensors are listed, and whatever can be applied is.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tlc_core::object_store::memory::InMemory;
use tlc_core::reduction::{Model, Vectors};
use tlc_core::{ArtifactSource, Fitted, Pca, PutOptions, Reducer, Umap, block_on};
use tlc_fuzz::{let_panics_be_caught, project};

fuzz_target!(|input: &[u8]| {
    let_panics_be_caught();
    let project = project(&Arc::new(InMemory::new()));
    let source = ArtifactSource::bytes("reduction.safetensors", input.to_vec());
    block_on(async {
        let put = project
            .put_artifact("map", source, PutOptions::new(""))
            .await;
        put.expect("memory takes all");
        let version = project
            .artifact_version("map")
            .await
            .expect("it was just put");
        drop(version.tensors("").await);
    });

    let Ok(model) = Model::from_bytes(input) else {
        return;
    };
    let written = model.to_bytes().expect("what was read can be written");
    // Numbers may be none, which equal nothing; their bytes are the same.
    let again = Model::from_bytes(&written).expect("what was written can be read");
    assert_eq!(again.to_bytes().ok(), Some(written));
    let reducers: [&dyn Reducer; 2] = [&Pca::new(2), &Umap::new(2)];
    for reducer in reducers {
        let Ok(fitted) = Fitted::new(reducer, model.clone()) else {
            continue;
        };
        let width = fitted.reduction().width();
        let vectors = Vectors::new(width, vec![0.5; width]).expect("a vector");
        let places = fitted.reduction().apply(&vectors);
        if let Ok(places) = places {
            assert_eq!(
                (places.len(), places.width()),
                (1, fitted.reduction().n_dimensions())
            );
        }
    }
});
