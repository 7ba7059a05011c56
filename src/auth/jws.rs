//! A signed token in its compact form (RFC 7515, 7.1), before anything in it is trusted.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::jwk;
use super::keys::VerifyingKey;
use super::token::TokenError;

/// Header parameters that are texts (RFC 7515, 4.1).
const TEXTS: [&str; 7] = ["typ", "cty", "kid", "jku", "x5u", "x5t", "x5t#S256"];

/// A signed token. Its claims can be read only after a signature was checked.
pub(super) struct Jws<'a> {
    /// The algorithm that the header names. It selects keys; it never chooses how a key is used.
    pub algorithm: Algorithm,
    /// The id of the key, if the header names one.
    pub kid: Option<String>,
    /// What is signed: header and claims.
    message: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Reads the header. Keys and addresses of keys in the header are not used.
    ///
    /// # Errors
    /// If the text is not a signed token, or its header has something that the server does not accept.
    pub fn parse(raw: &'a str) -> Result<Self, TokenError> {
        let (message, signature) = raw.rsplit_once('.').ok_or(TokenError::Malformed)?;
        // An encrypted token has five parts.
        let parts = message.split_once('.').filter(|(_, claims)| !claims.contains('.'));
        let (header, claims) = parts.ok_or(TokenError::Malformed)?;
        let header = object(header)?;
        let name = header.get("alg").and_then(Value::as_str).ok_or(TokenError::Header("alg"))?;
        let algorithm = jwk::algorithm(name).ok_or(TokenError::Algorithm)?;
        // Critical extensions (RFC 7515, 4.1.11). None are supported.
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        check_types(&header)?;
        let kid = header.get("kid").and_then(Value::as_str).map(str::to_owned);
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
        Ok(Self { algorithm, kid, message, claims, signature })
    }

    /// The claims, if this key has signed the token; otherwise `None`.
    ///
    /// # Errors
    /// If the claims are not an object.
    pub fn claims(&self, key: &VerifyingKey) -> Option<Result<Map<String, Value>, TokenError>> {
        key.check.is_valid(self.message.as_bytes(), &self.signature).then(|| object(self.claims))
    }
}

/// Checks the types of the parameters that RFC 7515 defines, although most of them are not used: a token service that
/// writes them wrongly learns which one.
fn check_types(header: &Map<String, Value>) -> Result<(), TokenError> {
    let is_text = |name: &&str| header.get(*name).is_none_or(Value::is_string);
    if let Some(name) = TEXTS.into_iter().find(|name| !is_text(name)) {
        return Err(TokenError::Header(name));
    }
    if !header.get("jwk").is_none_or(Value::is_object) {
        return Err(TokenError::Header("jwk"));
    }
    let is_chain = |chain: &Value| chain.as_array().is_some_and(|chain| chain.iter().all(Value::is_string));
    if !header.get("x5c").is_none_or(is_chain) {
        return Err(TokenError::Header("x5c"));
    }
    Ok(())
}

/// Decodes an object in base64url. Members that are null are left out: they count as absent.
fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map(|Members(members)| members).map_err(|_| TokenError::Malformed)
}

/// The members of an object in which no name occurs twice (RFC 7515, 4; RFC 7519, 4): other software could read the
/// other value.
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name occurs twice"));
                    }
                }
                members.retain(|_, value| !value.is_null());
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}
