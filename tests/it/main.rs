//! The integration tests, as one binary: one link, and every test runs in parallel.
//!
//! - `allocators`: each kind of allocator, against a service that stands in for the real one.
//! - `api`: what each operation does, a module per noun of the API.
//! - `promises`: properties of all operations: permissions, invariants, the contract, limits.
//! - `nodes`: several nodes on one database, and faults of the database.
//! - `process`: the real binary, as an operator runs it.
//! - `users`: the login for development.
//! - `notifications`: the notification service.
//! - `harness`: a server in process and clients that call it.

mod harness;
#[path = "../support/mod.rs"]
mod support;

mod allocators;
mod api;
mod nodes;
mod notifications;
mod process;
mod promises;
mod users;
