//! What a reducer must do for the library to rely on it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, ErrorKind, Result};
use crate::reduction::{Fitted, Model, Reducer, Reduction, Vectors};

/// Checks that a reducer keeps what others rely on, by what it makes of `vectors`.
///
/// For the tests of anyone who brings a reducer of their own. It must hold:
///
/// - the same vectors give the same model, and the same places;
/// - a model survives its file;
/// - each vector has one place, of as many numbers as are said, all finite, which depends on that vector alone: in another order, and one by one,
///   each has the same;
/// - no vectors are no places;
/// - vectors of another width, and a model without its tensors, are refused, and nothing panics.
///
/// Costs two fits, and an application to each vector.
///
/// # Errors
/// [`ErrorKind::Invalid`] saying what does not hold; those of the fit.
pub fn reducer_contract(reducer: &dyn Reducer, vectors: &Vectors) -> Result<()> {
    quietly(|| {
        let model = fits(reducer, vectors)?;
        let fitted = Fitted::new(reducer, model)?;
        places(fitted.reduction(), vectors)?;
        refuses(reducer, fitted.reduction(), vectors)
    })
}

/// The model, after it was stored and read.
fn fits(reducer: &dyn Reducer, vectors: &Vectors) -> Result<Model> {
    let model = reducer.fit(vectors)?;
    expect(
        model.method() == reducer.name(),
        "the model names another method",
    )?;
    expect(
        reducer.fit(vectors)? == model,
        "the same vectors give another model",
    )?;
    let read = Model::from_bytes(&model.to_bytes()?)?;
    expect(read == model, "the model is another after it was stored")?;
    Ok(read)
}

/// Each vector has one place, which depends on nothing else.
fn places(reduction: &dyn Reduction, vectors: &Vectors) -> Result<()> {
    let places = reduction.apply(vectors)?;
    expect(reduction.width() == vectors.width(), "the width is another")?;
    let n = reduction.n_dimensions();
    let is_whole = places.len() == vectors.len() && places.width() == n;
    expect(is_whole, "not each vector has a place")?;
    let last_first: Vec<f32> = vectors.iter().rev().flatten().copied().collect();
    let last_first = reduction.apply(&Vectors::new(vectors.width(), last_first)?)?;
    let is_turned = last_first.iter().rev().eq(places.iter());
    expect(is_turned, "places depend on the order of the vectors")?;
    for (vector, place) in vectors.iter().zip(&places) {
        let alone = reduction.apply(&Vectors::new(vectors.width(), vector.to_vec())?)?;
        expect(alone.values() == place, "places depend on other vectors")?;
    }
    let none = reduction.apply(&Vectors::new(vectors.width(), Vec::new())?)?;
    expect(none.is_empty(), "no vectors have places")
}

/// What does not fit is not taken.
fn refuses(reducer: &dyn Reducer, reduction: &dyn Reduction, vectors: &Vectors) -> Result<()> {
    let width = vectors.width() + 1;
    let refused = reduction.apply(&Vectors::new(width, vec![1.0; width])?);
    let is_refused = refused.is_err_and(|err| err.kind() == ErrorKind::Invalid);
    expect(is_refused, "vectors of another width are taken")?;
    let empty = reducer.reduction(&Model::new(reducer.name()));
    expect(empty.is_err(), "a model without tensors is taken")
}

fn expect(holds: bool, otherwise: &str) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(Error::invalid(otherwise)),
    }
}

/// Everything that is called of a reducer, so that a panic in any of it is told.
fn quietly(call: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_panic| Error::invalid("it panics"))?
}
