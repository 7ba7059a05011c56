//! Keys for tests, and functions that sign tokens with them. They are public, so they must not be used for anything
//! else.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// A key that signs tokens.
pub struct TestKey {
    pub kid: String,
    pub algorithm: Algorithm,
    encoding: EncodingKey,
}

impl TestKey {
    /// The RSA key, with 2048 bits.
    pub fn rsa() -> Self {
        let encoding = EncodingKey::from_rsa_der(&STANDARD.decode(RSA_PKCS1).unwrap());
        Self { kid: "rsa".into(), algorithm: Algorithm::RS256, encoding }
    }

    /// A P-256 key, one for each seed.
    pub fn p256(seed: u8) -> Self {
        let encoding = EncodingKey::from_ec_der(&[P256_PKCS8_PREFIX, &[seed; 32]].concat());
        Self { kid: format!("p256-{seed}"), algorithm: Algorithm::ES256, encoding }
    }

    /// An Ed25519 key, one for each seed.
    pub fn ed25519(seed: u8) -> Self {
        let encoding = EncodingKey::from_ed_der(&[ED25519_PKCS8_PREFIX, &[seed; 32]].concat());
        Self { kid: format!("ed25519-{seed}"), algorithm: Algorithm::EdDSA, encoding }
    }

    /// A shared secret.
    pub fn secret(kid: &str, secret: &[u8]) -> Self {
        let encoding = EncodingKey::from_secret(secret);
        Self { kid: kid.into(), algorithm: Algorithm::HS256, encoding }
    }

    /// One key of each supported algorithm.
    pub fn of_each_algorithm() -> [Self; 4] {
        [Self::rsa(), Self::p256(1), Self::ed25519(1), Self::secret("secret", &[1; 32])]
    }

    /// The key in the form of a JWK Set.
    pub fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.encoding, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with the header that fits this key.
    pub fn token(&self, claims: &Value) -> String {
        self.token_headed(&json!({ "alg": self.algorithm, "kid": self.kid }), claims)
    }

    /// A token with any header, signed with this key.
    pub fn token_headed(&self, header: &Value, claims: &Value) -> String {
        self.token_of(self.algorithm, &header.to_string(), &claims.to_string())
    }

    /// A token with any header and claims, signed with this key and any algorithm of its type.
    pub fn token_of(&self, algorithm: Algorithm, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64url(header), base64url(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.encoding, algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// The JWK Set of these keys.
pub fn jwks(keys: &[&TestKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// Encodes bytes as JWTs and JWKs do.
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes a base64url text.
pub fn from_base64url(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// PKCS #8 of a P-256 key, without its last 32 bytes, which are the key itself.
const P256_PKCS8_PREFIX: &[u8] =
    b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
      \x04\x27\x30\x25\x02\x01\x01\x04\x20";

/// PKCS #8 of an Ed25519 key, without its last 32 bytes, which are the key itself.
const ED25519_PKCS8_PREFIX: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// PKCS #1 of the RSA key, in base64.
const RSA_PKCS1: &str = "\
    MIIEowIBAAKCAQEAxbaLxtm8AKHEZl5xh9gUnWRI4jc/VHO/s9CTXXDhaBF8BhV1bhc/9X2dVNfYgrGXAbTVyBFF2EI3Mq4SfjEk\
    km5wY7B0xa1jagEtoS5I9oBXUFmQR5V5WGuXmQtinmrwtHVYU+5LSNJvNE6R9+svRf1B7vlpPJzmTbl4SHiWm6WfhUApeJCnu9Nw\
    E5ebp5+RDLFLz7H5EkpvRJT+KotPtE3wAHIkCiny9RbgsNiFhW5OI6fVnpu44hTPm5FxN7CWfNGzMUPV+f3at4xfJ3xOsKVryfMy\
    HPecJAu01q2e8sarsCjm1VFtbe1sjC/I+a71vBagot9gUvoc8LHaYRtY3wIDAQABAoIBAAyTvTaMGUqM/9pnPZ+fnkgY3g4N56hu\
    qI4+wXEbQiuFmTcl3E+BiR8Lu5tvE6XUuD9yinrspl3IcIx3yFNguuvZvKqKyhLdIcrXgliTgi60IVnKKMR0/MAkMAObVs2vDdrc\
    8B5+tSlPwaU5Lk3wFxTDtJMIKKqjbH8bQkyR5zrFZJTUZqBdGpcPPc9FWraaZ8hs7ji6NLrf5tqm1uxYkL7x7uf5l2cCFuN69FGS\
    vKf0Q6oR/f8uVuUpXBglMPX5IqsDNoyMTTi1XW8TWGIx+9TAZU/GecTSHI9wWuKpYoY9HC3lQbBNNugv78oKoU7amAVH58DWEhiC\
    ivi8fTa0JxECgYEA/tnpXnjEFCMN66oRbZR46xZw1K7rCuQWfL54IyYeWSUoZ4U1HJiUuaLgYehRkfUJ6V59vbxwji2mjLN8s03W\
    WrVUrETMrQv0IVlqzlmE5JSoAySXpcKeH69ooc9Png94eg+7rM44UUa/zD+Juv+aSe+8pV17mnkzLoG4xaydX1kCgYEAxpqy/wYz\
    re4DTJ/bqFYDr05TNznN5w1vV97c1ejDWu0ONUhNdm2fbG/hpSEhzWOCccSCkx0opP54YKhDV5oE7rTEWIviNDpUQwMUhPtC4WAT\
    JHmmXkfP+cArzgICIRZq2DhBiAo8WA9sgcg7fpCnQQWGUHTd+WVQFPqkd45l6vcCgYAQy42cozrQ1OqS8FdLsHAzlfwDmC93PUba\
    G7dRIa74UwGRqO6yHsAWZ8x/x06w3sQzc/23ZlbIl+uU9DMwod2Rhse4vqP6d4I0PG9UgAPJCJ717hBsZSIElou/tijaEszuxmCo\
    58JAYPg83qcWAshJPRpij4GY0Yn086mYpWKNqQKBgFtd9BcK/V947h+kM2OgHpXZzMLNXwJ61cxxBNuL98Ou5yhwGOLwz7UNS5uy\
    QGDC9NHt+7w+X+J4B11AS6rTeo1usB2kTO6GHxmtIxWCmmQg1O2k4XriQrW9SOm/VsduDr1mNA+n1dcVUW/rdCNn3Oo25nHBMhV4\
    HH1qSZuO8ShFAoGBAKtWcudbLonsk469EHu2/P8P0xpOXTJSAYbsT5m3Gm/pIsqLpS4mPI6yGwkfowXCdn5RPpCfPCoTxPeAwB/T\
    TQ9oCnt/YO/MIjzEB2lbybah3N59pNkp3tlNCfjpWJ+1v3hwvESkK8rNiB9H6Kp8NdkCjKBXp35EyM8jkVBweaM6";
