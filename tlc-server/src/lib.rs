//! The `tlc` command as a library: what its arguments mean, what it prints, and where it looks.
//!
//! - [`config`] finds the root, the author and the credentials. It is the one place of the project
//!   that reads the environment, and the examples use it too.
//! - [`aliases`] says which of several aliases wins; [`yaml`] changes one line of a file that people
//!   write.
//! - [`command`] holds one file per verb. A verb translates: arguments to calls of `tlc-core`, and
//!   answers to what people and programs read.
//! - [`output`] writes rows: tables for people, JSON, CSV, Arrow and Parquet for programs.
//! - [`view`] is every JSON shape that is not rows; [`error`] is what a failure looks like.
//!
//! Data goes to standard output, everything else to standard error. The exit codes: 0 done, 1
//! failed, 2 wrong usage, 3 conflict, 4 not found.

pub mod aliases;
pub mod command;
pub mod config;
pub mod error;
pub mod output;
pub mod view;
pub mod yaml;

pub use command::main;
