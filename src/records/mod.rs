//! What is stored: the keys, the formats of the values, and everything that follows from a session. This is the one
//! module that knows both the store and the domain.
//!
//! # Records of other versions
//!
//! Nodes of two versions may share a database during a rolling upgrade, and a data directory may be opened by an older
//! version after a newer one. Two rules keep both safe:
//!
//! 1. **A new field needs no new format.** It has a default for readers that do not find it. An older build keeps the
//!    fields of a session that it does not know, and writes them back with each change ([`unknown`]). So builds may
//!    change one session in turn, and no field is lost.
//! 2. **A new meaning needs a new format.** So does a new variant of a stored enum, which an older build cannot read. The
//!    first byte of a stored session is its format. A build refuses a format
//!    that it does not know and changes nothing. Such a release must say in its notes that nodes of the version before have to
//!    stop first.
//!
//! What follows from a session (a membership, a listing) is written anew from the session by whoever changes it, so an
//! older build drops the newer fields of such a value until a newer build changes the session again: these values must
//! be usable without their newer fields. A key kind that only a newer build derives can outlive its session, because an older
//! build does not delete it. So whoever reads through such a key checks that the session is there and agrees.

pub mod index;
pub mod keys;
pub mod last_seen;
pub mod session;
pub mod unknown;
pub mod values;

pub use index::plan;
pub use last_seen::LastSeen;
pub use session::StoredSession;
pub use unknown::UnknownFields;
pub use values::{Listed, Membership};
