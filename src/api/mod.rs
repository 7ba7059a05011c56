//! The operations: each takes typed input, asks the application, and answers.

pub mod routes;
pub mod tags;
pub mod examples;
pub mod policies;
pub mod fast_path;

pub mod session;
pub mod platform;
pub mod player;
pub mod player_sessions;
pub mod browser;
pub mod instance;
pub mod config;
pub mod wire;
