//! What a store must do for the library's promises to hold on it.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::error::{Error, Result};
use crate::id::Revision;
use crate::log::{Append, Log};

/// How many writers race for one number.
const WRITERS: usize = 16;

/// Checks that a log keeps its promises on `store`, in the empty folder `folder` of it.
///
/// For the tests of anyone who brings a store of their own: entries are created once, read back as
/// written, and of sixteen writers of one number exactly one wins.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) saying which promise the store breaks; those of
/// the store.
pub async fn log_contract(store: Arc<dyn ObjectStore>, folder: Path) -> Result<()> {
    let log = Log::new(store, folder);
    let first = Revision::FIRST;
    expect(
        log.read(first).await?.is_none(),
        "an entry is there before it was written",
    )?;
    expect(
        log.append(first, "a".into()).await? == Append::Written,
        "the first entry is refused",
    )?;
    expect(
        log.append(first, "b".into()).await? == Append::Taken,
        "an entry is overwritten",
    )?;
    expect(
        log.append(first, "a".into()).await? == Append::Written,
        "a writer does not know its own entry",
    )?;
    expect(
        log.read(first).await?.as_deref() == Some(&b"a"[..]),
        "an entry is not read back as written",
    )?;
    let next = first.next();
    let racers =
        (0..WRITERS).map(|writer| log.append(next, Bytes::from(format!("writer {writer}"))));
    let outcomes = join_all(racers)
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let n_won = outcomes
        .iter()
        .filter(|outcome| **outcome == Append::Written)
        .count();
    expect(n_won == 1, "more than one writer, or none, won a number")?;
    expect(
        log.entries(first).await?.len() == 2,
        "the listing does not show all entries",
    )?;
    expect(
        log.entries(next).await?.len() == 1,
        "reading from a number on gives others too",
    )
}

fn expect(holds: bool, otherwise: &str) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "the store cannot hold a log: {otherwise}"
        ))),
    }
}
