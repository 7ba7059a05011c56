//! Properties that hold for all operations.

/// The calls of the published client, in its order and with its headers.
mod client_flow;
/// The wall clock is set: nothing ends early.
mod clock_steps;
/// Limits of connections: slow, large, too many, malformed.
mod connections;
/// Snapshots of the list of operations and of the API document.
mod contract;
/// Which module may use which.
mod edges;
/// Damage of the embedded store's files is found before anything is lost.
mod damage;
/// Sessions that nobody uses end, and not before their deadline.
mod expiry;
/// Each change is stored completely or not at all, also if the store fails.
mod failures;
/// The fast path answers as the normal path does.
mod fast_path;
/// The fast path on a real connection: framing, order, limits.
mod fast_path_wire;
/// The documents name what exists.
mod documents;
/// Malformed requests never cause a 500.
mod fuzz;
/// Inactive players, unanswered invites and hosts that stop reporting.
mod inactivity;
/// Random operations; after each, everything in the store is consistent.
mod invariants;
/// Requested instances are given servers, whatever their allocators do.
mod launches;
/// Connections that break at any byte: what was written, and what a repeated request is answered.
mod lost_answers;
/// Ended sessions and departed players leave no memory behind.
mod leftovers;
/// Concurrent operations on several nodes are linearizable.
mod linearizable;
/// Bodies and answers in flight have one budget of memory.
mod memory;
/// Random operations, compared with a second, independent model of the rules.
mod model;
/// Every operation with each single permission, as a snapshot file.
mod permissions;
/// Compares the list of operations with the published contract.
pub mod published;
/// Many concurrent requests: each is done completely or refused.
mod races;
/// Refusals reach clients that write a whole request before they read.
mod refusals;
/// A changed configuration file is read again.
mod reload;
/// Templates that a new configuration does not have are served while sessions use them.
mod retired_templates;
/// Every store backend passes the conformance suite.
mod store;
/// Style rules that a test can check: file length, dependencies between modules, documents.
mod tidy;
