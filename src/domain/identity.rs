//! Who somebody is: an account on a platform, and the ids that follow from it. The same account is the same player on
//! every machine and in every data directory, without anything stored.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

use super::{Platform, PlayerUuid};

/// The namespace of all derived ids, a constant of the product. It is itself derived from the DNS namespace and the
/// name `players.rallypoint.invalid`.
const NAMESPACE: Uuid = uuid!("0fd3a031-f7f5-51b5-ab8f-017fc2e0375b");

/// An account on a platform. As text it is its key: `Anon:player-1`. Nothing in it is case-folded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// The platform.
    pub platform: Platform,
    /// The id of the account on the platform.
    pub user_id: String,
}

impl Identity {
    /// The account with this id on a platform.
    pub fn new(platform: Platform, user_id: impl Into<String>) -> Self {
        Self { platform, user_id: user_id.into() }
    }

    /// The player.
    pub fn player(&self) -> PlayerUuid {
        PlayerUuid(product_uuid(&self.to_string()))
    }

    /// The person behind the player.
    pub fn person(&self) -> Uuid {
        product_uuid(&format!("person:{self}"))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.platform, self.user_id)
    }
}

/// The id that follows from a name (UUID version 5).
pub fn product_uuid(name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_the_identity_alone() {
        assert_eq!(Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"players.rallypoint.invalid"), NAMESPACE);
        for (identity, player) in [
            (Identity::new(Platform::Anon, "player-1"), "fdecedc9-6b5b-5759-817c-3793b86e797a"),
            (Identity::new(Platform::Anon, "Player-1"), "f08acf05-0edd-53e7-a013-615633261c45"),
            (Identity::new(Platform::Basic, "player-1"), "e97e2db9-a861-5d94-a6bb-5eb14d3db560"),
        ] {
            assert_eq!(identity.player().to_string(), player, "{identity}");
        }
        let person = Identity::new(Platform::Anon, "player-1").person();
        assert_eq!(person.to_string(), "ede23447-c680-5ee4-a95f-6548cb068dfe");
    }
}
