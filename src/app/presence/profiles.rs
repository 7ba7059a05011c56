//! Which matchmaking profiles take no tickets any more, after the configuration was read again.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::matchmaking::Matchmaking;
use crate::domain::matchmaking::ticket::Ticket;

/// The profiles of the configuration, and those that it had before.
#[derive(Default)]
pub struct Profiles(RwLock<Known>);

#[derive(Default)]
struct Known {
    matchmaking: Arc<Matchmaking>,
    /// Profiles that earlier configurations of this process had.
    removed: BTreeSet<String>,
}

impl Profiles {
    /// The profiles of the first configuration.
    pub fn new(matchmaking: Arc<Matchmaking>) -> Self {
        Self(RwLock::new(Known { matchmaking, removed: BTreeSet::new() }))
    }

    /// Replaces the profiles.
    pub fn replace(&self, matchmaking: Arc<Matchmaking>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut known.matchmaking, matchmaking);
        known.removed.extend(before.profiles.keys().cloned());
    }

    /// Whether no profile of a ticket takes it any more. `is_shared`: other nodes share the store. Then a profile that
    /// this node has never had is one of a newer configuration of another node.
    pub fn have_left(&self, ticket: &Ticket, is_shared: bool) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        ticket.profile_ids.iter().all(|id| match known.matchmaking.profiles.get(id) {
            Some(profile) => !profile.active,
            None => !is_shared || known.removed.contains(id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures;
    use crate::domain::matchmaking::Profile;

    fn matchmaking(profiles: &[(&str, bool)]) -> Arc<Matchmaking> {
        let profile = |(id, active): &(&str, bool)| {
            ((*id).to_owned(), Profile { active: *active, ..Profile::default() })
        };
        Arc::new(Matchmaking { profiles: profiles.iter().map(profile).collect(), ..Matchmaking::default() })
    }

    fn ticket(profiles: &[&str]) -> Ticket {
        let profile_ids = profiles.iter().map(|id| (*id).to_owned()).collect();
        Ticket { profile_ids, ..fixtures::ticket(&[1], 0) }
    }

    #[test]
    fn a_ticket_stays_while_one_of_its_profiles_takes_it() {
        let profiles = Profiles::new(matchmaking(&[("a", true), ("b", true)]));
        for is_shared in [false, true] {
            assert!(!profiles.have_left(&ticket(&["a", "b"]), is_shared));
            assert_eq!(profiles.have_left(&ticket(&["new"]), is_shared), !is_shared, "of another node");
        }
        profiles.replace(matchmaking(&[("a", false)]));
        for is_shared in [false, true] {
            assert!(profiles.have_left(&ticket(&["a", "b"]), is_shared), "one is inactive, one is gone");
        }
        profiles.replace(matchmaking(&[("b", true)]));
        for is_shared in [false, true] {
            assert!(!profiles.have_left(&ticket(&["a", "b"]), is_shared), "one is there again");
            assert!(profiles.have_left(&ticket(&["a"]), is_shared));
        }
    }
}
