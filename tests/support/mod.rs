//! What every test of the real binary needs: starting it, talking to it, stopping it.
#![allow(dead_code, reason = "each test binary uses a part of this")]

pub mod connection;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod proxy;
