//! Several nodes on one database, and a database that fails.

/// The order of audit events.
mod audit;
/// The whole suite again on a database, with one node and with three.
mod everywhere;
/// A database that fails over while requests are held.
mod failover;
/// Equal requests with one idempotency key, at several nodes.
mod idempotency;
/// Messages between nodes, and the sweep that finds what they miss.
pub mod invalidations;
/// Which node makes the matches of a profile.
mod matches;
/// The time of a player's list of sessions.
mod player_list;
/// Commits of several nodes: order, loss, repetition.
mod postgres;
/// A database that is away, slow, or lost in the middle of a commit.
mod postgres_faults;
/// What `/metrics` says of the database.
mod postgres_metrics;
/// What an operator reads when the database cannot be used.
mod postgres_operator;
/// Poolers: session pooling works, transaction pooling is refused.
mod postgres_pooler;
/// A synchronous standby that is away.
mod postgres_standby;
/// TLS and authentication to the database.
mod postgres_tls;
/// Presence and health reports that arrive at different nodes.
mod presence_sync;
/// A player is in one ticket, whoever asks at which node.
mod queues;
/// The real binary as several nodes on one database.
mod shared_database;
/// Bounded reads: how old they may be.
mod staleness;
/// A primary that lives on after another one has replaced it.
mod two_primaries;
/// Nodes whose clock differs from the database's.
mod wrong_clock;
/// Two builds on one database: fields of a newer build are kept.
mod versions;
