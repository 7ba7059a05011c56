//! One test binary: one link, tests in parallel. A module per resource or promise.

mod harness;

mod platform_session;
mod store;
