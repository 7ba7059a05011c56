//! The requests of players that are under way: a limit for all of them, and a share for each player.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::PlayerUuid;

/// Most requests of players for which calls are made at the same time. Each takes a thread while a call is under way.
pub const CALLS_MAX: usize = 16;
/// Most requests that are under way or wait for that.
pub const REQUESTS_MAX: usize = 256;
/// Most of those of one player.
pub const OF_PLAYER_MAX: usize = 2;

/// Counts the requests that are under way.
pub struct Requests {
    calls: Arc<Semaphore>,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_player: HashMap<PlayerUuid, usize>,
}

/// Why a request cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Its player has [`OF_PLAYER_MAX`] others.
    Share,
    /// There are [`REQUESTS_MAX`] others.
    Queue,
}

/// Holds the place of a request. A call that goes on without its caller keeps it.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// A request that is counted until this is dropped.
struct Counted {
    counts: Arc<Mutex<Counts>>,
    player: PlayerUuid,
}

impl Requests {
    /// No request is under way.
    pub fn none() -> Self {
        Self { calls: Arc::new(Semaphore::new(CALLS_MAX)), counts: Arc::default() }
    }

    /// Waits until calls may be made for a request of this player.
    ///
    /// # Errors
    /// What is full, at once.
    pub async fn begin(&self, player: PlayerUuid) -> Result<Arc<Place>, Full> {
        let counted = self.count(player)?;
        let permit = Arc::clone(&self.calls).acquire_owned().await.expect("nobody closes it");
        Ok(Arc::new(Place { _permit: permit, _counted: counted }))
    }

    fn count(&self, player: PlayerUuid) -> Result<Counted, Full> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_player = counts.by_player.get(&player).copied().unwrap_or_default();
        if of_player >= OF_PLAYER_MAX {
            return Err(Full::Share);
        }
        if counts.all >= REQUESTS_MAX {
            return Err(Full::Queue);
        }
        counts.all += 1;
        counts.by_player.insert(player, of_player + 1);
        drop(counts);
        Ok(Counted { counts: Arc::clone(&self.counts), player })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        let of_player = counts.by_player.remove(&self.player).unwrap_or_default();
        if of_player > 1 {
            counts.by_player.insert(self.player, of_player - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn player(number: usize) -> PlayerUuid {
        PlayerUuid(uuid::Uuid::from_u128(number as u128))
    }

    #[test]
    fn a_player_has_a_share_and_the_queue_an_end() {
        let requests = Requests::none();
        let begin = |number| requests.begin(player(number));
        let first: Vec<_> = (0..OF_PLAYER_MAX).map(|_| begin(0).now_or_never().unwrap()).collect();
        assert_eq!(begin(0).now_or_never().unwrap().err(), Some(Full::Share));
        let others: Vec<_> =
            (1..=CALLS_MAX - OF_PLAYER_MAX).map(|number| begin(number).now_or_never().unwrap()).collect();
        assert!(first.iter().chain(&others).all(Result::is_ok));
        // All calls are taken. The others wait, until the queue is full.
        let mut waiting = Vec::new();
        for number in CALLS_MAX..REQUESTS_MAX {
            let mut begun = Box::pin(begin(number));
            assert!((&mut begun).now_or_never().is_none());
            waiting.push(begun);
        }
        assert_eq!(begin(REQUESTS_MAX).now_or_never().unwrap().err(), Some(Full::Queue));
        // Who gives up makes room in the queue.
        waiting.pop();
        assert!(begin(REQUESTS_MAX).now_or_never().is_none());
        drop(first);
        assert!((&mut waiting[0]).now_or_never().unwrap().is_ok());
        assert!(begin(0).now_or_never().is_none(), "a place is free, and others came first");
        drop((waiting, others));
        let counts = requests.counts.lock().unwrap();
        assert_eq!((counts.all, counts.by_player.len()), (0, 0));
    }
}
