//! Helpers for tests of the real binary and of PostgreSQL: start, connect, stop.
#![allow(dead_code, reason = "each test binary uses a part of this")]

pub mod connection;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod stand_in;
