//! The stored records: keys, formats of values, and the index entries of sessions. This is the only module that knows
//! both the store and the domain.
//!
//! # Records of other versions
//!
//! Nodes of two versions may share a database during a rolling upgrade, and a data directory may be opened by an older
//! version after a newer one. Two rules keep both safe:
//!
//! 1. **A new field needs no new format.** It has a default value, for sessions that were stored without it. An
//!    older build keeps the fields of a session that it does not know, and writes them back with each change
//!    ([`unknown`]). So builds of several versions can change the same session, and no field is lost.
//! 2. **A changed meaning needs a new format.** So does a new variant of a stored enum, which an older build cannot
//!    read. The first byte of a stored session is its format. A build refuses a format that it does not know, and
//!    changes nothing. The release notes of such a version must say that all nodes of older versions have to stop
//!    first.
//!
//! Index entries, such as a membership or a listing, are computed from the session, and rewritten by the node that
//! changes the session. A presence
//! record ([`last_seen`]) is merged and rewritten by every node that sees its players. So:
//!
//! - An older build drops the newer fields of an index entry or a presence record until a newer build writes it again.
//!   Both must be usable without their newer fields.
//! - An older build does not delete index entries of a kind that it does not know, so such an entry can outlive its
//!   session. So a reader of such an entry must check that the session exists and has the value that the entry names.

pub mod audit;
pub mod backfill;
pub mod deserter;
pub mod idempotency;
pub mod inbox;
pub mod index;
pub mod keys;
pub mod last_seen;
pub mod launch;
pub mod login;
pub mod session;
pub mod template;
pub mod unknown;
pub mod queued;
pub mod values;

pub use idempotency::StoredAnswer;
pub use index::plan;
pub use last_seen::LastSeen;
pub use login::{KnownPlayer, RefreshToken};
pub use session::StoredSession;
pub use unknown::UnknownFields;
pub use values::{Listed, Membership};
