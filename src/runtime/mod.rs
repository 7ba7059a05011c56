//! A whole server: put together, started, reloaded and stopped.

pub mod admin;
pub mod open_files;
pub mod reload;
pub mod server;
