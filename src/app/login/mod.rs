//! Login for development: gives tokens to players and servers without a token service.
//!
//! - [`client_secret`]: secrets of clients, and what is kept of them.
//! - [`launch_clients`]: the clients of launched servers, one for each launch.

pub mod client_secret;
pub mod launch_clients;

pub use client_secret::{ClientSecret, SecretHash};
pub use launch_clients::{LAUNCH_PERMISSIONS, LaunchClients};
