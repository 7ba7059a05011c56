//! Rallypoint: a self-hosted game session service that speaks the RallyHere session API.
//!
//! The modules in reading order; `docs/ARCHITECTURE.md` is the map.

pub mod env;
pub mod domain;
pub mod store;
pub mod auth;
