//! Tables as libtorch tensors, and libtorch tensors as per-sample metrics: the place of the adapter
//! for `tch`.
//!
//! There is nothing here yet. It will hold the same files and the same names as `tlc-candle`: a
//! `Loader` that turns a table into batches of tensors with their row ids, and `collect_tensors`,
//! which hands tensors to a collector of `tlc-core`. A program written against one adapter changes
//! its imports to use the other.
//!
//! Until then a `tch` loop can use `tlc-core` as it is: its `Loader` gives Arrow batches, and a run
//! takes outputs as Arrow batches.
//!
//! Not here, on purpose: storage, revisions and SQL, which are `tlc-core`'s; and libtorch itself,
//! which is not on every machine, so this crate is no default member of the workspace.
