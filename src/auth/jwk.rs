//! One key of a JWK Set (RFC 7517): whether it can verify tokens, and with which algorithm.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::keys::{Origin, VerifyingKey};
use super::signature::SignatureCheck;

/// Minimum length of an RSA modulus, in bits. Shorter ones are not secure.
const RSA_BITS_MIN: usize = 2048;
/// Maximum length of an RSA modulus that the library supports, in bits.
const RSA_BITS_MAX: usize = 4096;
/// Maximum length of an RSA exponent, in bits: that of the library that checks signatures.
const RSA_EXPONENT_BITS_MAX: usize = 33;
/// Length of a coordinate of a point on P-256, in bytes.
const P256_COORDINATE_BYTES: usize = 32;
/// The first byte of an uncompressed point (SEC 1, 2.3.3).
const P256_UNCOMPRESSED: u8 = 4;
/// Length of an Ed25519 public key, in bytes.
const ED25519_BYTES: usize = 32;
/// Minimum length of a shared secret, in bytes: the length of a SHA-256 hash (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// base64url with or without padding: some token services add it.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The algorithm with this name, if the server supports it. EdDSA has two names: RFC 9864 calls it by its curve.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" | "Ed25519" => Some(Algorithm::EdDSA),
        "HS256" => Some(Algorithm::HS256),
        _ => None,
    }
}

/// Reads the key in an entry of a JWK Set.
///
/// # Errors
/// Why the entry cannot verify tokens. The reason contains nothing of the entry but names of its members.
pub(super) fn verifying_key(entry: &Value, origin: Origin) -> Result<VerifyingKey, String> {
    let jwk = entry.as_object().ok_or("it is not an object")?;
    let kid = text(jwk, "kid")?.map(str::to_owned);
    check_use(jwk)?;
    let check = match (required_text(jwk, "kty")?, text(jwk, "crv")?) {
        ("RSA", _) => rsa(jwk)?,
        ("EC", Some("P-256")) => p256(jwk)?,
        ("OKP", Some("Ed25519")) => ed25519(jwk)?,
        ("oct", _) => secret(jwk, origin)?,
        _ => return Err("its type is not RSA, P-256, Ed25519 or oct".into()),
    };
    Ok(VerifyingKey { kid, check })
}

/// Checks that a key is for the verification of signatures, as far as it says so, and with the algorithm of its type.
fn check_use(jwk: &Map<String, Value>) -> Result<(), String> {
    if text(jwk, "use")?.is_some_and(|usage| usage != "sig") {
        return Err("it is not for signatures".into());
    }
    let operations =
        member(jwk, "key_ops").map(|operations| operations.as_array().ok_or("its key_ops is not a list"));
    if let Some(operations) = operations.transpose()?
        && !operations.iter().any(|operation| operation == "verify")
    {
        return Err("it is not for the verification of signatures".into());
    }
    let own = match required_text(jwk, "kty")? {
        "RSA" => Algorithm::RS256,
        "EC" => Algorithm::ES256,
        "OKP" => Algorithm::EdDSA,
        _ => Algorithm::HS256,
    };
    match text(jwk, "alg")? {
        Some(name) if algorithm(name) != Some(own) => {
            Err("its alg is not the supported one of its type: RS256, ES256, EdDSA or HS256".into())
        }
        _ => Ok(()),
    }
}

fn rsa(jwk: &Map<String, Value>) -> Result<SignatureCheck, String> {
    let (modulus, exponent) = (number(jwk, "n")?, number(jwk, "e")?);
    let bits =
        |number: &[u8]| number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize);
    match bits(&modulus) {
        ..RSA_BITS_MIN => return Err(format!("an RSA key needs {RSA_BITS_MIN} bits")),
        RSA_BITS_MIN..=RSA_BITS_MAX => {}
        _ => return Err(format!("its modulus is longer than {RSA_BITS_MAX} bits")),
    }
    if bits(&exponent) > RSA_EXPONENT_BITS_MAX {
        return Err(format!("its exponent is longer than {RSA_EXPONENT_BITS_MAX} bits"));
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !is_odd(&modulus) || !is_odd(&exponent) || exponent == [1] {
        return Err("it is not a valid RSA key".into());
    }
    Ok(SignatureCheck::rsa(modulus, exponent))
}

fn p256(jwk: &Map<String, Value>) -> Result<SignatureCheck, String> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    let point = [&[P256_UNCOMPRESSED][..], &x, &y].concat();
    let is_valid = [&x, &y].iter().all(|coordinate| coordinate.len() == P256_COORDINATE_BYTES)
        && is_on_curve(&DecodingKey::from_ec_der(&point), Algorithm::ES256);
    if is_valid { Ok(SignatureCheck::p256(point)) } else { Err("it is not a valid P-256 key".into()) }
}

fn ed25519(jwk: &Map<String, Value>) -> Result<SignatureCheck, String> {
    let point = bytes(jwk, "x")?;
    // The library that checks the point panics on a shorter key and truncates a longer one.
    let is_valid =
        point.len() == ED25519_BYTES && is_on_curve(&DecodingKey::from_ed_der(&point), Algorithm::EdDSA);
    if is_valid { Ok(SignatureCheck::ed25519(point)) } else { Err("it is not a valid Ed25519 key".into()) }
}

fn secret(jwk: &Map<String, Value>, origin: Origin) -> Result<SignatureCheck, String> {
    if origin == Origin::Network {
        return Err("it is a shared secret, which must come from a file (jwks_file)".into());
    }
    let secret = bytes(jwk, "k")?;
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!("a shared secret needs {SECRET_BYTES_MIN} bytes"));
    }
    Ok(SignatureCheck::secret(&secret))
}

/// Whether a key is a point of the curve of this algorithm. A key that is not would be found only when the first token
/// names it. The verification of an empty signature fails with an error, not with `false`, for such a key.
fn is_on_curve(key: &DecodingKey, algorithm: Algorithm) -> bool {
    jsonwebtoken::crypto::verify("", b"", key, algorithm).is_ok()
}

/// A member of a key. Null counts as absent.
fn member<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    jwk.get(name).filter(|value| !value.is_null())
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    let text = |value: &'a Value| value.as_str().ok_or_else(|| format!("its {name} is not a text"));
    member(jwk, name).map(text).transpose()
}

fn required_text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    text(jwk, name)?.ok_or_else(|| format!("it has no {name}"))
}

/// A member in base64url. The standard alphabet and padding are read too: they can mean no other bytes.
fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let text = required_text(jwk, name)?.replace('+', "-").replace('/', "_");
    BASE64URL.decode(text).map_err(|_| format!("its {name} is not base64url"))
}

/// A member that is a number in base64url, without leading zeros.
fn number(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let mut bytes = bytes(jwk, name)?;
    bytes.drain(..bytes.iter().take_while(|byte| **byte == 0).count());
    Ok(bytes)
}
