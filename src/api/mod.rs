//! HTTP: the surface, and the one way that every request goes.

pub mod routes;
pub mod tags;
pub mod examples;
mod policies;
pub mod operation;
pub mod service;
mod fast_path;
mod headers;
mod credentials;
pub mod params;
pub mod body;
pub mod shape;
pub mod violation;
pub mod reply;
pub mod error;
pub mod openapi;
mod docs;
pub mod cors;

pub mod session;
pub mod player;
pub mod player_sessions;
pub mod roster;
pub mod permission;
pub mod team;
pub mod short_code;
pub mod browser;
pub mod instance;
pub mod instance_template;
pub mod region;
pub mod connection;
pub mod platform;
pub mod catalog;
pub mod client;
pub mod view;
pub mod platform_view;

pub use cors::Cors;
pub use error::Error;
pub use service::{Api, ApiSettings, RequestLimits};
