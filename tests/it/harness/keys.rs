//! The keys and secrets of a server under test.

use std::sync::Arc;

use rallypoint::app::login::SecretHash;
use rallypoint::auth::{DevelopmentKey, KeyRing, KeySet, LoginKey};
use rallypoint::config::Config;
use rallypoint::env::{Clock, Entropy};
use rallypoint::runtime::server::Keys;
use rallypoint::runtime::{settings, voice};

use super::LOGIN_KEY;

/// The keys of a server with this configuration. `secret` is that of the client which its login has made, if it has one.
pub fn of(
    config: &Config,
    key: &DevelopmentKey,
    secret: Option<&str>,
    (clock, entropy): (&Clock, &Entropy),
) -> Keys {
    let ring = |keys: KeySet| Arc::new(KeyRing::new(keys));
    let voice = voice::open(config, clock, entropy).unwrap();
    if !config.has_login() {
        return Keys { ring: ring(key.key_set()), login: None, voice };
    }
    let login_key = Arc::new(LoginKey::from_pem(LOGIN_KEY).unwrap());
    let keys = ring(key.key_set().and(login_key.key_set()));
    let secret = secret.filter(|_| config.login.clients.is_empty());
    let generated = secret.map(|secret| ("game-server", SecretHash::of(secret)));
    let login = settings::login_settings(&config.login, login_key, generated).unwrap();
    Keys { ring: keys, login: Some(login), voice }
}
