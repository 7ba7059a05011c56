//! The wire types that several operations share.

pub mod client;
pub mod platform;
pub mod session;
