//! Tokens of Vivox: claims that are signed with the key of the studio. Vivox checks them; nothing is asked of it here.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::hmac;
use serde::Serialize;

use crate::document::Document;
use crate::domain::PlayerUuid;
use crate::env::Entropy;
use crate::secret_file;

/// Vivox reads the number of a token as a signed integer of 32 bits.
const NUMBER_MASK: u32 = 0x7fff_ffff;

/// Settings of Vivox.
#[derive(Clone, Debug)]
pub struct VivoxSettings {
    /// The studio's issuer.
    pub issuer: String,
    /// The domain of the studio's Vivox server.
    pub domain: String,
    /// The address of the server, for clients.
    pub server: String,
    /// The file with the key. Others must not read it.
    pub key_file: PathBuf,
    /// How long a token is valid, in seconds.
    pub ttl_s: u32,
    /// The kind of channels: `g` (plain), `d` (positional) or `e` (echo).
    pub channel_type: &'static str,
}

/// What a token allows, beside logging in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To join a channel.
    Join,
    /// To join a channel without a voice.
    JoinMuted,
    /// To remove a user from a channel.
    Kick,
    /// To mute a user for all.
    Mute,
    /// To read what is said as text.
    Transcribe,
}

impl Action {
    /// Every action, in the order of the contract.
    pub const ALL: [Self; 5] = [Self::Join, Self::JoinMuted, Self::Kick, Self::Mute, Self::Transcribe];

    /// The name in requests and in tokens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::JoinMuted => "join_muted",
            Self::Kick => "kick",
            Self::Mute => "mute",
            Self::Transcribe => "trxn",
        }
    }
}

/// Signs tokens of Vivox.
pub struct Vivox {
    settings: VivoxSettings,
    key: hmac::Key,
    /// The number of the next token. The first one is random, so that nodes seldom use the same.
    next_number: AtomicU32,
}

/// The claims of a token.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    exp: i64,
    vxa: &'a str,
    vxi: u32,
    f: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
}

impl Vivox {
    /// Reads the key.
    ///
    /// # Errors
    /// If the file cannot be used. The message names it.
    pub fn new(settings: VivoxSettings, entropy: &Entropy) -> Result<Self, String> {
        let file = secret_file::read(&settings.key_file)?;
        let key = file.trim_ascii();
        if key.is_empty() {
            return Err(format!("{}: the file is empty", settings.key_file.display()));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let next_number = AtomicU32::new(u32::from_le_bytes(entropy.bytes()));
        Ok(Self { settings, key, next_number })
    }

    /// The studio's issuer.
    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// The address of the server, for clients.
    pub fn server(&self) -> &str {
        &self.settings.server
    }

    /// A token with which a player logs in.
    pub fn login(&self, player: PlayerUuid, now: Timestamp) -> String {
        self.token("login", self.user(player), None, None, now)
    }

    /// A token for an action of a player in a channel; `None`: of the studio itself. `target` is the user to whom it is
    /// done.
    pub fn action(
        &self,
        action: Action,
        player: Option<PlayerUuid>,
        channel: &str,
        target: Option<PlayerUuid>,
        now: Timestamp,
    ) -> String {
        let VivoxSettings { issuer, domain, channel_type, .. } = &self.settings;
        let from = match player {
            Some(player) => self.user(player),
            None => format!("sip:{issuer}-Admin@{domain}"),
        };
        let channel = format!("sip:confctl-{channel_type}-{issuer}.{channel}@{domain}");
        self.token(action.name(), from, Some(channel), target.map(|target| self.user(target)), now)
    }

    fn user(&self, player: PlayerUuid) -> String {
        let VivoxSettings { issuer, domain, .. } = &self.settings;
        format!("sip:.{issuer}.{player}.@{domain}")
    }

    fn token(&self, vxa: &str, f: String, t: Option<String>, sub: Option<String>, now: Timestamp) -> String {
        let exp = now.as_second().saturating_add(self.settings.ttl_s.into());
        let vxi = self.next_number.fetch_add(1, Ordering::Relaxed) & NUMBER_MASK;
        let claims = Claims { iss: self.issuer(), exp, vxa, vxi, f, t, sub };
        sign(&self.key, &Document::render(&claims))
    }
}

/// Signs claims. The header is empty, unlike that of a JWT.
fn sign(key: &hmac::Key, claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Vivox's guide, with its key: claims as it writes them, and the signature.
    #[test]
    fn the_published_examples_have_the_published_signatures() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret!");
        let user = |name: &str| format!("sip:.blindmelon-AppName-dev.{name}.@tla.vivox.com");
        let (jerky, beef) = (user("jerky"), user("beef"));
        let channel = "sip:confctl-g-blindmelon-AppName-dev.testchannel@tla.vivox.com";
        let (issuer, exp) = (r#""iss":"blindmelon-AppName-dev""#, r#""exp":1600349400"#);
        for (claims, signature) in [
            (
                format!(r#"{{{issuer},"vxa":"login","vxi":933000,{exp},"f":"{jerky}"}}"#),
                "5FKsAQz7bRQGGlSZw-KIcCmft7Ic6nT3Ih-TbdYPWwI",
            ),
            (
                format!(
                    r#"{{"vxi":665000,"sub":"{jerky}","f":"{beef}",{issuer},"vxa":"kick","t":"{channel}",{exp}}}"#
                ),
                "kKnWD3smth6KUuRaY11O-yqAbXy2L2wDZeIoDK_098c",
            ),
            (
                format!(
                    r#"{{"vxi":542680,"f":"{jerky}",{issuer},"vxa":"join_muted","t":"{channel}",{exp}}}"#
                ),
                "N6sZL3F3e-p2KLQlMweXnbGNzE7Qc91rn_uqCEtRjsc",
            ),
        ] {
            let token = sign(&key, claims.as_bytes());
            let [header, body, signed] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
            assert_eq!((header, signed), ("e30", signature));
            assert_eq!(URL_SAFE_NO_PAD.decode(body).unwrap(), claims.as_bytes());
        }
    }

    #[test]
    fn the_key_is_read_from_a_file_that_others_cannot_read() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let settings = |text: &str, mode| {
            let key_file = dir.path().join("key");
            std::fs::write(&key_file, text).unwrap();
            std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(mode)).unwrap();
            VivoxSettings {
                issuer: "a".into(),
                domain: "b".into(),
                server: "c".into(),
                key_file,
                ttl_s: 90,
                channel_type: "g",
            }
        };
        let opened = |text, mode| Vivox::new(settings(text, mode), &Entropy::seeded(1)).map(drop);
        assert_eq!(opened("secret!\n", 0o640), Ok(()));
        assert!(opened("secret!", 0o644).unwrap_err().contains("every user of this machine can read it"));
        assert!(opened(" \n", 0o600).unwrap_err().contains("the file is empty"));
    }

    #[test]
    fn the_numbers_of_tokens_differ_and_fit_into_31_bits() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"k");
        let settings = VivoxSettings {
            issuer: "i".into(),
            domain: "d".into(),
            server: "s".into(),
            key_file: PathBuf::new(),
            ttl_s: 90,
            channel_type: "e",
        };
        let vivox = Vivox { settings, key, next_number: AtomicU32::new(u32::MAX - 1) };
        let claims = || {
            let token = vivox.login(PlayerUuid(uuid::Uuid::nil()), Timestamp::UNIX_EPOCH);
            let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
            serde_json::from_slice::<serde_json::Value>(&claims).unwrap()
        };
        let numbers = [(); 3].map(|()| claims()["vxi"].as_u64().unwrap());
        assert_eq!(numbers, [(1 << 31) - 2, (1 << 31) - 1, 0]);
        assert_eq!(claims()["exp"], 90);
    }
}
