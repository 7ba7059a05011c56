//! The directory: players who have logged in, with their names, for look-ups by other players. Its size is limited;
//! those whose last login is the longest ago are forgotten first.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, OnceCell};

use super::refresh_tokens::RefreshTokens;
use crate::domain::{Identity, PlayerUuid};
use crate::records::{KnownPlayer, keys};
use crate::store::{Batch, Store, StoreError, Version, next_key, prefix_end};
use crate::telemetry::Metrics;

/// A login moves the time of the last login only if it is this much later, in milliseconds, so that most logins write
/// nothing.
const LAST_LOGIN_STEP_MS: u64 = 3_600_000;
/// Players that are read, or forgotten, at once.
const AT_ONCE: usize = 512;

/// The players who have logged in.
pub struct Directory {
    store: Store,
    players_max: usize,
    /// The number of players. Counted at the first login.
    count: OnceCell<AtomicUsize>,
    /// One at a time forgets players.
    forgetting: Mutex<()>,
}

/// A player of the directory, and the version of the entry.
pub struct Found {
    pub player: KnownPlayer,
    version: Version,
}

/// The writes of a login, and the entry after them.
pub struct Remembered {
    pub batch: Batch,
    pub is_new: bool,
}

impl Directory {
    /// A directory of at most this many players.
    pub fn new(store: Store, players_max: usize) -> Self {
        Self { store, players_max, count: OnceCell::new(), forgetting: Mutex::new(()) }
    }

    /// A player; `None` if the player has never logged in here, or is forgotten.
    pub async fn find(&self, player: PlayerUuid) -> Result<Option<Found>, StoreError> {
        let Some(entry) = self.store.get(&keys::known_player(player)).await? else { return Ok(None) };
        Ok(Some(Found { player: KnownPlayer::decode(&entry.value)?, version: entry.version }))
    }

    /// The first players with exactly this display name.
    pub async fn find_named(&self, name: &str, limit: usize) -> Result<Vec<PlayerUuid>, StoreError> {
        let prefix = keys::display_name_of(name);
        let found = self.store.scan(&prefix, &prefix_end(&prefix), limit).await?;
        Ok(found.iter().filter_map(|(key, _)| keys::parse_display_name(name, key)).collect())
    }

    /// The writes of a login of `identity` under a display name, after the entry that was found. Without changes that
    /// are worth a write, there are none.
    pub async fn remember(
        &self,
        found: Option<&Found>,
        identity: &Identity,
        name: &str,
        now_ms: i64,
    ) -> Result<Remembered, StoreError> {
        // Before the first new player is committed, so that nobody is counted twice.
        self.count.get_or_try_init(|| self.count_stored()).await?;
        let player = identity.player();
        let key = keys::known_player(player);
        let mut after = KnownPlayer {
            identity: identity.clone(),
            display_name: name.to_owned(),
            first_login_ms: now_ms,
            last_login_ms: now_ms,
        };
        let mut batch = Batch::default();
        match found {
            None => batch = batch.expect_absent(key.clone()),
            Some(Found { player: before, version }) => {
                after.first_login_ms = before.first_login_ms;
                if before.last_login_ms.abs_diff(now_ms) < LAST_LOGIN_STEP_MS {
                    after.last_login_ms = before.last_login_ms;
                }
                if after == *before {
                    return Ok(Remembered { batch, is_new: false });
                }
                batch = batch.expect_version(key.clone(), *version);
                if after.last_login_ms != before.last_login_ms {
                    batch = batch.delete(keys::last_login(before.last_login_ms, player));
                }
                if after.display_name != before.display_name {
                    batch = batch.delete(keys::display_name(&before.display_name, player));
                }
            }
        }
        let batch = batch
            .put(key, after.encode())
            .put(keys::last_login(after.last_login_ms, player), "")
            .put(keys::display_name(name, player), "");
        Ok(Remembered { batch, is_new: found.is_none() })
    }

    /// Counts a new player, after the commit. Forgets players, and ends their refresh tokens, if there are too many
    /// now.
    pub async fn added(&self, tokens: &RefreshTokens, metrics: &Metrics) -> Result<(), StoreError> {
        let Some(count) = self.count.get() else { return Ok(()) };
        if count.fetch_add(1, Ordering::AcqRel) < self.players_max {
            return Ok(());
        }
        let _alone = self.forgetting.lock().await;
        while let excess @ 1.. = count.load(Ordering::Acquire).saturating_sub(self.players_max) {
            let (forgotten, ended) = self.forget_oldest(excess.min(AT_ONCE), tokens).await?;
            metrics.refresh_tokens.dec_by(i64::try_from(ended).unwrap_or(i64::MAX));
            if forgotten == 0 {
                break;
            }
            count.fetch_sub(forgotten, Ordering::AcqRel);
        }
        Ok(())
    }

    async fn count_stored(&self) -> Result<AtomicUsize, StoreError> {
        let (mut from, end) = keys::all_last_logins();
        let mut count = 0;
        loop {
            let found = self.store.scan(&from, &end, AT_ONCE).await?;
            count += found.len();
            match found.last() {
                Some((last, _)) if found.len() == AT_ONCE => from = next_key(last),
                _ => return Ok(AtomicUsize::new(count)),
            }
        }
    }

    /// Forgets the players whose last login is the longest ago, with their refresh tokens. Returns how many players
    /// were forgotten: fewer, if some of them log in at this moment; and how many tokens ended.
    async fn forget_oldest(
        &self,
        limit: usize,
        tokens: &RefreshTokens,
    ) -> Result<(usize, usize), StoreError> {
        let (from, end) = keys::all_last_logins();
        let (mut forgotten, mut ended) = (0, 0);
        for (key, _) in self.store.scan(&from, &end, limit).await? {
            let Some(player) = keys::parse_last_login(&key) else { continue };
            let Some(Found { player: known, version }) = self.find(player).await? else { continue };
            let (batch, of_them) = tokens.end_all_of(player).await?;
            let of_player = keys::known_player(player);
            let batch = batch
                .expect_version(of_player.clone(), version)
                .delete(of_player)
                .delete(keys::last_login(known.last_login_ms, player))
                .delete(keys::display_name(&known.display_name, player));
            // A player who logs in at this moment has changed the entry and stays.
            if self.store.commit(batch).await.is_ok() {
                forgotten += 1;
                ended += of_them;
            }
        }
        Ok((forgotten, ended))
    }
}
