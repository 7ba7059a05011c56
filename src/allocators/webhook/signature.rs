//! Signatures of calls, as Standard Webhooks define them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Lengths of a key, in bytes, as Standard Webhooks allow them.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Most keys: one, and a second one while it replaces the first.
const KEYS_MAX: usize = 2;

/// The keys that sign. A call has a signature by each of them.
pub struct Keys(Vec<hmac::Key>);

impl Keys {
    /// Reads keys from the text of a file: one or two lines, each with `whsec_` and the key in base64.
    ///
    /// # Errors
    /// If there is no key, or one that is not valid. The message does not contain it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() || lines.len() > KEYS_MAX {
            return Err(format!("it has {} keys; one or two are allowed, each on its own line", lines.len()));
        }
        let keys: Option<Vec<_>> = lines.into_iter().map(key).collect();
        keys.map(Self).ok_or_else(|| {
            let (least, most) = (KEY_BYTES.start(), KEY_BYTES.end());
            format!("a key is {PREFIX} and {least} to {most} random bytes in base64")
        })
    }

    /// The value of the header `webhook-signature`. `timestamp_s` is the value of `webhook-timestamp`.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &str) -> String {
        let signed = format!("{id}.{timestamp_s}.{body}");
        let signature = |key| format!("v1,{}", STANDARD.encode(hmac::sign(key, signed.as_bytes()).as_ref()));
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

fn key(line: &str) -> Option<hmac::Key> {
    let bytes = STANDARD.decode(line.strip_prefix(PREFIX)?).ok()?;
    KEY_BYTES.contains(&bytes.len()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const OTHER: &str = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

    fn sign(secrets: &str) -> String {
        let keys = Keys::parse(secrets).unwrap();
        keys.sign("3f6c0b1e-0000-4000-8000-000000000001", 1_700_000_000, "{\"event\":\"allocate\"}")
    }

    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        assert_eq!(sign(SECRET), "v1,8vTQpKqK4e+UPGsnfG6wKYQgWyt81kq1lMbMX1Vo68I=");
    }

    #[test]
    fn two_keys_give_two_signatures() {
        let both = sign(&format!("{SECRET}\n{OTHER}\n"));
        assert_eq!(both, format!("{} {}", sign(SECRET), sign(OTHER)));
    }

    #[test]
    fn a_file_without_a_valid_key_is_refused() {
        for (text, expected) in [
            ("", "it has 0 keys"),
            (&format!("{SECRET}\n{OTHER}\n{SECRET}"), "it has 3 keys"),
            ("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "a key is whsec_"),
            ("whsec_c2hvcnQ=", "24 to 64 random bytes"),
            ("whsec_no base64", "a key is whsec_"),
        ] {
            let refused = Keys::parse(text).err().unwrap();
            assert!(refused.contains(expected), "{text:?}: {refused}");
            assert!(!refused.contains("MDEy"), "the message has the key");
        }
    }
}
