//! The integration tests: one binary, so that there is one link and everything runs in parallel. A module per
//! resource or promise.

mod harness;
#[path = "../support/mod.rs"]
mod support;

mod commands;
mod connections;
mod contract;
mod expiry;
mod failures;
mod fuzz;
mod invariants;
mod limits;
mod linking;
mod permissions;
mod platform_session;
mod player;
mod process;
mod published;
mod session;
mod store;
mod template;
mod tidy;
