//! For tests, also those of other crates: stores that fail, and contracts that any store must keep.

mod contract;
mod faults;

pub use contract::log_contract;
pub use faults::{Faults, FaultyStore, When};
