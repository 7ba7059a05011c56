//! The integration tests, as one binary: one link, and every test runs in parallel.
//!
//! - `api`: what each operation does, a module per noun of the API.
//! - `promises`: what holds for all operations: permissions, invariants, the contract, limits.
//! - `nodes`: several nodes on one database, and the database's faults.
//! - `process`: the real binary, as an operator runs it.
//! - `harness`: a server in process, and clients to call it.

mod harness;
#[path = "../support/mod.rs"]
mod support;

mod api;
mod nodes;
mod process;
mod promises;
