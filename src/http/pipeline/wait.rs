//! Requests that wait: a GET with `Prefer: wait` and the ETag of what the client has is held until the answer differs,
//! and a long poll until there is something to tell.
//!
//! How a wait ends is what a request that does not wait would be answered at that moment: each look runs the token, the
//! permission, the input and the handler again. A wait subscribes first, then reads, compares and sleeps. So it sees a
//! change, or is woken by it. A 304 is answered only after a read that began when the wait was due to end.
//!
//! A store that is too slow for that read delays no answer for long. A long poll is then answered in time that there is
//! nothing new: its client goes on from the same cursor, so nothing is lost. A GET gets a 503 a few seconds after its end,
//! and never a 304 that nobody has checked.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::shared_looks::SharedLook;
use super::{OperationResult, Pipeline, is_read};
use crate::app::ClientKey;
use crate::app::waits::{LongPoll, NotHeld, Subscription, WaitForm, WaitOn};
use crate::auth::Caller;
use crate::domain::SessionId;
use crate::http::connection::Peer;
use crate::http::error::Error;
use crate::http::input::prefer::{self, PREFER, PREFERENCE_APPLIED};
use crate::http::input::short_code;
use crate::http::operation::Operation;
use crate::http::reply::{Answer, if_none_match};
use crate::http::routes::RoutedPath;
use crate::telemetry::WaitEnd;

/// A wait ends up to this share of its length early, so that not all clients come back at the same moment: 1 / 16.
const EARLY_PARTS: i64 = 16;
/// But at most this much early, in milliseconds.
const EARLY_MS_MAX: i64 = 2_000;
/// A wait ends at least this much early, in milliseconds, if it may: its last look takes a moment.
const EARLY_MS_MIN: i64 = 250;
/// How long after the time that it was granted a GET still gets the answer of its last look, in milliseconds. The longest
/// waits by default then end before proxies cut them, after 60 s.
const LATE_MS_MAX: i64 = 4_000;
/// Longest time after which a long poll that is not held may come again, in seconds.
const RETRY_AFTER_S_MAX: f64 = 5.0;
/// Pause before a wait looks again after the store could not be asked, in milliseconds.
const AWAY_PAUSE_MS: i64 = 1_000;
/// No cache may join requests that wait.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A request that waits, without what is not needed to answer it again.
pub(super) struct HeldWait {
    operation: usize,
    /// The method, the target, and of the headers only `If-None-Match`, in memory of their own: a part of the request
    /// would keep all of it.
    parts: Parts,
    by_short_code: Vec<(&'static str, SessionId)>,
    caller: Caller,
    subscription: Subscription,
    /// Other waits may have read the same answer.
    shared: Option<SharedLook>,
    /// The answer if nothing changes: one with the ETag that the client has, which becomes a 304, or that of a long poll
    /// which has nothing to tell.
    known: Answer,
    granted_ms: i64,
    times: WaitTimes,
    is_client_gone: bool,
    has_token_ended: bool,
    was_store_too_slow: bool,
}

/// When a wait ends, in milliseconds of the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct WaitTimes {
    /// When its last look begins.
    end_up_ms: i64,
    /// When it is answered without that look, if the look takes too long.
    answer_by_up_ms: i64,
}

impl HeldWait {
    /// Why the wait ends with this answer.
    fn end_of(&self, result: &Result<Answer, Error>) -> WaitEnd {
        match result {
            Ok(_) if self.has_token_ended => WaitEnd::TokenEnded,
            _ if self.was_store_too_slow => WaitEnd::StoreAway,
            Ok(answer) if self.is_news(answer) => WaitEnd::Changed,
            Ok(_) if self.is_client_gone => WaitEnd::ClientGone,
            Ok(_) if self.subscription.must_end() => WaitEnd::Stopped,
            Ok(_) => WaitEnd::Unchanged,
            Err(error) if error.is_store_away() => WaitEnd::StoreAway,
            Err(_) => WaitEnd::Refused,
        }
    }

    fn is_long_poll(&self) -> bool {
        self.known.etag.is_none()
    }

    /// Whether an answer tells the client something new.
    fn is_news(&self, answer: &Answer) -> bool {
        if self.is_long_poll() {
            return !answer.is_nothing_new();
        }
        // The client may have several versions.
        answer.etag.as_ref().is_none_or(|etag| !if_none_match(&self.parts.headers, etag))
    }

    /// How long the token is valid, in milliseconds.
    fn token_left_ms(&self, now_ms: i64) -> i64 {
        self.caller.token().ends_ms.saturating_sub(now_ms)
    }
}

/// Why a request is not held, or what it is answered instead.
enum HoldError {
    NotHeld(NotHeld),
    Refused(Error),
}

impl From<NotHeld> for HoldError {
    fn from(not_held: NotHeld) -> Self {
        Self::NotHeld(not_held)
    }
}

impl From<Error> for HoldError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// A request that was answered once.
#[derive(Clone, Copy)]
struct AnsweredRequest<'a> {
    operation: usize,
    parts: &'a Parts,
    peer: Option<IpAddr>,
    started: Instant,
}

/// What a request waits for.
struct Wanted {
    form: WaitForm,
    wait_on: WaitOn,
    /// The query of the next looks, if it differs from that of the request.
    query: Option<String>,
    known: Answer,
    granted_ms: i64,
}

impl Pipeline {
    /// Holds a long poll that has nothing to tell yet, or a GET that wants to wait if its answer is what the client has.
    /// `None`: it is answered at once.
    pub(super) async fn hold(
        &self,
        parts: &Parts,
        found: &mut OperationResult,
        peer: Option<IpAddr>,
        started: Instant,
    ) -> Option<Box<HeldWait>> {
        let (Some(operation), Ok(answer)) = (found.operation, &mut found.result) else { return None };
        let request = AnsweredRequest { operation, parts, peer, started };
        if !answer.is_nothing_new() {
            return self.hold_get(request, answer).await;
        }
        self.hold_long_poll(request, answer).await.unwrap_or_else(|refusal| {
            found.result = Err(refusal);
            None
        })
    }

    /// Holds a long poll that has nothing to tell yet.
    ///
    /// # Errors
    /// The refusal of one that this node does not hold.
    async fn hold_long_poll(
        &self,
        request: AnsweredRequest<'_>,
        answer: &mut Answer,
    ) -> Result<Option<Box<HeldWait>>, Error> {
        let Some(mut wait_on) = answer.wait_on.take() else { return Ok(None) };
        let Some(LongPoll { hold_ms, query }) = wait_on.long_poll.take() else { return Ok(None) };
        let granted_ms = hold_ms.min(self.app.waits.limits().max_ms);
        if granted_ms == 0 {
            return Ok(None);
        }
        let (form, query) = (WaitForm::LongPoll, Some(query));
        let wanted = Wanted { form, wait_on, query, known: answer.clone(), granted_ms };
        match self.subscribe(request, wanted).await {
            Ok(held) => Ok(Some(held)),
            // Also if it has just become too late: the answer is true, and the client comes back to another node.
            Err(HoldError::NotHeld(NotHeld::Draining)) => Ok(None),
            Err(HoldError::NotHeld(NotHeld::TooManyOfPlayer)) => Err(Error::TooManyListeners),
            Err(HoldError::NotHeld(NotHeld::TooMany)) => {
                let drawn_s = (self.app.entropy.fraction() * RETRY_AFTER_S_MAX) as u64;
                Err(Error::TooManyHeld { retry_after_s: 1 + drawn_s })
            }
            Err(HoldError::Refused(error)) => Err(error),
        }
    }

    /// Holds a GET that wants to wait, if its answer is what the client has. `None`: it is answered at once. An answer
    /// that could have been waited for says so.
    async fn hold_get(&self, request: AnsweredRequest<'_>, answer: &mut Answer) -> Option<Box<HeldWait>> {
        let headers = &request.parts.headers;
        let wanted_s = prefer::wait_s(headers).filter(|_| is_read(&request.parts.method))?;
        let (etag, wait_on) = (answer.etag.clone()?, answer.wait_on.take()?);
        let known = headers.get_all(header::IF_NONE_MATCH);
        // `*` is every version, so nothing can differ from it.
        let has_all = known.iter().any(|tags| tags.as_bytes().trim_ascii() == b"*");
        if answer.status != StatusCode::OK || known.iter().next().is_none() || has_all {
            return None;
        }
        let granted_ms = i64::from(wanted_s).saturating_mul(1000).min(self.app.waits.limits().max_ms);
        let held = if if_none_match(headers, &etag) {
            let known = Answer { etag: Some(etag), ..Answer::empty(StatusCode::OK) };
            let wanted = Wanted { form: WaitForm::Get, wait_on, query: None, known, granted_ms };
            Some(self.subscribe(request, wanted).await.ok()?)
        } else {
            None
        };
        answer.headers.insert(PREFERENCE_APPLIED, prefer::applied(granted_ms / 1000));
        held
    }

    /// Subscribes a request to what it waits on.
    async fn subscribe(
        &self,
        request: AnsweredRequest<'_>,
        wanted: Wanted,
    ) -> Result<Box<HeldWait>, HoldError> {
        let AnsweredRequest { operation, parts, peer, started } = request;
        let Wanted { form, wait_on, query, known, granted_ms } = wanted;
        let path = RoutedPath::of(parts);
        let (_, mut raw_params) = self.route(&path, parts, peer)?;
        let caller = self.admit(&self.operations[operation], parts)?.at(raw_params.client);
        short_code::resolve(&self.app, ClientKey::of(&caller), &mut raw_params).await?;
        let by_short_code = raw_params.by_short_code;
        let subscription = self.app.waits.subscribe(form, caller.player(), wait_on.topics)?;
        let parts = copy_of(parts, query.as_deref()).ok_or(HoldError::NotHeld(NotHeld::TooMany))?;
        let target = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let shared = wait_on.is_shared.then(|| self.shared_looks.join(operation, target));
        let times = self.wait_times(form, granted_ms, started);
        Ok(Box::new(HeldWait {
            operation,
            parts,
            by_short_code,
            caller,
            subscription,
            shared,
            known,
            granted_ms,
            times,
            is_client_gone: false,
            has_token_ended: false,
            was_store_too_slow: false,
        }))
    }

    /// When a wait ends that was granted for a time from the start of the request on. It ends a little early, and not all
    /// waits by as much, so that not all clients come back at the same moment.
    fn wait_times(&self, form: WaitForm, granted_ms: i64, started: Instant) -> WaitTimes {
        let clock = &self.app.clock;
        let most_ms = (granted_ms / EARLY_PARTS).min(EARLY_MS_MAX);
        let least_ms = most_ms.min(EARLY_MS_MIN);
        let early_ms = least_ms + ((most_ms - least_ms) as f64 * self.app.entropy.fraction()) as i64;
        let used_ms = clock.instant().saturating_duration_since(started).as_millis();
        let left_ms = granted_ms - i64::try_from(used_ms).unwrap_or(granted_ms);
        let granted_up_ms = clock.up_ms().saturating_add(left_ms);
        let late_ms = match form {
            WaitForm::Get => LATE_MS_MAX,
            // Clients of long polls give up soon after their deadline.
            WaitForm::LongPoll => -least_ms / 2,
        };
        WaitTimes { end_up_ms: granted_up_ms - early_ms, answer_by_up_ms: granted_up_ms + late_ms }
    }

    /// Waits until the answer differs from what the client has, or the time is over.
    pub(super) async fn wait(&self, mut held: Box<HeldWait>, peer: &Peer) -> Response<Full<Bytes>> {
        let (mut result, looked_at) = self.next_answer(&mut held, peer).await;
        let end = held.end_of(&result);
        held.subscription.ends_by(end);
        if let Ok(answer) = &mut result
            && !held.is_long_poll()
        {
            answer.headers.insert(PREFERENCE_APPLIED, prefer::applied(held.granted_ms / 1000));
        }
        let found = OperationResult { operation: Some(held.operation), result };
        let mut response = self.respond_to(found, &held.parts, looked_at);
        if !held.is_long_poll() {
            add_cache_headers(&mut response);
        }
        response
    }

    /// The answer at the end of the wait, and when the last look began.
    async fn next_answer(&self, held: &mut HeldWait, peer: &Peer) -> (Result<Answer, Error>, Instant) {
        let (clock, end_up_ms) = (&self.app.clock, held.times.end_up_ms);
        loop {
            let looked_at = clock.instant();
            let is_last_look = held.subscription.must_end() || clock.up_ms() >= end_up_ms;
            if held.token_left_ms(clock.now_ms()) <= 0 {
                held.has_token_ended = true;
                // Tells nothing new to a token that has ended. The client's next request is refused.
                return (Ok(held.known.clone()), looked_at);
            }
            if is_last_look {
                held.subscription.look_from_now_on();
            }
            let Some(result) = self.look(held).await else {
                held.was_store_too_slow = true;
                let late = if held.is_long_poll() { Ok(held.known.clone()) } else { Err(Error::TimedOut) };
                return (late, looked_at);
            };
            let pause_ms = match result {
                Ok(answer) if !held.is_news(&answer) && !is_last_look => {
                    let Some(wait_on) = answer.wait_on else {
                        let cause = "the answer does not say how to wait any more".to_owned();
                        return (Err(Error::Internal(cause)), looked_at);
                    };
                    // The handler has given up.
                    if wait_on.long_poll.is_some_and(|long_poll| long_poll.hold_ms == 0) {
                        held.was_store_too_slow = true;
                        return (Ok(held.known.clone()), looked_at);
                    }
                    held.known.etag = answer.etag;
                    if wait_on.topics != *held.subscription.topics() {
                        held.subscription.listen_to(wait_on.topics);
                        continue;
                    }
                    held.subscription.note_seen(&wait_on.seen);
                    wait_on.again_after_ms.unwrap_or(i64::MAX)
                }
                Err(error) if error.is_store_away() && !is_last_look => AWAY_PAUSE_MS,
                result => return (result, looked_at),
            };
            let pause_ms = pause_ms.min(held.token_left_ms(clock.now_ms()));
            let next_up_ms = clock.up_ms().saturating_add(pause_ms).min(end_up_ms);
            tokio::select! {
                () = held.subscription.sleep_until(next_up_ms) => {}
                // A client that only closed its sending side still gets its answer.
                () = peer.closed() => {
                    held.is_client_gone = true;
                    if held.is_long_poll() {
                        return (Ok(held.known.clone()), looked_at);
                    }
                    held.subscription.end();
                }
            }
        }
    }

    /// Looks again, and counts the wake-up that has led to it. `None`: the look takes longer than the wait.
    async fn look(&self, held: &HeldWait) -> Option<Result<Answer, Error>> {
        let woken_at = held.subscription.take_wake_up();
        self.app.ask_store_for(held.subscription.topics());
        let left_ms = held.times.answer_by_up_ms.saturating_sub(self.app.clock.up_ms());
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or_default());
        // In a box, so that a request takes this memory only while it looks.
        let result = Box::pin(tokio::time::timeout(left, self.look_again(held))).await.ok()?;
        let is_as_before = result.as_ref().is_ok_and(|answer| !held.is_news(answer));
        held.subscription.has_looked(woken_at, !is_as_before);
        Some(result)
    }

    /// Answers a held request as if it came now.
    async fn look_again(&self, held: &HeldWait) -> Result<Answer, Error> {
        let look = async {
            let operation = &self.operations[held.operation];
            let caller = self.admit_again(operation, &held.caller)?;
            let path = RoutedPath::of(&held.parts);
            let (_, mut raw_params) = self.route(&path, &held.parts, None)?;
            raw_params.client = caller.address();
            raw_params.by_short_code.clone_from(&held.by_short_code);
            let handler = operation.start(&self.app, caller, &raw_params, &Bytes::new())?;
            let read = self.finish(handler);
            match &held.shared {
                Some(shared) => shared.answer((&self.app.waits, &held.subscription), read).await,
                None => read.await,
            }
        };
        self.caught(look).await
    }

    /// Checks the token and the permission of a held request again.
    fn admit_again(&self, operation: &Operation, caller: &Caller) -> Result<Caller, Error> {
        let token = self.app.verifier.verify_again(caller.token()).map_err(Error::TokenInvalid)?;
        Ok(caller.with_token(operation.policy, token)?)
    }
}

/// Whether a request may wait for another answer than this one. Most requests do not.
pub(super) fn may_wait(parts: &Parts, found: &OperationResult) -> bool {
    parts.headers.contains_key(PREFER) || found.result.as_ref().is_ok_and(Answer::is_nothing_new)
}

/// Whether a request asks to wait for a change of the answer.
pub(super) fn asks_to_wait(parts: &Parts) -> bool {
    is_read(&parts.method) && prefer::wait_s(&parts.headers).is_some()
}

/// Keeps caches from joining requests that wait with others.
pub(super) fn add_cache_headers(response: &mut Response<Full<Bytes>>) {
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response.headers_mut().insert(header::VARY, PREFER.into());
}

/// A copy of what is needed of a request to answer it again, with another query if there is one.
fn copy_of(parts: &Parts, query: Option<&str>) -> Option<Parts> {
    let target = match query {
        Some(query) => format!("{}?{query}", parts.uri.path()),
        None => parts.uri.path_and_query()?.as_str().to_owned(),
    };
    let mut copy = Request::builder().method(parts.method.clone()).uri(target);
    for tags in parts.headers.get_all(header::IF_NONE_MATCH) {
        copy = copy.header(header::IF_NONE_MATCH, HeaderValue::from_bytes(tags.as_bytes()).ok()?);
    }
    Some(copy.body(()).ok()?.into_parts().0)
}
