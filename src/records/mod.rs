//! What is stored: every key, everything that follows from a session, and the formats. The one module that knows both the
//! store and the domain.

pub mod index;
pub mod keys;
