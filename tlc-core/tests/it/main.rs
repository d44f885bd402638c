//! What the library promises, through its public door: on memory, and again on disk.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests; clippy takes their helpers for something else"
)]

mod aliases;
mod artifacts;
mod bad_input;
mod commit;
#[cfg(feature = "sql")]
mod comparison;
mod ended;
mod faults;
mod forks;
mod formats;
mod golden;
mod histories;
mod hostile;
mod house;
mod in_place;
mod items;
mod kills;
mod layout;
mod limits;
mod loader;
mod model;
#[cfg(feature = "sql")]
mod plans;
mod provenance;
#[cfg(feature = "sql")]
mod pruning;
mod quality;
#[cfg(feature = "sql")]
mod questions;
#[cfg(feature = "reduction")]
mod reduction;
mod run_kills;
mod runs;
#[cfg(any(feature = "aws", feature = "azure"))]
mod servers;
mod spool;
#[cfg(feature = "sql")]
mod sql;
mod stores;
mod support;
mod sync;
mod tables;
mod together;
#[cfg(feature = "sql")]
mod writes;
