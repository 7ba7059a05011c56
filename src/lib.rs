//! Rallypoint: a self-hosted game session service that speaks the RallyHere session API.
//!
//! The modules are in reading order. `docs/ARCHITECTURE.md` describes them and how they depend on each other.

pub mod env;
pub mod crash_point;
pub mod domain;
pub mod simulation;
pub mod document;
pub mod private_dir;
pub mod file_lock;
pub mod secret_file;
pub mod https;
pub mod store;
pub mod records;
pub mod auth;
pub mod allocators;
pub mod voice;
pub mod app;
pub mod http;
pub mod api;
pub mod notifications;
pub mod users;
pub mod stubs;
pub mod jobs;
pub mod telemetry;
pub mod config;
pub mod runtime;
pub mod cli;
