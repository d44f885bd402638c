//! The real binary on real folders: arguments in; output, errors, exit codes and files out.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod errors;
mod house;
mod import;
mod run;
mod site;
mod sql;
mod table;
