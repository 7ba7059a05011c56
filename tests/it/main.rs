//! The integration tests: one binary, so that there is one link and everything runs in parallel. A module per
//! resource or promise.

mod harness;

mod browser;
mod catalog;
mod client_flow;
mod contract;
mod deprecated;
mod expiry;
mod failures;
mod health;
mod instance;
mod invariants;
mod invite;
mod limits;
mod linking;
mod permissions;
mod platform_session;
mod player;
mod players_page;
mod rights;
mod roster;
mod session;
mod session_to_session;
mod short_code;
mod silence;
mod store;
mod team;
mod template;
mod tidy;
mod visibility;
