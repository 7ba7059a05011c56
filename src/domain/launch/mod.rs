//! Launches: how an instance gets a dedicated server.

mod rules;

pub use rules::LaunchRules;
