//! Changes of sessions at the request of callers. Every write of the API goes through a [`Change`]: the conditions of
//! the request are judged in one place, and the answer is a function of the result of the rule and of the session after
//! it.

use std::sync::Arc;

use http::HeaderValue;
use percent_encoding::{NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use smallvec::{SmallVec, smallvec};

use crate::api::PREFIX;
use crate::api::policies::{READ_PLATFORM, READ_RIGHTS, READ_SESSION};
use crate::api::wire::platform::readable_platform_document;
use crate::api::wire::player::{player_document, rights_document};
use crate::api::wire::view::{document_view, session_document};
use crate::app::{
    App, CachedSession, ChangeHook, Failure, Hook, HookWrites, Mismatch, PlatformKey, Update, Verdict, View,
};
use crate::auth::{Caller, Policy};
use crate::document::Document;
use crate::domain::{PlayerUuid, Refused, Session, SessionId};
use crate::http::error::{Error, PreconditionFailed};
use crate::http::input::conditions::Conditions;
use crate::http::input::if_match::{IfMatch, Match};
use crate::http::reply::{Answer, Reply, ReplyKind};
use crate::telemetry::Precondition;

/// A change of a session at the request of a caller.
#[derive(Clone)]
pub struct Change {
    /// The application.
    pub app: Arc<App>,
    /// The caller.
    pub caller: Caller,
    conditions: Conditions,
    /// What the change is about. `If-Match` may have the ETag of any of these.
    resources: SmallVec<[Resource; 3]>,
    keeps_alive: bool,
    /// Whether the platform in the caller's token is noted.
    notes_platform: bool,
    /// What the audit events of the change say of it.
    reason: Option<String>,
    removed_session: Option<SessionId>,
}

/// Something with an ETag that a change is about.
#[derive(Clone)]
enum Resource {
    Session,
    Player(PlayerUuid),
    Rights(PlayerUuid),
    PlatformSession(PlatformKey),
}

/// The session after a change, for the caller who made it.
pub struct After<'a> {
    /// The application.
    pub app: &'a App,
    /// The caller.
    pub caller: &'a Caller,
    /// The session. An ended session is as it was at its end.
    pub cached: &'a CachedSession,
}

impl After<'_> {
    /// The session.
    pub fn session(&self) -> &Session {
        &self.cached.session
    }

    /// The caller's view of the session.
    pub fn view(&self) -> View {
        document_view(self.app, self.caller, self.cached)
    }

    /// The document of the session as the caller would read it.
    pub fn document(&self) -> Document {
        session_document(self.app, self.caller, self.cached)
    }
}

impl Change {
    /// A change of a session by a caller, with the conditions of the request.
    pub fn by(app: Arc<App>, caller: Caller, conditions: Conditions) -> Self {
        let resources = smallvec![Resource::Session];
        Self {
            app,
            caller,
            conditions,
            resources,
            keeps_alive: true,
            notes_platform: true,
            reason: None,
            removed_session: None,
        }
    }

    /// Sets whether the change moves the session's deadline, as a read does.
    #[must_use]
    pub fn keeping_alive(self, keeps_alive: bool) -> Self {
        Self { keeps_alive, ..self }
    }

    /// Leaves the platform in the caller's token aside: the rule notes it, or need not note it.
    #[must_use]
    pub fn without_platform(self) -> Self {
        Self { notes_platform: false, ..self }
    }

    /// The reason that the request gives. The audit events of removed players have it.
    #[must_use]
    pub fn because(self, reason: Option<String>) -> Self {
        Self { reason, ..self }
    }

    /// The change removes the players of this session together.
    #[must_use]
    pub fn removing(self, session: SessionId) -> Self {
        Self { removed_session: Some(session), ..self }
    }

    /// The change is about a player of the session.
    #[must_use]
    pub fn of_player(mut self, player: PlayerUuid) -> Self {
        self.resources.push(Resource::Player(player));
        self
    }

    /// The change is about the rights of a player of the session.
    #[must_use]
    pub fn of_rights(self, player: PlayerUuid) -> Self {
        let mut change = self.of_player(player);
        change.resources.push(Resource::Rights(player));
        change
    }

    /// The change is about a platform session that is linked to the session, or about the link.
    #[must_use]
    pub fn of_platform_session(mut self, key: PlatformKey) -> Self {
        self.resources.insert(0, Resource::PlatformSession(key));
        self
    }

    /// Changes the session by a rule, and answers. `answer` gets the result of the rule and the session after the
    /// change.
    ///
    /// # Errors
    /// The errors of [`Sessions::update`](crate::app::Sessions::update) and of `answer`;
    /// [`Error::PreconditionFailed`] if the request demands another version.
    pub async fn run<T, K, R, A>(self, id: &SessionId, rule: R, answer: A) -> Result<Reply<K>, Error>
    where
        T: Send + 'static,
        K: ReplyKind,
        R: FnMut(&mut Session) -> Result<T, Refused> + Send + 'static,
        A: Fn(&T, &After<'_>) -> Result<Reply<K>, Error> + Send + Sync + 'static,
    {
        self.run_and_note(id, rule, answer, |_, _| ()).await
    }

    /// Like [`run`](Self::run). `note` is called once the change is made, to log it and to count it.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub async fn run_and_note<T, K, R, A>(
        self,
        id: &SessionId,
        rule: R,
        answer: A,
        note: impl FnOnce(&T, &After<'_>),
    ) -> Result<Reply<K>, Error>
    where
        T: Send + 'static,
        K: ReplyKind,
        R: FnMut(&mut Session) -> Result<T, Refused> + Send + 'static,
        A: Fn(&T, &After<'_>) -> Result<Reply<K>, Error> + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        let updated = self.app.sessions.update(id, self.update(&answer), rule).await;
        self.finish(updated, &*answer, note)
    }

    /// Like [`run_and_note`](Self::run_and_note), for a rule that also reads another session.
    ///
    /// # Errors
    /// As for [`run`](Self::run), and those of [`Sessions::update_beside`](crate::app::Sessions::update_beside).
    pub async fn run_beside<T, K, R, A>(
        self,
        (id, other): (&SessionId, &SessionId),
        rule: R,
        answer: A,
        note: impl FnOnce(&T, &After<'_>),
    ) -> Result<Reply<K>, Error>
    where
        T: Send + 'static,
        K: ReplyKind,
        R: FnMut(&mut Session, &Session) -> Result<T, Refused> + Send + 'static,
        A: Fn(&T, &After<'_>) -> Result<Reply<K>, Error> + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        let updated = self.app.sessions.update_beside(id, other, self.update(&answer), rule).await;
        self.finish(updated, &*answer, note)
    }

    /// Checks the condition of the request before something is prepared that the change alone needs. The change itself
    /// checks it again.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`].
    pub fn require_condition(&self, cached: &CachedSession) -> Result<(), Error> {
        match self.judge(cached) {
            Verdict::Unconditional | Verdict::Holds => Ok(()),
            Verdict::Fails(mismatch) => {
                self.app.metrics.precondition(Precondition::Failed);
                Err(self.precondition_failed(*mismatch))
            }
        }
    }

    fn update<T, K, A>(&self, answer: &Arc<A>) -> Update<T>
    where
        T: 'static,
        K: ReplyKind,
        A: Fn(&T, &After<'_>) -> Result<Reply<K>, Error> + Send + Sync + 'static,
    {
        let update = match self.notes_platform {
            true => Update::by(&self.caller, self.keeps_alive),
            false => Update::by_caller(self.keeps_alive),
        };
        let (reason, removed_session) = (self.reason.clone(), self.removed_session.clone());
        let update = Update { reason, removed_session, ..update };
        update.with(self.hook(answer)).made_by(self.caller.player())
    }

    /// The hook for the conditions of the request; `None` if it has none.
    fn hook<T, K, A>(&self, answer: &Arc<A>) -> Hook<T>
    where
        K: ReplyKind,
        A: Fn(&T, &After<'_>) -> Result<Reply<K>, Error> + Send + Sync + 'static,
    {
        if self.conditions.if_match.is_none() && self.conditions.recorder.is_none() {
            return None;
        }
        Some(Arc::new(ConditionsHook { change: self.clone(), answer: Arc::clone(answer) }))
    }

    fn finish<T, K: ReplyKind>(
        &self,
        updated: Result<(T, Arc<CachedSession>), Failure>,
        answer: &impl Fn(&T, &After<'_>) -> Result<Reply<K>, Error>,
        note: impl FnOnce(&T, &After<'_>),
    ) -> Result<Reply<K>, Error> {
        let (result, cached) = match updated {
            Ok(updated) => updated,
            Err(Failure::PreconditionFailed(mismatch)) => return Err(self.precondition_failed(*mismatch)),
            Err(failure) => return Err(failure.into()),
        };
        let after = After { app: &self.app, caller: &self.caller, cached: &cached };
        note(&result, &after);
        self.reply(&result, &after, answer)
    }

    /// The answer to the request.
    fn reply<T, K: ReplyKind>(
        &self,
        result: &T,
        after: &After<'_>,
        answer: &impl Fn(&T, &After<'_>) -> Result<Reply<K>, Error>,
    ) -> Result<Reply<K>, Error> {
        let reply = answer(result, after)?;
        // Who has sent an ETag can send the next one without a read.
        let lacks_etag = self.conditions.if_match.is_some() && !K::ETAG && !after.session().ended;
        Ok(if lacks_etag { reply.with_etag(after.document().etag) } else { reply })
    }

    /// Where a document can be read that is the answer: path and query. `None` if the answer is no such document.
    fn read_at(&self, answer: &Answer, cached: &CachedSession) -> Option<String> {
        let is_answer = |document: Document| document.body == answer.body;
        let mut resources = self.resources.iter();
        let resource = resources.find(|resource| resource.read(self, cached).is_some_and(is_answer))?;
        Some(resource.path(&cached.session.id))
    }

    fn precondition_failed(&self, mismatch: Mismatch) -> Error {
        let is_minimal = self.conditions.is_minimal;
        Error::PreconditionFailed(Box::new(PreconditionFailed { mismatch, is_minimal }))
    }

    /// Judges `If-Match`: compares its tags with those of what the change is about, as the caller would read it. Most
    /// tags are of the first resource, so the others are rendered only if it does not match.
    fn judge(&self, cached: &CachedSession) -> Verdict {
        let Some(if_match) = &self.conditions.if_match else { return Verdict::Unconditional };
        if *if_match == IfMatch::Any {
            return Verdict::Holds;
        }
        let mut mismatch = Mismatch::default();
        for resource in &self.resources {
            let read = resource.read(self, cached);
            let tag = match &read {
                Some(document) => Some(document.etag.clone()),
                None => resource.known_tag(self, cached),
            };
            match tag.map_or(Match::No, |tag| if_match.compare(&tag)) {
                Match::Strong => return Verdict::Holds,
                Match::Weak => mismatch.has_weak_match = true,
                Match::No => {}
            }
            mismatch.current = mismatch.current.or(read);
        }
        Verdict::Fails(Box::new(mismatch))
    }
}

impl Resource {
    /// Where it can be read: path and query, for a resource of this session.
    fn path(&self, id: &SessionId) -> String {
        let session = format!("{PREFIX}/v1/session/{}", encoded(id.as_str()));
        match self {
            Self::Session => format!("{session}?refresh_ttl=false"),
            Self::Player(player) => format!("{session}/player/{player}?refresh_ttl=false"),
            Self::Rights(player) => format!("{session}/player/{player}/permission?refresh_ttl=false"),
            Self::PlatformSession((platform, id)) => {
                let (platform, id) = (platform.name(), encoded(id.as_str()));
                format!("{PREFIX}/v1/platform/{platform}/platform-session/{id}")
            }
        }
    }

    /// The permission to read it.
    fn policy(&self) -> Policy {
        match self {
            Self::Session | Self::Player(_) => READ_SESSION,
            Self::Rights(_) => READ_RIGHTS,
            Self::PlatformSession(_) => READ_PLATFORM,
        }
    }

    /// Its document as the caller of a change would read it; `None` if the caller may not.
    fn read(&self, change: &Change, cached: &CachedSession) -> Option<Document> {
        self.document_for(change, &change.caller.narrowed(self.policy()).ok()?, cached)
    }

    /// Its ETag, if the caller of a change may know it without the permission to read it: the answers of changes have
    /// the ETag of the session.
    fn known_tag(&self, change: &Change, cached: &CachedSession) -> Option<HeaderValue> {
        match self {
            Self::Session => Some(session_document(&change.app, &change.caller, cached).etag),
            Self::Player(_) | Self::Rights(_) | Self::PlatformSession(_) => None,
        }
    }

    fn document_for(&self, change: &Change, reader: &Caller, cached: &CachedSession) -> Option<Document> {
        match self {
            Self::Session => Some(session_document(&change.app, reader, cached)),
            Self::Player(player) => player_document(reader, &cached.session, *player).ok(),
            Self::Rights(player) => rights_document(reader, &cached.session, *player).ok(),
            Self::PlatformSession(key) => readable_platform_document(reader, cached, key).ok().cloned(),
        }
    }
}

/// A segment of a path.
fn encoded(segment: &str) -> PercentEncode<'_> {
    utf8_percent_encode(segment, NON_ALPHANUMERIC)
}

/// What the headers of a request ask of its change. It is called in each attempt, under the lock of the session. Before
/// the rule it judges `If-Match`, on the very version of the session that the commit expects, so no other change can
/// come between. To the commit it adds the answer, if the request has an idempotency key.
struct ConditionsHook<A> {
    change: Change,
    answer: Arc<A>,
}

impl<T, K, A> ChangeHook<T> for ConditionsHook<A>
where
    K: ReplyKind,
    A: Fn(&T, &After<'_>) -> Result<Reply<K>, Error> + Send + Sync,
{
    fn judge(&self, before: &CachedSession) -> Verdict {
        self.change.judge(before)
    }

    fn writes(&self, result: &T, after: &CachedSession) -> Result<HookWrites, Failure> {
        let change = &self.change;
        let Some(recorder) = &change.conditions.recorder else { return Ok(HookWrites::default()) };
        let seen = After { app: &change.app, caller: &change.caller, cached: after };
        let answer = match change.reply(result, &seen, &*self.answer) {
            Ok(reply) => reply.into_answer(),
            Err(Error::Refused(refused)) => return Err(refused.into()),
            Err(error) => {
                tracing::error!(%error, "a change cannot be answered, so it is not made");
                return Err(Failure::Panicked);
            }
        };
        Ok(recorder.writes(answer.to_store(), || change.read_at(&answer, after)))
    }
}
