//! Looks that several waits share. Many clients wait on the same page of the browser; after a change, one read answers
//! all of them.
//!
//! A wait may use the read of another wait if it began after the wait itself was woken: then it sees the change. Each
//! wait checks its own token and permission before, and the answer must be the same for every caller.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::app::waits::{Subscription, Waits};
use crate::http::error::Error;
use crate::http::reply::Answer;
use crate::store::StoreError;

/// An operation, by its index, and the target of the request.
type Key = (usize, Box<str>);

/// The shared looks of all waits. A look is kept as long as a wait uses it.
#[derive(Default)]
pub(super) struct SharedLooks(Arc<Mutex<HashMap<Key, Weak<LastRead>>>>);

/// The last read of an answer: when it began, and what it found. Other errors than those of the store are not kept.
#[derive(Default)]
struct LastRead(tokio::sync::Mutex<Option<(u64, Result<Answer, StoreAway>)>>);

/// The store could not be asked.
#[derive(Clone)]
enum StoreAway {
    Unavailable(StoreError),
    TimedOut,
}

impl From<StoreAway> for Error {
    fn from(away: StoreAway) -> Self {
        match away {
            StoreAway::Unavailable(cause) => Self::Unavailable(cause),
            StoreAway::TimedOut => Self::TimedOut,
        }
    }
}

/// One wait's part in a shared look.
pub(super) struct SharedLook {
    looks: Arc<Mutex<HashMap<Key, Weak<LastRead>>>>,
    key: Key,
    last_read: Option<Arc<LastRead>>,
}

impl SharedLooks {
    /// Takes part in the look at an answer.
    pub(super) fn join(&self, operation: usize, target: &str) -> SharedLook {
        let key = (operation, Box::from(target));
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last_read = looks.get(&key).and_then(Weak::upgrade).unwrap_or_default();
        looks.insert(key.clone(), Arc::downgrade(&last_read));
        SharedLook { looks: Arc::clone(&self.0), key, last_read: Some(last_read) }
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl SharedLook {
    /// The answer: that of the last read if it began late enough, otherwise that of a new read.
    pub(super) async fn answer(
        &self,
        (waits, subscription): (&Waits, &Subscription),
        read: impl Future<Output = Result<Answer, Error>>,
    ) -> Result<Answer, Error> {
        let Some(last_read) = &self.last_read else { return read.await };
        // Taken before the lock: a wait that is woken while it is here still finds its next wake-up in its subscription.
        let woken_at = subscription.woken_at();
        let mut last = last_read.0.lock().await;
        if let Some((began, found)) = &*last
            && *began > woken_at
        {
            return Ok(found.clone()?);
        }
        let began = waits.begin_shared_read();
        let found = read.await;
        let kept = match &found {
            Ok(answer) => Some(Ok(answer.clone())),
            Err(Error::Unavailable(cause)) => Some(Err(StoreAway::Unavailable(cause.clone()))),
            Err(Error::TimedOut) => Some(Err(StoreAway::TimedOut)),
            Err(_) => None,
        };
        *last = kept.map(|kept| (began, kept));
        found
    }
}

impl Drop for SharedLook {
    fn drop(&mut self) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        self.last_read = None;
        if looks.get(&self.key).is_some_and(|last_read| last_read.strong_count() == 0) {
            looks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::FutureExt as _;
    use http::StatusCode;

    use super::*;
    use crate::app::waits::{Topic, Topics, WaitForm, WaitLimits};
    use crate::env::{Clock, Entropy};

    const LIMITS: WaitLimits = WaitLimits {
        max_ms: 55_000,
        waits_max: 5_000,
        per_player_max: 2,
        long_polls_per_player_max: 2,
        services_max: 5_000,
        drain_spread_ms: 0,
        sweep_ms: 5_000,
        sweep_keys_per_s: 20_000,
        wake_delay_ms: 0,
    };

    fn listings() -> Topic {
        Topic::Listings("game".into())
    }

    fn waits() -> (Clock, Arc<Waits>) {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH);
        (clock.clone(), Arc::new(Waits::new(LIMITS, (clock, Entropy::seeded(1)), Arc::default())))
    }

    fn subscribe(waits: &Arc<Waits>) -> Subscription {
        waits.subscribe(WaitForm::Get, None, Topics::from_iter([listings()])).unwrap()
    }

    #[tokio::test]
    async fn waits_that_one_change_has_woken_share_a_read() {
        let ((clock, waits), looks, reads) = (waits(), SharedLooks::default(), AtomicUsize::new(0));
        let held: Vec<_> = (0..50).map(|_| (subscribe(&waits), looks.join(7, "/browser?x"))).collect();
        let read = async || {
            reads.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(Answer::empty(StatusCode::OK))
        };
        for round in 1..=3 {
            let answers = held.iter().map(|(subscription, look)| look.answer((&waits, subscription), read()));
            for answer in futures_util::future::join_all(answers).await {
                answer.unwrap();
            }
            assert_eq!(reads.load(Ordering::Relaxed), round);
            waits.wake([listings()]);
            clock.advance(std::time::Duration::from_millis(250));
            waits.wake_due();
        }
        assert_eq!(looks.count(), 1);
        drop(held);
        assert_eq!(looks.count(), 0);
    }

    /// A second with a hundred changes.
    #[tokio::test]
    async fn thousands_of_waits_on_a_page_cost_four_reads_a_second() {
        let ((clock, waits), looks, reads) = (waits(), SharedLooks::default(), AtomicUsize::new(0));
        let mut held: Vec<_> = (0..4_000).map(|_| (subscribe(&waits), looks.join(7, "/browser?x"))).collect();
        for change in 1..=100 {
            waits.wake([listings()]);
            if change > 1 {
                clock.advance(std::time::Duration::from_millis(10));
                waits.wake_due();
            }
            let is_woken =
                |held: &mut (Subscription, SharedLook)| held.0.sleep_until(i64::MAX).now_or_never().is_some();
            if !is_woken(&mut held[0]) {
                continue;
            }
            assert!(held[1..].iter_mut().all(is_woken), "all of them are woken at once");
            let now = Answer::json(StatusCode::OK, &change);
            let answers = held.iter().map(|(subscription, look)| {
                let read = async {
                    reads.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    Ok(now.clone())
                };
                look.answer((&waits, subscription), read)
            });
            for answer in futures_util::future::join_all(answers).await {
                assert_eq!(answer.unwrap().body, now.body, "nobody gets an older page");
            }
        }
        assert_eq!(reads.load(Ordering::Relaxed), 4, "at once, and then every 250 ms");
    }

    #[tokio::test]
    async fn a_read_that_began_before_the_wake_up_is_not_used() {
        let ((_, waits), looks) = (waits(), SharedLooks::default());
        let [one, other] = [subscribe(&waits), subscribe(&waits)];
        let [first, second] = [looks.join(7, "/"), looks.join(7, "/")];
        let before = first.answer((&waits, &one), async { Ok(Answer::json(StatusCode::OK, &1)) }).await;
        waits.wake([listings()]);
        let after = second.answer((&waits, &other), async { Ok(Answer::json(StatusCode::OK, &2)) }).await;
        assert_eq!((&before.unwrap().body[..], &after.unwrap().body[..]), (&b"1"[..], &b"2"[..]));
        other.look_from_now_on();
        let at_the_end =
            second.answer((&waits, &other), async { Ok(Answer::json(StatusCode::OK, &3)) }).await;
        assert_eq!(&at_the_end.unwrap().body[..], b"3");
    }

    #[tokio::test]
    async fn a_read_that_began_before_the_subscription_is_not_used() {
        let ((_, waits), looks) = (waits(), SharedLooks::default());
        let one = subscribe(&waits);
        let mut late = waits.subscribe(WaitForm::Get, None, Topics::new()).unwrap();
        let [first, second] = [looks.join(7, "/"), looks.join(7, "/")];
        let before = first.answer((&waits, &one), async { Ok(Answer::json(StatusCode::OK, &1)) }).await;
        waits.wake([listings()]); // wakes only the one that listens already
        late.listen_to(Topics::from_iter([listings()]));
        let after = second.answer((&waits, &late), async { Ok(Answer::json(StatusCode::OK, &2)) }).await;
        assert_eq!((&before.unwrap().body[..], &after.unwrap().body[..]), (&b"1"[..], &b"2"[..]));
    }

    #[tokio::test]
    async fn other_targets_have_reads_of_their_own() {
        let ((_, waits), looks) = (waits(), SharedLooks::default());
        let subscription = subscribe(&waits);
        for (operation, target) in [(7, "/a"), (7, "/b"), (8, "/a")] {
            let look = looks.join(operation, target);
            let expected = Answer::json(StatusCode::OK, &target);
            let found = look.answer((&waits, &subscription), async { Ok(expected.clone()) }).await;
            assert_eq!(found.unwrap().body, expected.body);
        }
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_asked_once() {
        let ((_, waits), looks, reads) = (waits(), SharedLooks::default(), AtomicUsize::new(0));
        let [one, other] = [subscribe(&waits), subscribe(&waits)];
        let look = looks.join(7, "/");
        for subscription in [&one, &other] {
            let read = async {
                reads.fetch_add(1, Ordering::Relaxed);
                Err(Error::Unavailable(StoreError::Closed))
            };
            assert!(look.answer((&waits, subscription), read).await.unwrap_err().is_store_away());
        }
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }
}
