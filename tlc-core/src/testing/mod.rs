//! For tests, also those of other crates: stores that fail, and contracts that any store, collector, reducer or
//! adapter of a framework must keep.
//!
//! Who brings one of these proves it with one call in a test: [`log_contract`], [`collector_contract`],
//! [`reducer_contract`], [`adapter_contract`]. The error says which promise is broken.

mod adapter;
mod collector;
mod contract;
mod faults;
mod reducer;
mod spoil;

pub use adapter::{Adapter, adapter_contract};
pub use collector::collector_contract;
pub use contract::log_contract;
pub use faults::{Faults, FaultyStore, When};
pub use reducer::reducer_contract;
