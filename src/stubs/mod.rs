//! Small answers in place of other services that a published client calls on its way. They keep the client quiet, and
//! store nothing. Each file is a surface, which a setting under `[stubs]` turns off.

pub mod config;
pub mod friends;
pub mod inventory;
pub mod matches;
pub mod presence;
