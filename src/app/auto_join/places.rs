//! The places in sessions that joins under way are about to take. Without them, all players of a crowd would try the
//! oldest open session, one after the other, and most of them only to find it full.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{PlayerUuid, Session, SessionId};

/// The players whose create-or-join requests are joining a session, with the number of their requests.
#[derive(Default)]
pub struct Places {
    joining: Mutex<HashMap<SessionId, HashMap<PlayerUuid, usize>>>,
}

/// A place in a session, until it is dropped.
pub struct Place<'a> {
    places: &'a Places,
    id: SessionId,
    player: PlayerUuid,
}

impl Places {
    /// Reserves a place in a session for a player. `None` if every free slot is reserved for another player. A player
    /// with an entry in the session needs no slot.
    pub fn reserve(&self, session: &Session, player: PlayerUuid) -> Option<Place<'_>> {
        let mut joining = self.lock();
        let needs_slot = |player: &PlayerUuid| !session.players.contains_key(player);
        let players = joining.get(&session.id);
        let is_known = players.is_some_and(|players| players.contains_key(&player));
        if needs_slot(&player) && !is_known {
            let reserved =
                players.map_or(0, |players| players.keys().filter(|other| needs_slot(other)).count());
            if reserved >= session.free_slots() {
                return None;
            }
        }
        *joining.entry(session.id.clone()).or_default().entry(player).or_default() += 1;
        Some(Place { places: self, id: session.id.clone(), player })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, HashMap<PlayerUuid, usize>>> {
        self.joining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut joining = self.places.lock();
        let Some(players) = joining.get_mut(&self.id) else { return };
        if let Some(requests) = players.get_mut(&self.player) {
            *requests -= 1;
            if *requests == 0 {
                players.remove(&self.player);
            }
        }
        if players.is_empty() {
            joining.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{player, session};

    #[test]
    fn there_are_as_many_places_as_free_slots() {
        let places = Places::default();
        // Two free slots.
        let mut session = session("L1 | I2");
        (session.teams[0].max_size, session.teams[1].max_size) = (2, 2);
        let reserve = |number| places.reserve(&session, player(number));
        let first = reserve(3).unwrap();
        let again = reserve(3).unwrap();
        let second = reserve(4).unwrap();
        assert!(reserve(5).is_none());
        assert!(reserve(1).is_some() && reserve(2).is_some(), "they have a slot already");
        drop(first);
        assert!(reserve(5).is_none(), "another request of the same player still has the place");
        drop(again);
        assert!(reserve(5).is_some());
        drop(second);
        assert!(places.lock().is_empty());
    }
}
