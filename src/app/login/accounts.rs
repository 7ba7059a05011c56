//! Who logs in: the checks of each grant.

use super::limiter::Attempt;
use super::refresh_tokens::hash_of;
use super::{
    GrantKind, LAUNCH_PERMISSIONS, Login, LoginFailure, LoginRefusal, LoginRequest, NameField, PasswordHash,
    PresentedClient, SecretHash, User, UserKind,
};
use crate::domain::{Identity, Platform};

/// Longest name of a player without a proof, in characters.
const NAME_CHARS_MAX: usize = 256;
/// Longest display name, in characters.
const DISPLAY_NAME_CHARS_MAX: usize = 64;
/// Longest id that is kept of a client which this server does not know, in characters.
const CLIENT_ID_CHARS_MAX: usize = 128;
/// What a password is compared with if there is no such user, so that the answer takes as long as for a wrong password.
/// Nobody knows a password for it. A server with users takes one of theirs, which costs the same as the others.
const NO_USER: &str = "$argon2id$v=19$m=19456,t=2,p=1$cmFsbHlwb2ludC1ub2JvZHk\
                       $AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Who logs in.
pub(super) enum Account {
    /// A player.
    Player {
        identity: Identity,
        /// `None` keeps the display name of the last login.
        display_name: Option<String>,
        permissions: Vec<String>,
        /// The client that the request names.
        client_id: Option<String>,
        refresh: Refresh,
    },
    /// A server or another program.
    Service { client_id: String, permissions: Vec<String> },
}

/// What happens to refresh tokens at a login.
pub(super) enum Refresh {
    /// Nothing.
    None,
    /// A new one is made.
    New { client_id: Option<String> },
    /// This one is used.
    Use { token: String },
}

impl Login {
    /// Finds out who logs in.
    pub(super) async fn account_of(&self, request: &LoginRequest<'_>) -> Result<Account, LoginFailure> {
        match request.grant.kind() {
            GrantKind::Client => self.client(request),
            GrantKind::Basic => self.basic(request).await,
            GrantKind::Anon => {
                if !self.settings.anon {
                    return Err(LoginRefusal::AnonDisabled.into());
                }
                if request.token.is_empty() {
                    return Err(LoginRefusal::AnonTokenEmpty.into());
                }
                let name = player_name(request.token, NameField::Token)?;
                self.unproven(Identity::new(Platform::Anon, name), request)
            }
            GrantKind::Platform { platform, disabled, empty } => {
                if !self.settings.unverified_platforms.contains(&platform) {
                    return Err(disabled.into());
                }
                if request.display_name.is_empty() {
                    return Err(empty.into());
                }
                let name = player_name(request.display_name, NameField::DisplayName)?;
                self.unproven(Identity::new(platform, name), request)
            }
            GrantKind::Refresh => self.refresh(request).await,
            GrantKind::Unsupported(refusal) => Err(refusal.into()),
        }
    }

    /// A player whose name is believed.
    fn unproven(&self, identity: Identity, request: &LoginRequest<'_>) -> Result<Account, LoginFailure> {
        let client_id = self.client_of(request)?;
        Ok(self.player_account(identity, None, self.settings.player_permissions.clone(), request, client_id))
    }

    fn player_account(
        &self,
        identity: Identity,
        configured_name: Option<&str>,
        permissions: Vec<String>,
        request: &LoginRequest<'_>,
        client_id: Option<String>,
    ) -> Account {
        let name = display_name(configured_name.unwrap_or(request.display_name));
        let refresh = match request.include_refresh {
            true => Refresh::New { client_id: client_id.clone() },
            false => Refresh::None,
        };
        let display_name = Some(name.unwrap_or_else(|| display_name_of(&identity)));
        Account::Player { identity, display_name, permissions, client_id, refresh }
    }

    /// The client that the request of a player names. Its secret must be right if this server knows the client. Shipped
    /// game clients name clients of other services, so the id of an unknown one is taken as it is.
    fn client_of(&self, request: &LoginRequest<'_>) -> Result<Option<String>, LoginFailure> {
        let Some(client) = request.client.filter(|client| !client.id.is_empty()) else { return Ok(None) };
        match self.check_client(client, request)? {
            Some(_) => Ok(Some(client.id.to_owned())),
            None => Ok(Some(client.id.chars().take(CLIENT_ID_CHARS_MAX).collect())),
        }
    }

    /// `client_credentials`: the request has the id and the secret of a client.
    fn client(&self, request: &LoginRequest<'_>) -> Result<Account, LoginFailure> {
        if self.settings.clients.is_empty() && self.launch_clients.is_empty() {
            return Err(LoginRefusal::ClientsDisabled.into());
        }
        let client = request.client.ok_or(LoginRefusal::ClientInvalid)?;
        let Some(permissions) = self.check_client(client, request)? else {
            return Err(self.wrong_client(client, request));
        };
        Ok(Account::Service { client_id: client.id.to_owned(), permissions })
    }

    /// Compares the secret of a client; returns the client's permissions, or `None` if there is no such client.
    fn check_client(
        &self,
        client: PresentedClient<'_>,
        request: &LoginRequest<'_>,
    ) -> Result<Option<Vec<String>>, LoginFailure> {
        let Some((secret, permissions)) = self.find_client(client.id) else { return Ok(None) };
        match secret.fits(client.secret) {
            true => Ok(Some(permissions)),
            false => Err(self.wrong_client(client, request)),
        }
    }

    /// Counts a wrong id or secret of a client, up to the limit. A right one is never refused for the wrong ones of
    /// others: it takes no time to compare, and nobody guesses 32 random bytes.
    fn wrong_client(&self, client: PresentedClient<'_>, request: &LoginRequest<'_>) -> LoginFailure {
        let (attempt, up_ms) = (Attempt::at_client(client.id, request.address), self.clock.up_ms());
        if !self.limiter.may_try(&attempt, up_ms) {
            return LoginFailure::Limited;
        }
        self.limiter.count_wrong(&attempt, up_ms);
        LoginRefusal::ClientInvalid.into()
    }

    fn find_client(&self, id: &str) -> Option<(SecretHash, Vec<String>)> {
        if let Some(client) = self.settings.clients.get(id) {
            return Some((client.secret, client.permissions.clone()));
        }
        let permissions = LAUNCH_PERMISSIONS.iter().map(|permission| permission.name().to_owned());
        self.launch_clients.secret_of(id).map(|secret| (secret, permissions.collect()))
    }

    /// `basic`: a user's name and password. Servers send the id and the secret of a client in the same form.
    async fn basic(&self, request: &LoginRequest<'_>) -> Result<Account, LoginFailure> {
        if request.token.is_empty() {
            return Err(LoginRefusal::BasicTokenEmpty.into());
        }
        let (name, password) = request.token.split_once(':').ok_or(LoginRefusal::BasicFormat)?;
        if self.find_client(name).is_some() {
            let client = PresentedClient { id: name, secret: without_line_break(password) };
            return match self.check_client(client, request) {
                Ok(Some(permissions)) => Ok(Account::Service { client_id: name.to_owned(), permissions }),
                Ok(None) | Err(LoginFailure::Refused(_)) => Err(LoginRefusal::BasicNotFound.into()),
                Err(failure) => Err(failure),
            };
        }
        if self.settings.users.is_empty() {
            return Err(LoginRefusal::BasicDisabled.into());
        }
        let user = self.check_user(name, password, request).await?;
        match user.kind {
            UserKind::Service => {
                Ok(Account::Service { client_id: name.to_owned(), permissions: user.permissions.clone() })
            }
            UserKind::Player => {
                let client_id = self.client_of(request)?;
                let identity = Identity::new(Platform::Basic, name);
                let permissions = user.permissions.clone();
                Ok(self.player_account(
                    identity,
                    user.display_name.as_deref(),
                    permissions,
                    request,
                    client_id,
                ))
            }
        }
    }

    /// Compares the password of a user. An unknown user costs as much as a wrong password.
    async fn check_user(
        &self,
        name: &str,
        password: &str,
        request: &LoginRequest<'_>,
    ) -> Result<&User, LoginFailure> {
        let attempt = Attempt::at_user(name, request.address);
        let user = self.settings.users.get(name);
        let any_hash = || self.settings.users.values().next().map(|user| user.password.clone());
        let hash = match user.map(|user| user.password.clone()).or_else(any_hash) {
            Some(hash) => hash,
            None => PasswordHash::parse(NO_USER).map_err(|_| LoginRefusal::BasicNotFound)?,
        };
        let is_right = self
            .passwords
            .check(
                name,
                &hash,
                password,
                || self.limiter.may_try(&attempt, self.clock.up_ms()),
                || self.limiter.count_wrong(&attempt, self.clock.up_ms()),
            )
            .await
            .map_err(|_| LoginFailure::Limited)?;
        user.filter(|_| is_right).ok_or_else(|| LoginRefusal::BasicNotFound.into())
    }

    /// `refresh`: a refresh token of an earlier login.
    async fn refresh(&self, request: &LoginRequest<'_>) -> Result<Account, LoginFailure> {
        if request.token.is_empty() {
            return Err(LoginRefusal::RefreshTokenEmpty.into());
        }
        let client_id = self.client_of(request)?;
        let found = self.refresh_tokens.find(&hash_of(request.token), self.clock.now_ms()).await?;
        let (token, _) = found.ok_or(LoginRefusal::RefreshTokenNotFound)?;
        if let (Some(before), Some(now)) = (&token.client_id, &client_id)
            && before != now
        {
            return Err(LoginRefusal::RefreshTokenClient.into());
        }
        let (permissions, display_name) = self.still_allowed(&token.identity)?;
        Ok(Account::Player {
            identity: token.identity,
            display_name,
            permissions,
            client_id: client_id.or(token.client_id),
            refresh: Refresh::Use { token: request.token.to_owned() },
        })
    }

    /// The permissions and the configured display name of an account that has logged in before, if the configuration
    /// still lets it log in.
    fn still_allowed(&self, identity: &Identity) -> Result<(Vec<String>, Option<String>), LoginFailure> {
        let settings = &self.settings;
        let is_allowed = match identity.platform {
            Platform::Anon => settings.anon,
            Platform::Basic => {
                let user = settings.users.get(&identity.user_id);
                let user = user.filter(|user| user.kind == UserKind::Player);
                let user = user.ok_or(LoginRefusal::RefreshTokenUser)?;
                return Ok((user.permissions.clone(), user.display_name.as_deref().and_then(display_name)));
            }
            platform => settings.unverified_platforms.contains(&platform),
        };
        match is_allowed {
            true => Ok((settings.player_permissions.clone(), None)),
            false => Err(LoginRefusal::RefreshTokenUser.into()),
        }
    }
}

/// Checks the name of a player without a proof. It is compared byte for byte.
fn player_name(name: &str, field: NameField) -> Result<&str, LoginFailure> {
    let is_valid = name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control);
    if is_valid { Ok(name) } else { Err(LoginFailure::NameInvalid(field)) }
}

/// A display name without control characters, cut to a length; `None` if nothing is left.
fn display_name(text: &str) -> Option<String> {
    let name: String = text.chars().filter(|c| !c.is_control()).take(DISPLAY_NAME_CHARS_MAX).collect();
    (!name.is_empty()).then_some(name)
}

/// The display name of an account that has none.
pub(super) fn display_name_of(identity: &Identity) -> String {
    display_name(&identity.user_id).unwrap_or_default()
}

/// Programs that read a secret from a file may send the line break at its end.
fn without_line_break(secret: &str) -> &str {
    let secret = secret.strip_suffix('\n').unwrap_or(secret);
    secret.strip_suffix('\r').unwrap_or(secret)
}
