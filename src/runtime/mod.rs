//! Starts, reloads and stops a whole server. The only module that knows both the configuration and what it configures.

pub mod admin;
pub mod allocators;
pub mod control;
pub mod launch_clients;
pub mod local_servers;
pub mod node_id;
pub mod open_files;
pub mod process_allocator;
pub mod reload;
pub mod server;
mod server_credentials;
mod service_settings;
pub mod settings;
pub mod voice;
