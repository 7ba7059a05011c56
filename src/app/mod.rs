//! What operations are made of: load, rule, commit, over a store, a clock, chance and the configuration.

pub mod deadlines;
pub mod index;
pub mod live;
pub mod sessions;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;

pub use deadlines::Deadlines;
pub use live::{Live, View};
pub use sessions::Sessions;

use crate::auth::Verifier;
use crate::document::Document;
use crate::domain::client::VersionCheck;
use crate::domain::join::JoinRules;
use crate::domain::session::Status;
use crate::domain::template::Template;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::env::{Clock, Entropy};
use crate::store::{CommitError, Store, StoreError};
use crate::telemetry::Metrics;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A rule said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many writers raced for the same session.
    #[error("too many changes at once")]
    Contended,
    /// A fault of ours.
    #[error("{0}")]
    Fault(String),
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict { .. } => Self::Contended,
            CommitError::Store(error) => Self::Store(error),
        }
    }
}

/// What the operator decided about sessions.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a session lives without being asked for.
    pub idle: Duration,
    /// How far clients' versions must agree to play together.
    pub version_check: VersionCheck,
    /// Whether a joiner's claim of friendship is believed.
    pub trust_friends: bool,
    /// The regions there are; empty: any id is one.
    pub regions: Vec<String>,
    /// Most unanswered invites and reservations of a player.
    pub invites_per_player_max: usize,
    /// Most sessions that a player takes part in.
    pub sessions_per_player_max: usize,
    /// Bytes of memory for cached sessions.
    pub cache_bytes: u64,
}

/// Session templates by type, and their document, rendered once.
pub struct Templates {
    /// By type.
    pub by_type: BTreeMap<String, Template>,
    document: OnceLock<Document>,
}

impl Templates {
    /// These templates.
    pub fn new(by_type: BTreeMap<String, Template>) -> Self {
        Self { by_type, document: OnceLock::new() }
    }

    /// The document of all templates, rendered the first time it is asked for.
    pub fn document(&self, render: impl FnOnce(&BTreeMap<String, Template>) -> Document) -> &Document {
        self.document.get_or_init(|| render(&self.by_type))
    }
}

/// The application: everything an operation needs, and nothing of HTTP.
pub struct App {
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// When sessions end by themselves.
    pub deadlines: Deadlines,
    /// Session templates.
    pub templates: Templates,
    /// What the operator decided.
    pub settings: Settings,
    /// Verifies tokens.
    pub verifier: Verifier,
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub entropy: Entropy,
}

impl App {
    /// An application over a store.
    pub fn new(
        store: Store,
        verifier: Verifier,
        templates: BTreeMap<String, Template>,
        settings: Settings,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        Self {
            sessions: Arc::new(Sessions::new(store, settings.cache_bytes)),
            deadlines: Deadlines::new(settings.idle),
            templates: Templates::new(templates),
            settings,
            verifier,
            metrics: Arc::new(Metrics::new()),
            clock,
            entropy,
        }
    }

    /// Stores a new session, with its whole idle time ahead of it.
    pub async fn create_session(&self, session: Session) -> Result<Arc<Live>, Failure> {
        let deadline_ms = self.deadlines.from_now(self.clock.now_ms());
        self.sessions.create(session, deadline_ms).await
    }

    /// Changes a session by a rule; see [`Sessions::update`]. A change counts as asking for the session where
    /// `refresh` says so.
    pub async fn update_session<T, R>(
        &self,
        id: &SessionId,
        refresh: bool,
        rule: R,
    ) -> Result<(T, Arc<Live>), Failure>
    where
        T: Send + 'static,
        R: FnMut(&mut Session) -> Result<T, Refused> + Send + 'static,
    {
        let (answer, live) = self.sessions.update(id, rule).await?;
        if refresh && !live.session.ended {
            self.deadlines.refresh(&live, self.clock.now_ms());
        }
        Ok((answer, live))
    }

    /// Whether players of this session may change their team by themselves, by its template.
    pub fn can_change_own_team(&self, session: &Session) -> bool {
        let template = self.templates.by_type.get(&session.session_type);
        template.is_none_or(|template| template.can_change_own_team)
    }

    /// Whether players hear of places kept for them in sessions of a type.
    pub fn tells_of_reservations(&self, session_type: &str) -> bool {
        let template = self.templates.by_type.get(session_type);
        template.is_none_or(|template| template.notify_on_reservation)
    }

    /// Refuses an invite to `id` where the player has as many others as a player may have. Invites that are given
    /// at the same moment may go one beyond.
    pub async fn check_invites(&self, player: PlayerUuid, id: &SessionId) -> Result<(), Failure> {
        let others = self.other_places(player, id, |status| !status.is_active()).await?;
        if others < self.settings.invites_per_player_max {
            Ok(())
        } else {
            Err(Refused::TooManyInvites.into())
        }
    }

    /// Refuses to let a player into `id` who is in as many other sessions as a player may be. Joins at the same
    /// moment may go one beyond.
    pub async fn check_sessions(&self, player: PlayerUuid, id: &SessionId) -> Result<(), Failure> {
        let others = self.other_places(player, id, Status::is_active).await?;
        if others < self.settings.sessions_per_player_max {
            Ok(())
        } else {
            Err(Refused::TooManySessions.into())
        }
    }

    async fn other_places(
        &self,
        player: PlayerUuid,
        id: &SessionId,
        counts: impl Fn(Status) -> bool,
    ) -> Result<usize, StoreError> {
        let places = self.sessions.memberships(player).await?;
        Ok(places.iter().filter(|(other, place)| other != id && counts(place.status)).count())
    }

    /// What joining depends on beside the session and the joiner.
    pub fn join_rules(&self, now: Timestamp) -> JoinRules {
        let Settings { version_check, trust_friends, .. } = self.settings;
        JoinRules { now, version_check, trust_friends }
    }
}
