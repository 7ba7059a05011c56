//! A session as this node holds it in memory: parsed once, each of its documents rendered once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::document::Document;
use crate::domain::{Platform, Session};
use crate::store::Version;

/// How much of a session a caller sees; each view has a document and an ETag of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Everything: for active players, and for those who may read any session.
    Full,
    /// Nothing that helps to connect: for everyone else.
    Limited,
}

/// One version of a session. It never changes; a change makes a new one.
#[derive(Debug)]
pub struct Live {
    /// The session.
    pub session: Session,
    /// Its version in the store.
    pub version: Version,
    /// When it ends unless someone asks for it before, ms since the epoch; shared between its versions.
    pub deadline_ms: Arc<AtomicI64>,
    full: OnceLock<Document>,
    limited: OnceLock<Document>,
    platform: BTreeMap<Platform, OnceLock<Document>>,
}

impl Live {
    /// A version of a session.
    pub fn new(session: Session, version: Version, deadline_ms: Arc<AtomicI64>) -> Self {
        let platform =
            session.platform_sessions.keys().map(|platform| (*platform, OnceLock::new())).collect();
        Self { session, version, deadline_ms, full: OnceLock::new(), limited: OnceLock::new(), platform }
    }

    /// The document of a view, rendered the first time it is asked for.
    pub fn document(&self, view: View, render: impl FnOnce() -> Document) -> &Document {
        match view {
            View::Full => self.full.get_or_init(render),
            View::Limited => self.limited.get_or_init(render),
        }
    }

    /// The document of a linked platform session, rendered the first time it is asked for.
    pub fn platform_document(
        &self,
        platform: Platform,
        render: impl FnOnce() -> Document,
    ) -> Option<&Document> {
        self.platform.get(&platform).map(|document| document.get_or_init(render))
    }

    /// When the session ends unless someone asks for it before, ms since the epoch.
    pub fn deadline_ms(&self) -> i64 {
        self.deadline_ms.load(Ordering::Relaxed)
    }
}
