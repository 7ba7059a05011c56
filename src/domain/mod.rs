//! The rules of sessions: plain functions over plain data. No I/O, no clock, no async in here.

pub mod ids;
