//! The real binary on real folders: arguments in; output, errors, exit codes and files out.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod alias;
mod artifact;
mod check;
mod doctor;
mod errors;
#[cfg(unix)]
mod exec;
mod fix;
mod history;
mod house;
mod import;
mod lineage;
mod open_lineage;
mod provenance;
mod ranks;
mod reduce;
mod run;
#[path = "../../../tlc-core/tests/it/servers.rs"]
mod servers;
mod site;
mod sql;
mod story;
mod sync;
mod table;
mod travel;
