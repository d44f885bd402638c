//! What the library promises, through its public door: on memory, and again on disk.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests; clippy takes their helpers for something else"
)]

mod bad_input;
mod commit;
mod faults;
mod formats;
mod house;
mod loader;
mod model;
mod runs;
#[cfg(feature = "sql")]
mod sql;
mod support;
mod tables;
