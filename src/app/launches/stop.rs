//! The end of this node, for allocators whose servers end with it.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::Launches;
use super::store::Committed;
use crate::app::Failure;
use crate::domain::launch::{LaunchFailure, Stage};
use crate::records::launch::StoredLaunch;

/// How many times the instance of a launch is tried to be closed against other changes.
const CLOSES_MAX: usize = 8;

impl Launches {
    /// Starts no servers any more, and closes the instances whose servers end with this node. Servers that ask learn it
    /// while the API still answers. A launch without a server goes on with the next start, as after a crash.
    pub async fn close_all(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        let has_server =
            |stored: &StoredLaunch| matches!(stored.record.stage, Stage::Placed { .. } | Stage::Up { .. });
        for stored in self.ending().await.into_iter().filter(has_server) {
            if let Err(failure) = self.close_one(&stored).await {
                let session_id = &stored.record.session_id;
                tracing::error!(%session_id, %failure, "an instance could not be closed at the stop of this node");
            }
        }
    }

    /// Stops the servers that still run, and says that this node stops. Called once no request is answered any more. A
    /// server that is being started ends with its allocator: a release would refuse the next try of its allocation.
    pub async fn end_all(&self) {
        let stored = self.ending().await;
        let started = stored.iter().filter(|stored| !matches!(stored.record.stage, Stage::Claimed { .. }));
        join_all(started.map(|stored| self.end(stored))).await;
        if let Err(failure) = self.say_goodbye().await {
            tracing::warn!(%failure, "other nodes could not be told that this node stops; they will notice");
        }
    }

    /// The launches of this node whose servers end with it.
    async fn ending(&self) -> Vec<StoredLaunch> {
        if !self.served.values().any(|served| served.ends_on_stop) {
            return Vec::new();
        }
        let ends = |stored: &StoredLaunch| {
            let served = self.served.get(&stored.record.allocator);
            stored.record.node() == Some(self.node) && served.is_some_and(|served| served.ends_on_stop)
        };
        match self.all().await {
            Ok(all) => all.into_iter().filter(ends).collect(),
            Err(failure) => {
                tracing::error!(%failure, "the launches could not be read; the servers of this node go on");
                Vec::new()
            }
        }
    }

    async fn close_one(&self, stored: &StoredLaunch) -> Result<(), Failure> {
        for _ in 0..CLOSES_MAX {
            let Some(seen) = self.seen(stored.record.id).await? else { return Ok(()) };
            if seen.instance().is_none()
                || self.close(&seen, LaunchFailure::Stopped).await? == Committed::Done
            {
                return Ok(());
            }
        }
        Err(Failure::Contended)
    }

    async fn end(&self, stored: &StoredLaunch) {
        let Some(served) = self.served.get(&stored.record.allocator) else { return };
        let is_released = matches!(stored.record.stage, Stage::Releasing(_));
        if self.release(served, &stored.record, true).await != crate::allocators::Released::Gone
            || !is_released
        {
            return;
        }
        match self.forget(stored).await {
            Ok(_) => {}
            Err(failure) => {
                tracing::warn!(%failure, "the end of a server could not be stored; the next start does it")
            }
        }
    }
}
