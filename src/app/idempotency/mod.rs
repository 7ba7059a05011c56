//! Writes that clients can repeat without doing them twice, with the header `Idempotency-Key`.
//!
//! The answer to such a request is stored under a key of its own, which the commit of its effect expects to be absent.
//! So of several equal requests, on any node, one commits. The others lose that expectation, find the answer and get
//! it. A crash leaves nothing behind: either both the effect and the answer are stored, or neither is.
//!
//! An answer that is forgotten early lets a repeat make the change again. So times are those of a right clock, a step
//! of the clock makes no answer older, and an answer that cannot be read still counts as one.
//!
//! - `under_way` has the requests of this node that have begun. An equal request waits for the first.
//! - `sweep` deletes the answers that have been kept for long enough.

mod sweep;
mod under_way;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::sweep::Sweep;
use self::under_way::{Entered, Entry, UnderWay};
use super::rate_limit::Counts;
use super::sessions::Sessions;
use crate::env::{Clock, Entropy};
pub use crate::records::StoredAnswer;
use crate::records::keys::{self, RequestHash};
use crate::store::{Batch, CommitError, StoreError, Version};
use crate::telemetry::{IdempotencyOutcome, Metrics};

/// How long a request waits for an equal one that is under way on this node.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The time from a caller's first key until the count of its keys starts again.
const WINDOW: Duration = Duration::from_secs(3_600);
/// Most callers with a count of keys. Beyond that, the least recently used are forgotten first.
const CALLERS_MAX: usize = 65_536;
/// What the log says of answers that cannot be read.
const UNREADABLE: &str = "answers to repeated requests cannot be read: they are damaged, or of a newer version; their \
                          requests are not made again, and get 503 until the answers are deleted";

/// Settings of repeated requests.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencySettings {
    /// How long an answer is kept, in milliseconds.
    pub keep_ms: i64,
    /// Largest body that is stored with an answer, in bytes.
    pub body_bytes_max: usize,
    /// Most keys of one caller within an hour.
    pub keys_per_caller_max: u32,
}

/// The digest of a caller.
pub type CallerHash = [u8; 16];

/// A request with an idempotency key.
#[derive(Clone, Debug)]
pub struct RequestKey {
    /// The digest of caller, method, path and key: equal for a request and its repeats.
    pub request: RequestHash,
    /// The digest of query and body: different if the key was used for something else.
    pub fingerprint: u128,
    /// The digest of the caller, whose keys are counted.
    pub caller: CallerHash,
}

/// An answer to be stored. The body is JSON text, perhaps empty.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// HTTP status.
    pub status: u16,
    /// ETag, with its quotes.
    pub etag: Option<&'a str>,
    /// Body.
    pub body: &'a [u8],
}

/// Why a request with a key neither runs nor is answered from the store.
#[derive(Debug, thiserror::Error)]
pub enum KeyRefused {
    /// The key was used for another request.
    #[error("the key was used for another request")]
    Reused,
    /// An equal request has been under way on this node for long.
    #[error("an equal request is under way")]
    InUse,
    /// The caller has used too many keys.
    #[error("too many keys")]
    TooMany {
        /// Seconds until some count no longer.
        retry_after_s: u64,
    },
    /// It has run before, and nobody can tell its answer any more.
    #[error("the answer cannot be read")]
    Unreadable,
    /// The store failed, or this node's clock is wrong.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What happens to a request with a key.
pub enum Begun {
    /// It has run before. This was its answer.
    Repeated(StoredAnswer),
    /// It is the first, and runs now.
    First(FirstRun),
}

/// The first request with a key. Equal requests on this node wait until it is dropped.
pub struct FirstRun {
    /// Stores the answer, for the commit of the effect.
    pub recorder: Arc<Recorder>,
    _entry: Entry,
}

/// Stores the answer to a request in the commit of its effect.
#[derive(Debug)]
pub struct Recorder {
    key: RequestKey,
    /// The version of an older answer whose time is over, if there is one.
    over: Option<Version>,
    body_bytes_max: usize,
    /// When the request began, by a right clock, in milliseconds since the epoch.
    began_ms: i64,
    /// Whether the writes of an answer were made for a commit.
    is_used: AtomicBool,
}

impl Recorder {
    /// The writes that store the answer. They belong into the commit of the request's effect. That commit fails if an
    /// equal request was answered in the meantime.
    pub fn writes(&self, answered: Answered<'_>, read_at: impl FnOnce() -> Option<String>) -> Batch {
        self.is_used.store(true, Ordering::Relaxed);
        let body = std::str::from_utf8(answered.body).ok().filter(|body| body.len() <= self.body_bytes_max);
        let answer = StoredAnswer {
            fingerprint: self.key.fingerprint,
            stored_ms: self.began_ms,
            status: answered.status,
            etag: answered.etag.map(str::to_owned),
            body: body.map(str::to_owned),
            read_at: if body.is_none() { read_at() } else { None },
        };
        let key = keys::answer(&self.key.request);
        let expected = match self.over {
            Some(version) => Batch::default().expect_version(key.clone(), version),
            None => Batch::default().expect_absent(key.clone()),
        };
        expected.put(key, answer.encode())
    }
}

/// The service for repeated requests.
pub struct Idempotency {
    settings: IdempotencySettings,
    /// Has the store, and checks the clock.
    sessions: Arc<Sessions>,
    clock: Clock,
    entropy: Entropy,
    metrics: Arc<Metrics>,
    under_way: UnderWay,
    keys_of_callers: Mutex<Counts<CallerHash>>,
    sweep: Sweep,
}

impl Idempotency {
    /// The service over the store of the sessions.
    pub fn new(
        settings: IdempotencySettings,
        sessions: Arc<Sessions>,
        ((clock, entropy), metrics): ((Clock, Entropy), Arc<Metrics>),
    ) -> Self {
        let keys_of_callers = Mutex::new(Counts::new(CALLERS_MAX, WINDOW));
        let (under_way, sweep) = (UnderWay::default(), Sweep::new(settings.keep_ms));
        Self { settings, sessions, clock, entropy, metrics, under_way, keys_of_callers, sweep }
    }

    /// How long an answer is kept, in seconds.
    pub fn keep_s(&self) -> u32 {
        u32::try_from(self.settings.keep_ms / 1000).unwrap_or(u32::MAX)
    }

    /// Begins a request, or finds the answer to an equal one. Waits for an equal one that is under way on this node.
    ///
    /// # Errors
    /// [`KeyRefused`]. Nothing was done then.
    pub async fn begin(&self, key: &RequestKey) -> Result<Begun, KeyRefused> {
        let mut give_up = std::pin::pin!(tokio::time::sleep(WAIT_MAX));
        loop {
            let entry = match self.under_way.enter(key.request) {
                Entered::First(entry) => Some(entry),
                Entered::Another(end) => tokio::select! {
                    () = end.reached() => None,
                    () = &mut give_up => {
                        self.metrics.idempotency.count(IdempotencyOutcome::InUse);
                        return Err(KeyRefused::InUse);
                    }
                },
            };
            // Read after the entry, or after the end of the other request, so its answer is not missed.
            match (self.find(key).await?, entry) {
                (Found::Answer(answer), _) => return Ok(Begun::Repeated(answer)),
                (Found::Nothing { over }, Some(entry)) => return self.first_run(key, over, entry).await,
                // The other one was refused. This one may be the next first one.
                (Found::Nothing { .. }, None) => {}
            }
        }
    }

    async fn first_run(
        &self,
        key: &RequestKey,
        over: Option<Version>,
        entry: Entry,
    ) -> Result<Begun, KeyRefused> {
        // With the time of a clock that is behind, other nodes would forget the answer early.
        let began_ms = self.sessions.require_right_clock().await?;
        let mut counts = self.keys_of_callers();
        let up_ms = self.clock.up_ms();
        if counts.count(&key.caller, up_ms) >= self.settings.keys_per_caller_max {
            let left_ms = counts.left_ms(&key.caller, up_ms).unsigned_abs();
            return Err(KeyRefused::TooMany { retry_after_s: left_ms.div_ceil(1_000) });
        }
        // Counted at once and not when the answer is stored: a caller who disconnects must not escape the limit.
        counts.add(&key.caller, up_ms);
        let recorder = Recorder {
            key: key.clone(),
            over,
            body_bytes_max: self.settings.body_bytes_max,
            began_ms,
            is_used: AtomicBool::new(false),
        };
        Ok(Begun::First(FirstRun { recorder: Arc::new(recorder), _entry: entry }))
    }

    /// Ends a request that was answered. If no commit of it has stored the answer, because it had no effect, a commit
    /// of its own does: a repeat could have one. Returns the answer to an equal request if that was stored first.
    ///
    /// # Errors
    /// [`KeyRefused::Reused`] if a request with the same key was stored first that is not equal; errors of the store.
    pub async fn answered(
        &self,
        run: &FirstRun,
        answered: Answered<'_>,
        read_at: impl FnOnce() -> Option<String>,
    ) -> Result<Option<StoredAnswer>, KeyRefused> {
        if !run.recorder.is_used.load(Ordering::Relaxed) {
            match self.sessions.store().commit(run.recorder.writes(answered, read_at)).await {
                Ok(_) => {}
                Err(CommitError::Conflict { .. }) => return self.refused(run).await,
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        self.metrics.idempotency.count(IdempotencyOutcome::Stored);
        Ok(None)
    }

    /// Ends a request that was refused or has failed. Returns the answer to an equal request if there is one: that
    /// request may be the reason of the refusal.
    ///
    /// # Errors
    /// As for [`answered`](Self::answered).
    pub async fn refused(&self, run: &FirstRun) -> Result<Option<StoredAnswer>, KeyRefused> {
        let key = &run.recorder.key;
        self.keys_of_callers().take_back(&key.caller, self.clock.up_ms());
        match self.find(key).await? {
            Found::Answer(answer) => Ok(Some(answer)),
            Found::Nothing { .. } => Ok(None),
        }
    }

    /// Reads the answer to an equal request.
    async fn find(&self, key: &RequestKey) -> Result<Found, KeyRefused> {
        let Some(entry) = self.sessions.store().get(&keys::answer(&key.request)).await? else {
            return Ok(Found::Nothing { over: None });
        };
        let answer = StoredAnswer::decode(&entry.value).map_err(|error| {
            tracing::error!(%error, "{UNREADABLE}");
            self.metrics.idempotency.count(IdempotencyOutcome::Unreadable);
            KeyRefused::Unreadable
        })?;
        match self.sessions.require_right_clock().await {
            Ok(now_ms) if self.is_over(&answer, now_ms) => {
                return Ok(Found::Nothing { over: Some(entry.version) });
            }
            // A wrong clock cannot tell that its time is over. Until it is right, the answer is that of a repeat.
            Ok(_) | Err(StoreError::ClockSkew { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if answer.fingerprint != key.fingerprint {
            self.metrics.idempotency.count(IdempotencyOutcome::Reused);
            return Err(KeyRefused::Reused);
        }
        self.metrics.idempotency.count(IdempotencyOutcome::Replayed);
        Ok(Found::Answer(answer))
    }

    /// Whether an answer has been kept for long enough. `now_ms` is the time of a right clock, in milliseconds since
    /// the epoch. The time starts again at a step of the clock, as all timeouts do.
    fn is_over(&self, answer: &StoredAnswer, now_ms: i64) -> bool {
        let (_, last_step_ms) = self.sessions.now_and_last_clock_step_ms();
        let since_ms = last_step_ms.map_or(answer.stored_ms, |step_ms| answer.stored_ms.max(step_ms));
        since_ms.saturating_add(self.settings.keep_ms) <= now_ms
    }

    fn keys_of_callers(&self) -> MutexGuard<'_, Counts<CallerHash>> {
        self.keys_of_callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of a search for the answer to an equal request.
enum Found {
    Answer(StoredAnswer),
    Nothing {
        /// The version of an answer whose time is over, if there is one.
        over: Option<Version>,
    },
}

#[cfg(test)]
#[path = "idempotency_tests.rs"]
mod tests;
