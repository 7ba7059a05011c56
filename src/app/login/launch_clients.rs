//! The clients of launched servers. Each launch has a client of its own, so that a server can be shut out alone.
//!
//! Nothing here is stored. Who launches servers keeps the secret, or its hash, with the launch, and registers the
//! clients of all live launches again before the server listens: a server that cannot log in after a restart ends.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::client_secret::SecretHash;
use crate::auth::Permission;

/// Start of the ids of these clients. The id of the allocation follows. An id must have no colon: in `Authorization:
/// Basic`, the first colon ends it.
pub const ID_PREFIX: &str = "launch-";

/// What a launched server may do: what a dedicated server of the published plugin needs, and no more.
pub const LAUNCH_PERMISSIONS: &[Permission] = &[
    Permission::Create,
    Permission::ReadAny,
    Permission::ReadConfig,
    Permission::ReadAllocation,
    Permission::ReadBrowser,
    Permission::UpdateAny,
    Permission::UpdatePlayerAny,
    Permission::PromoteAny,
    Permission::DeleteAny,
    Permission::InstanceHealth,
    Permission::ShortcodeAny,
    Permission::SessionAuditUpdateAll,
];

/// The registered clients of launched servers. With keys of one's own there is no login, and registering has no effect.
#[derive(Debug, Default)]
pub struct LaunchClients(RwLock<BTreeMap<String, SecretHash>>);

impl LaunchClients {
    /// The id of the client of an allocation.
    pub fn client_id(allocation_id: &str) -> String {
        format!("{ID_PREFIX}{allocation_id}")
    }

    /// Lets the client of an allocation log in with a secret. Replaces an earlier secret of the same client.
    pub fn register(&self, allocation_id: &str, secret: SecretHash) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(Self::client_id(allocation_id), secret);
    }

    /// Shuts the client of an allocation out. Tokens that it has stay valid until they end.
    pub fn remove(&self, allocation_id: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&Self::client_id(allocation_id));
    }

    /// Whether no client is registered.
    pub fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The hash of a client's secret; `None` if the client is not registered.
    pub fn secret_of(&self, client_id: &str) -> Option<SecretHash> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(client_id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_from_its_registration_to_its_removal() {
        let clients = LaunchClients::default();
        let (first, second) = (SecretHash::of("first"), SecretHash::of("second"));
        assert_eq!(clients.secret_of("launch-a"), None);
        clients.register("a", first);
        clients.register("a", second);
        assert_eq!(clients.secret_of("launch-a"), Some(second));
        assert_eq!(clients.secret_of("a"), None);
        clients.remove("b");
        clients.remove("a");
        assert_eq!(clients.secret_of("launch-a"), None);
    }
}
