//! Rallypoint: a self-hosted game session service that speaks the RallyHere session API.
//!
//! The modules in reading order; `docs/ARCHITECTURE.md` is the map.

pub mod env;
pub mod domain;
pub mod document;
pub mod private_dir;
pub mod store;
pub mod auth;
pub mod app;
pub mod api;
pub mod net;
pub mod admin;
pub mod jobs;
pub mod telemetry;
pub mod config;
pub mod open_files;
pub mod server;
pub mod reload;
pub mod cli;
