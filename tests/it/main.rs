//! The integration tests: one binary, so that there is one link and everything runs in parallel.

mod store;
