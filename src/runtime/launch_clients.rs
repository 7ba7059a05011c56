//! Connects the allocators with the login: launched servers log in with clients that their allocator registers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::allocators::clients::LaunchClients;
use crate::app;
use crate::app::login::SecretHash;

/// The clients of launched servers. Allocators start before the login: what they register before, it gets later.
pub struct EarlyLaunchClients(Mutex<State>);

enum State {
    /// There is no login yet: the secrets by allocation.
    Early(BTreeMap<String, SecretHash>),
    /// The clients of the login.
    Connected(Arc<app::LaunchClients>),
}

impl Default for EarlyLaunchClients {
    fn default() -> Self {
        Self(Mutex::new(State::Early(BTreeMap::new())))
    }
}

impl EarlyLaunchClients {
    /// Registers all clients, and further ones directly from now on.
    pub fn connect(&self, clients: Arc<app::LaunchClients>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Early(early) = &*state {
            for (allocation_id, secret) in early {
                clients.register(allocation_id, *secret);
            }
        }
        *state = State::Connected(clients);
    }
}

impl LaunchClients for EarlyLaunchClients {
    fn register(&self, allocation_id: &str, secret: &str) -> String {
        let secret = SecretHash::of(secret);
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Early(early) => drop(early.insert(allocation_id.to_owned(), secret)),
            State::Connected(clients) => clients.register(allocation_id, secret),
        }
        app::LaunchClients::client_id(allocation_id)
    }

    fn remove(&self, allocation_id: &str) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Early(early) => drop(early.remove(allocation_id)),
            State::Connected(clients) => clients.remove(allocation_id),
        }
    }
}
