//! Tokens of Epic's voice rooms. Epic makes them: a call for each player, with the studio's own credentials.

mod client;
mod connect;
mod requests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use self::client::{Answer, CALL_TIMEOUT, Call, Client, check_base_url};
use self::connect::{ConnectTokens, Refusal};
pub use self::requests::{CALLS_MAX, OF_PLAYER_MAX};
use self::requests::{Full, Place, Requests};
use crate::auth::{PRODUCT_USER_ID_CHARS_MAX, check_jwks_url};
use crate::domain::PlayerUuid;
use crate::env::Clock;
use crate::secret_file;

/// Time between two lines in the log about a service that cannot be used, in milliseconds.
const LOG_EVERY_MS: i64 = 60_000;
/// Time from a failure to get an access token to the next attempt, in milliseconds.
const TOKEN_PAUSE_MS: i64 = 5_000;
/// Longest error code of the service that goes into the log, in characters.
const LOGGED_CHARS_MAX: usize = 100;

/// Settings of Epic's voice.
#[derive(Clone, Debug)]
pub struct EpicSettings {
    /// The deployment of the game.
    pub deployment_id: String,
    /// The client whose policy allows to make tokens of rooms.
    pub client_id: String,
    /// The file with its secret. Others must not read it.
    pub client_secret_file: PathBuf,
    /// The address of Epic's service.
    pub base_url: String,
    /// The address of the keys that verify ID tokens of Connect; `None`: such tokens are refused.
    pub connect_jwks_url: Option<String>,
    /// Whether Epic is asked for the account that belongs to a player's uuid.
    pub openid_lookup: bool,
}

impl EpicSettings {
    /// Checks the settings without reading files. The error is the setting, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        if self.deployment_id.is_empty() || !self.deployment_id.chars().all(is_plain) {
            return Err(("deployment_id", "deployment_id takes letters, digits, - and _".into()));
        }
        check_base_url(&self.base_url).map_err(|message| ("base_url", message))?;
        let url = self.connect_jwks_url.as_deref().map_or(Ok(()), check_jwks_url);
        url.map_err(|message| ("connect_jwks_url", message.replace("jwks_url", "connect_jwks_url")))
    }
}

/// A request of a player for a room. It has a token, so it cannot be printed.
pub struct JoinRequest {
    /// The name of the room.
    pub room: String,
    /// The player.
    pub player: PlayerUuid,
    /// The ProductUserId in the player's own token.
    pub product_user_id: Option<String>,
    /// The ID token of Connect that the player has sent.
    pub connect_id_token: Option<String>,
    /// The address of the player, if it is one of the internet.
    pub address: Option<IpAddr>,
    /// Whether the player cannot speak.
    pub is_muted: bool,
}

/// What a player joins a room with.
#[derive(Clone, PartialEq, Eq)]
pub struct RoomCredentials {
    /// The room.
    pub room_id: String,
    /// The token of the player.
    pub participant_token: String,
    /// Where the player's client connects.
    pub client_base_url: String,
    /// The ProductUserId of the player.
    pub product_user_id: String,
}

/// Why a player gets no credentials.
#[derive(Debug, PartialEq, Eq)]
pub enum EpicError {
    /// It is not known who the player is at Epic. The text says what to do, and may be shown.
    IdentityUnknown(String),
    /// Epic did not answer in time, or refused. The log has the cause.
    Unavailable,
}

/// Asks Epic for tokens of rooms.
pub struct Epic {
    client: Client,
    settings: EpicSettings,
    /// The header that proves who the client is.
    basic: String,
    connect: Option<ConnectTokens>,
    clock: Clock,
    requests: Requests,
    access_token: Arc<tokio::sync::Mutex<KeptToken>>,
    /// When a failure was last logged, by the monotonic clock.
    logged_up_ms: Mutex<Option<i64>>,
}

/// The access token, or why there was none a moment ago.
#[derive(Default)]
enum KeptToken {
    #[default]
    None,
    Token(AccessToken),
    /// The cause, and until when it is the answer, by the monotonic clock.
    Failed(String, i64),
}

/// A token with which the service is called.
#[derive(Clone)]
struct AccessToken {
    text: Arc<str>,
    /// When it is renewed, by the monotonic clock.
    renew_up_ms: i64,
}

#[derive(Deserialize)]
struct AccessTokenAnswer {
    access_token: String,
    /// Seconds.
    expires_in: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoomAnswer {
    room_id: String,
    client_base_url: String,
    participants: Vec<ParticipantAnswer>,
}

#[derive(Deserialize)]
struct ParticipantAnswer {
    puid: String,
    token: String,
}

#[derive(Deserialize)]
struct AccountsAnswer {
    ids: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorAnswer {
    error_code: String,
}

impl Epic {
    /// Reads the secret. Nothing is asked of Epic yet.
    ///
    /// # Errors
    /// If a setting or a file cannot be used. The message names the file.
    pub fn new(settings: EpicSettings, clock: Clock) -> Result<Self, String> {
        settings.check().map_err(|(_, message)| message)?;
        let secret = secret_file::read(&settings.client_secret_file)?;
        let file = settings.client_secret_file.display();
        let secret = std::str::from_utf8(&secret).map_err(|_| format!("{file}: it is not UTF-8 text"))?;
        if secret.trim().is_empty() {
            return Err(format!("{file}: the file is empty"));
        }
        let credentials = STANDARD.encode(format!("{}:{}", settings.client_id, secret.trim()));
        let connect = settings.connect_jwks_url.clone();
        let connect =
            connect.map(|url| ConnectTokens::new(url, settings.deployment_id.clone(), clock.clone()));
        Ok(Self {
            client: Client::new(&settings.base_url)?,
            basic: format!("Basic {credentials}"),
            connect,
            settings,
            clock,
            requests: Requests::none(),
            access_token: Arc::default(),
            logged_up_ms: Mutex::default(),
        })
    }

    /// Asks for a token with which a player joins a room. Epic makes the room. Ends within 3 s.
    ///
    /// # Errors
    /// [`EpicError`].
    pub async fn join(self: &Arc<Self>, request: JoinRequest) -> Result<RoomCredentials, EpicError> {
        let joined = tokio::time::timeout(CALL_TIMEOUT, self.join_in_time(request)).await;
        let late =
            || Err(Failure::Service(format!("there was no answer within {} s", CALL_TIMEOUT.as_secs())));
        joined.unwrap_or_else(|_| late()).map_err(|failure| match failure {
            Failure::Identity(text) => EpicError::IdentityUnknown(text),
            Failure::Share => EpicError::Unavailable,
            Failure::Service(cause) => {
                self.log(&cause);
                EpicError::Unavailable
            }
        })
    }

    async fn join_in_time(self: &Arc<Self>, request: JoinRequest) -> Result<RoomCredentials, Failure> {
        let place = self.requests.begin(request.player).await;
        let place = place.map_err(|full| match full {
            Full::Share => Failure::Share,
            Full::Queue => Failure::Service("too many requests wait for it".into()),
        })?;
        let puid = self.product_user_id(&request, &place).await?;
        let mut participant = json!({ "puid": puid, "hardMuted": request.is_muted });
        if let Some(address) = request.address {
            participant["clientIp"] = json!(address.to_string());
        }
        let path = format!("/rtc/v1/{}/room/{}", self.settings.deployment_id, request.room);
        let body = json!({ "participants": [participant] }).to_string();
        let call = || Call::Post(path.clone(), "application/json", body.clone());
        let answer = self.authorized(call, &place).await?;
        let room: RoomAnswer = parse(&answer, "the room").map_err(Failure::Service)?;
        let mut participants = room.participants.into_iter();
        let Some(found) = participants.find(|participant| participant.puid == puid) else {
            return Err(Failure::Service("the answer with the room lacks the player".into()));
        };
        Ok(RoomCredentials {
            room_id: room.room_id,
            participant_token: found.token,
            client_base_url: room.client_base_url,
            product_user_id: puid,
        })
    }

    /// Finds out who the player is at Epic. What only the player says does not count: the token would be somebody
    /// else's.
    async fn product_user_id(
        self: &Arc<Self>,
        request: &JoinRequest,
        place: &Arc<Place>,
    ) -> Result<String, Failure> {
        let unknown = |text: &str| Failure::Identity(text.to_owned());
        if let Some(token) = &request.connect_id_token {
            let Some(connect) = &self.connect else {
                return Err(unknown(
                    "this server does not take connect_id_token; its operator can set connect_jwks_url",
                ));
            };
            let puid = connect.product_user_id(token).await.map_err(|refusal| match refusal {
                Refusal::Token(error) => {
                    Failure::Identity(format!("the connect_id_token was refused: {error}"))
                }
                Refusal::Unavailable(cause) => {
                    Failure::Service(format!("the keys of connect_id_token cannot be fetched: {cause}"))
                }
            })?;
            return checked(puid).ok_or_else(|| unknown("the connect_id_token names no ProductUserId"));
        }
        if let Some(puid) = request.product_user_id.clone().and_then(checked) {
            return Ok(puid);
        }
        if !self.settings.openid_lookup {
            return Err(unknown(
                "nothing says who the player is at Epic: send connect_id_token, or have the operator set puid_claim or \
                 openid_lookup",
            ));
        }
        let account = request.player.to_string();
        let target = format!("/user/v1/accounts?accountId={account}&identityProviderId=openid");
        let answer = self.authorized(|| Call::Get(target.clone()), place).await?;
        let AccountsAnswer { mut ids } = parse(&answer, "the account").map_err(Failure::Service)?;
        let found = ids.remove(&account).and_then(checked);
        found.ok_or_else(|| unknown("Epic knows no account of this player; log in to Epic first"))
    }

    /// Makes a call with the access token. If Epic refuses the token, renews it once.
    async fn authorized(
        self: &Arc<Self>,
        call: impl Fn() -> Call,
        place: &Arc<Place>,
    ) -> Result<Answer, Failure> {
        let token = self.access_token(place).await?;
        let answer = self.make(call(), token.clone(), place).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let mut kept = self.access_token.lock().await;
        // Otherwise another request has renewed it already.
        if matches!(&*kept, KeptToken::Token(kept) if kept.text == token) {
            *kept = KeptToken::None;
        }
        drop(kept);
        let token = self.access_token(place).await?;
        self.make(call(), token, place).await
    }

    async fn make(
        self: &Arc<Self>,
        call: Call,
        token: Arc<str>,
        place: &Arc<Place>,
    ) -> Result<Answer, Failure> {
        let (epic, place) = (Arc::clone(self), Arc::clone(place));
        let made = tokio::task::spawn_blocking(move || {
            let _place = place;
            epic.client.make(call, &format!("Bearer {token}"))
        });
        let made = made.await.map_err(|error| Failure::Service(error.to_string()))?;
        made.map_err(Failure::Service)
    }

    /// The access token, renewed if most of its time is over. Requests that need a new one wait for the same call. After a
    /// failure none is asked for, for a moment: otherwise each player would make a call that fails.
    async fn access_token(self: &Arc<Self>, place: &Arc<Place>) -> Result<Arc<str>, Failure> {
        let mut kept = Arc::clone(&self.access_token).lock_owned().await;
        let now_up_ms = self.clock.up_ms();
        match &*kept {
            KeptToken::Token(token) if now_up_ms < token.renew_up_ms => return Ok(Arc::clone(&token.text)),
            KeptToken::Failed(cause, until_up_ms) if now_up_ms < *until_up_ms => {
                return Err(Failure::Service(cause.clone()));
            }
            _ => {}
        }
        let (epic, place) = (Arc::clone(self), Arc::clone(place));
        // The call keeps the lock: if its caller goes away, nobody else makes another one.
        let renewed = tokio::task::spawn_blocking(move || {
            let _place = place;
            match epic.fetch_access_token() {
                Ok(token) => {
                    *kept = KeptToken::Token(token.clone());
                    Ok(token.text)
                }
                Err(cause) => {
                    let until_up_ms = epic.clock.up_ms().saturating_add(TOKEN_PAUSE_MS);
                    *kept = KeptToken::Failed(cause.clone(), until_up_ms);
                    Err(Failure::Service(cause))
                }
            }
        });
        renewed.await.map_err(|error| Failure::Service(error.to_string()))?
    }

    fn fetch_access_token(&self) -> Result<AccessToken, String> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("deployment_id", &self.settings.deployment_id)
            .finish();
        let call = Call::Post("/auth/v1/oauth/token".into(), "application/x-www-form-urlencoded", form);
        let asked_up_ms = self.clock.up_ms();
        let answer = self.client.make(call, &self.basic)?;
        let AccessTokenAnswer { access_token, expires_in } = parse(&answer, "an access token")?;
        #[allow(clippy::cast_possible_truncation, reason = "the cast saturates")]
        let lives_ms = (expires_in.max(0.0) * 1000.0) as i64;
        let renew_up_ms = asked_up_ms.saturating_add(lives_ms / 6 * 5);
        Ok(AccessToken { text: access_token.into(), renew_up_ms })
    }

    /// Logs why Epic cannot be used, once a minute.
    fn log(&self, cause: &str) {
        let mut logged = self.logged_up_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.up_ms();
        if logged.is_none_or(|last| now >= last.saturating_add(LOG_EVERY_MS)) {
            *logged = Some(now);
            tracing::warn!(
                cause,
                "Epic gives no voice tokens: players get 503; further such lines come once a minute"
            );
        }
    }
}

/// Why there are no credentials. The text of a failure of the service is for the log.
enum Failure {
    Identity(String),
    /// The player has other requests under way.
    Share,
    Service(String),
}

/// Parses an answer, if it is a success.
fn parse<'a, T: Deserialize<'a>>(answer: &'a Answer, what: &str) -> Result<T, String> {
    if !(200..300).contains(&answer.status) {
        let said = serde_json::from_slice(&answer.body).map_or_else(
            |_| String::new(),
            |ErrorAnswer { error_code }| {
                error_code.chars().filter(|char| !char.is_control()).take(LOGGED_CHARS_MAX).collect()
            },
        );
        return Err(format!("the call for {what} was answered {} {said}", answer.status));
    }
    // The error of the parser could show a part of a token.
    serde_json::from_slice(&answer.body).map_err(|_| format!("the answer with {what} cannot be read"))
}

/// A ProductUserId, if it can be one.
fn checked(puid: String) -> Option<String> {
    let is_plain = puid.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Some(puid).filter(|puid| is_plain && (1..=PRODUCT_USER_ID_CHARS_MAX).contains(&puid.len()))
}

/// Whether an address can be one of the internet. A private one tells Epic nothing of where the player is.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, third, _] = v4.octets();
            let is_reserved = matches!((first, second, third), (0 | 240..=255, ..) | (192, 0, 0));
            let is_shared = first == 100 && (64..128).contains(&second);
            let is_for_benches = first == 198 && (18..20).contains(&second);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || is_reserved
                || is_shared
                || is_for_benches)
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_public(v4.into()),
            // Only these are given out (RFC 4291); of them, some are for documents.
            None => v6.segments()[0] & 0xe000 == 0x2000 && v6.segments()[..2] != [0x2001, 0xdb8],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for address in ["8.8.8.8", "100.128.0.1", "192.0.1.1", "2a00::1", "::ffff:8.8.8.8"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "10.0.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_product_user_id_is_plain_text() {
        let puid = "0002aa6b5c2744d3913fe5d1a3ab2f29";
        assert_eq!(checked(puid.into()).as_deref(), Some(puid));
        for text in ["", "a b", "a/../b", "é", &"a".repeat(65)] {
            assert_eq!(checked(text.into()), None, "{text}");
        }
    }
}
