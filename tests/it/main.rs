//! The integration tests: one binary, so that there is one link and everything runs in parallel. A module per
//! resource or promise.

mod harness;
#[path = "../support/mod.rs"]
mod support;

mod browser;
mod commands;
mod connections;
mod catalog;
mod client_flow;
mod contract;
mod cors;
mod deprecated;
mod ending;
mod examples;
mod expiry;
mod failures;
mod fast_path;
mod fuzz;
mod health;
mod hearsay;
mod instance;
mod invariants;
mod invite;
mod large;
mod leftovers;
mod limits;
mod linking;
mod model;
mod permissions;
mod places;
mod platform_session;
mod player;
mod players_page;
mod postgres;
mod postgres_faults;
mod postgres_tls;
mod process;
mod published;
mod races;
mod refresh;
mod rights;
mod roster;
mod session;
mod session_command;
mod session_to_session;
mod shared_database;
mod short_code;
mod silence;
mod store;
mod store_command;
mod team;
mod template;
mod tidy;
mod visibility;
