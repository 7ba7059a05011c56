//! Client credentials in a request: `Authorization: Basic`.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};

/// Decodes the standard alphabet, with or without padding.
const DECODER: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The id of a client and its secret, as the request states them. Nothing has checked them.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicCredentials {
    /// The id: the text before the first colon.
    pub id: String,
    /// The secret: the text after the first colon.
    pub secret: String,
}

impl BasicCredentials {
    /// Parses what follows the scheme in the header. Published clients use the URL-safe alphabet of base64 and servers
    /// the standard one, with and without padding; all are accepted. Some read the secret from a file with its line
    /// break, so one line break at the end of the secret is dropped. Returns `None` if the text is malformed.
    pub fn parse(encoded: &[u8]) -> Option<Self> {
        let standard: Vec<u8> = encoded
            .iter()
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                byte => *byte,
            })
            .collect();
        let text = String::from_utf8(DECODER.decode(standard).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        let secret = secret.strip_suffix('\n').unwrap_or(secret);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        Some(Self { id: id.to_owned(), secret: secret.to_owned() })
    }
}

/// Without the secret.
impl fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicCredentials").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(encoded: &str, expected: Option<(&str, &str)>) {
        let found = BasicCredentials::parse(encoded.as_bytes());
        assert_eq!(found.map(|found| (found.id, found.secret)), expected.map(|(a, b)| (a.into(), b.into())));
    }

    #[test]
    fn both_alphabets_are_read_padded_or_not() {
        let whole = Some(("client", "secret?>~"));
        for encoded in ["Y2xpZW50OnNlY3JldD8+fg==", "Y2xpZW50OnNlY3JldD8-fg==", "Y2xpZW50OnNlY3JldD8-fg"] {
            check(encoded, whole);
        }
    }

    #[test]
    fn the_first_colon_ends_the_id_and_one_line_break_is_dropped() {
        check("YTpiOmM=", Some(("a", "b:c")));
        check("Og==", Some(("", "")));
        check("YTpiCg==", Some(("a", "b")));
        check("YTpiDQo=", Some(("a", "b")));
        check("YTpiCgo=", Some(("a", "b\n")));
    }

    #[test]
    fn malformed_credentials_are_none() {
        for encoded in ["", "YWJj", "%%%", "Y", "/zo=", "YTpi YTpi"] {
            check(encoded, None);
        }
    }

    #[test]
    fn the_debug_text_has_no_secret() {
        let credentials = BasicCredentials { id: "client".into(), secret: "hush".into() };
        assert_eq!(format!("{credentials:?}"), "BasicCredentials { id: \"client\", .. }");
    }
}
