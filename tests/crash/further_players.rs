//! The players beside the clients: those who ask for dedicated servers, and those who queue.

use rallypoint::auth::DEFAULT_PLAYER_PERMISSIONS;
use rallypoint::env::Entropy;
use uuid::Uuid;

use crate::launches::{self, Launcher};
use crate::queues::{self, Queuer};
use crate::{Setting, Trial};

impl Trial {
    /// The players who ask for dedicated servers. Several servers on one database launch none.
    pub fn add_launchers(&mut self, setting: Setting) {
        let Setting::Alone = setting else { return };
        for _ in 0..launches::LAUNCHERS {
            let (player, token, entropy) = self.further_player();
            self.launchers.push(Launcher::new(player, token, entropy));
        }
    }

    /// A new player with a token, and randomness for the player's choices.
    fn further_player(&self) -> (Uuid, String, Entropy) {
        let (player, entropy) = (self.entropy.uuid(), Entropy::seeded(self.below(u64::MAX)));
        let permissions = DEFAULT_PLAYER_PERMISSIONS.iter().map(|permission| permission.name());
        let token = self.token(player, None, None, &permissions.collect::<Vec<_>>());
        (player, token, entropy)
    }

    /// The players who queue.
    pub fn add_queuers(&mut self) {
        for _ in 0..queues::QUEUERS {
            let (player, token, entropy) = self.further_player();
            self.queuers.push(Queuer::new(player, token, entropy));
        }
    }
}
