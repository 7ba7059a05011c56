//! The creations under way on this node. A player whom the session of such a creation would take waits for it, and does
//! not create another session. Every other creation goes on at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};

use crate::domain::{Session, SessionId};

/// The creations under way, by session type.
#[derive(Default)]
pub struct Creations {
    types: Mutex<HashMap<String, OfType>>,
}

#[derive(Default)]
struct OfType {
    under_way: Vec<UnderWay>,
    /// How many sessions of the type this node has created.
    created: u64,
    /// The locks of the gates, by the number of the gate.
    passages: HashMap<u8, Arc<AsyncMutex<()>>>,
}

/// The right to pass a gate, until it is dropped.
pub type Passage = OwnedMutexGuard<()>;

struct UnderWay {
    /// The session as it is going to be stored.
    session: Arc<Session>,
    /// Becomes true when the session is stored. Closed before that if it is not going to be stored.
    is_created: watch::Receiver<bool>,
}

/// What a player does who found no open session.
pub enum Begun<P> {
    /// Waits for a creation under way, with this place in its session.
    Waits(Created, P),
    /// Creates a session.
    Creates(Turn),
}

/// A creation under way, for those who wait for it.
pub struct Created {
    /// The id of its session.
    pub id: SessionId,
    is_created: watch::Receiver<bool>,
}

impl Created {
    /// Waits for the end of the creation. Returns whether the session is stored.
    pub async fn succeeds(mut self) -> bool {
        self.is_created.wait_for(|is_created| *is_created).await.is_ok()
    }
}

/// The right to create a session. Those who wait for it go on when it is dropped.
pub struct Turn {
    creations: Arc<Creations>,
    session: Arc<Session>,
    is_created: watch::Sender<bool>,
}

impl Creations {
    /// The number of sessions of a type that this node has created. Read it before a search, and again once the
    /// creation [has begun](Self::begin). If it is another one, the search may have missed a session.
    pub fn created(&self, session_type: &str) -> u64 {
        self.lock().get(session_type).map_or(0, |of_type| of_type.created)
    }

    /// Waits until no other creation of this node passes a gate of a type. Otherwise all creations of a crowd would
    /// expect the same version of the gate, and all but one would fail.
    pub async fn passage(&self, session_type: &str, gate: u8) -> Passage {
        let lock = {
            let mut types = self.lock();
            let of_type = types.entry(session_type.to_owned()).or_default();
            Arc::clone(of_type.passages.entry(gate).or_default())
        };
        lock.lock_owned().await
    }

    /// Begins a creation, unless the session of another one takes the player: `reserve` returns a place in that session
    /// then.
    pub fn begin<P>(
        self: &Arc<Self>,
        session: Arc<Session>,
        reserve: impl Fn(&Session) -> Option<P>,
    ) -> Begun<P> {
        let mut types = self.lock();
        let of_type = types.entry(session.session_type.clone()).or_default();
        for other in &of_type.under_way {
            if let Some(place) = reserve(&other.session) {
                let (id, is_created) = (other.session.id.clone(), other.is_created.clone());
                return Begun::Waits(Created { id, is_created }, place);
            }
        }
        let (sender, is_created) = watch::channel(false);
        of_type.under_way.push(UnderWay { session: Arc::clone(&session), is_created });
        Begun::Creates(Turn { creations: Arc::clone(self), session, is_created: sender })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, OfType>> {
        self.types.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, session: &Arc<Session>, is_created: bool) {
        let mut types = self.lock();
        let Some(of_type) = types.get_mut(&session.session_type) else { return };
        of_type.under_way.retain(|other| !Arc::ptr_eq(&other.session, session));
        of_type.created += u64::from(is_created);
    }
}

impl Turn {
    /// Notes that the session is stored.
    pub fn succeeded(self) {
        // In this order: those who find the creation no longer under way must find the number changed.
        self.creations.end(&self.session, true);
        self.is_created.send_replace(true);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.creations.end(&self.session, false);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::domain::fixtures;

    /// Begins a creation for a player whom sessions of this region take.
    fn begin(creations: &Arc<Creations>, region: &'static str) -> Begun<()> {
        let mut session = fixtures::session("L1");
        session.region_id = Some(region.into());
        let reserve = |other: &Session| (other.region_id.as_deref() == Some(region)).then_some(());
        creations.begin(Arc::new(session), reserve)
    }

    fn turn(begun: Begun<()>) -> Turn {
        match begun {
            Begun::Creates(turn) => turn,
            Begun::Waits(..) => panic!("it waits for another creation"),
        }
    }

    fn waits(begun: Begun<()>) -> Created {
        match begun {
            Begun::Waits(created, ()) => created,
            Begun::Creates(_) => panic!("it does not wait"),
        }
    }

    #[test]
    fn a_player_waits_for_a_session_that_takes_the_player_and_for_no_other() {
        let creations = Arc::<Creations>::default();
        let first = turn(begin(&creations, "eu"));
        let waiting = [(); 3].map(|()| waits(begin(&creations, "eu")));
        let _other = turn(begin(&creations, "us"));
        first.succeeded();
        assert!(waiting.into_iter().all(|waiting| waiting.succeeds().now_or_never() == Some(true)));
    }

    #[test]
    fn those_who_wait_go_on_if_the_session_is_not_created() {
        let creations = Arc::<Creations>::default();
        let first = turn(begin(&creations, "eu"));
        let mut waiting = Box::pin(waits(begin(&creations, "eu")).succeeds());
        assert_eq!((&mut waiting).now_or_never(), None);
        drop(first);
        assert_eq!(waiting.now_or_never(), Some(false));
        assert_eq!(creations.created("game"), 0);
        turn(begin(&creations, "eu"));
    }

    #[test]
    fn a_session_that_is_no_longer_under_way_is_counted() {
        let creations = Arc::<Creations>::default();
        let first = turn(begin(&creations, "eu"));
        assert_eq!(creations.created("game"), 0);
        first.succeeded();
        turn(begin(&creations, "eu"));
        assert_eq!(creations.created("game"), 1);
    }

    #[test]
    fn one_creation_at_a_time_passes_a_gate() {
        let creations = Creations::default();
        let passage = |session_type, gate| creations.passage(session_type, gate).now_or_never();
        let first = passage("game", 1).unwrap();
        assert!(passage("game", 1).is_none());
        assert!(passage("game", 2).is_some() && passage("party", 1).is_some());
        drop(first);
        assert!(passage("game", 1).is_some());
    }
}
