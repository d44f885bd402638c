//! What the library promises, through its public door: on memory, and again on disk.

mod bad_input;
mod commit;
mod faults;
mod formats;
mod loader;
mod model;
mod runs;
#[cfg(feature = "sql")]
mod sql;
mod support;
mod tables;
