//! Matchmaking: queues that parties join, and the profiles by which their tickets become matches.

pub mod profile;

pub use profile::Profile;
