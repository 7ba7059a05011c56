//! The integration tests: one binary, so that there is one link and everything runs in parallel. A module per
//! resource or promise.

mod harness;

mod contract;
mod expiry;
mod failures;
mod invariants;
mod linking;
mod model;
mod permissions;
mod platform_session;
mod player;
mod session;
mod store;
mod template;
mod tidy;
