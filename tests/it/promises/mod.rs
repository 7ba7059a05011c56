//! What holds for all operations.

/// The calls of the published client, in its order and with its headers.
mod client_flow;
/// Limits of connections: slow, large, too many, malformed.
mod connections;
/// The surface and the API document do not change unseen.
mod contract;
/// Which module may use which.
mod edges;
/// Sessions end when nobody asks for them, and not before.
mod expiry;
/// A store that fails leaves nothing half-done.
mod failures;
/// The fast path answers as the normal path does.
mod fast_path;
/// The fast path on a real connection: framing, order, limits.
mod fast_path_wire;
/// Malformed requests never cause a 500.
mod fuzz;
/// Inactive players, unanswered invites and hosts that stop reporting.
mod inactivity;
/// Random operations; after each, everything in the store agrees.
mod invariants;
/// Ended sessions and departed players leave no memory behind.
mod leftovers;
/// Concurrent changes on several nodes have one order.
mod linearizable;
/// Random operations against a second, independent model of the rules.
mod model;
/// Every operation with each permission alone, kept as a file.
mod permissions;
/// The surface against the published contract.
mod published;
/// Many requests at once: each is done whole or refused.
mod races;
/// Every store backend passes the conformance suite.
pub mod store;
/// Habits that a machine can check: length, edges between modules, documents.
mod tidy;
