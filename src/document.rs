//! A rendered answer: its bytes, and the ETag that speaks for exactly these bytes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Bytes of the digest kept in an ETag: enough that two documents never share one, even on purpose.
const ETAG_DIGEST_BYTES: usize = 16;
/// Bytes of a body that are rendered without asking for more memory.
const BODY_BYTES_TYPICAL: usize = 2048;

/// Rendered once, sent many times.
#[derive(Clone, Debug)]
pub struct Document {
    /// JSON.
    pub body: Bytes,
    /// Strong, quoted, a digest of the body: equal if and only if the body is, on every node and after every
    /// restart.
    pub etag: HeaderValue,
}

impl Document {
    /// Renders a value.
    pub fn of(value: &impl Serialize) -> Self {
        let body = Self::render(value);
        let digest = Sha256::digest(&body);
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..ETAG_DIGEST_BYTES]));
        let etag = HeaderValue::try_from(etag).expect("base64 in quotes is a header value");
        Self { body, etag }
    }

    /// The JSON of a value.
    ///
    /// # Panics
    /// On values that have no JSON (maps with keys that are no strings): a fault in our types that any test of
    /// the operation shows.
    pub fn render(value: &impl Serialize) -> Bytes {
        Self::render_after(&[], value)
    }

    /// The JSON of a value after a prefix, in memory that is no larger.
    ///
    /// # Panics
    /// As [`render`](Self::render).
    pub fn render_after(prefix: &[u8], value: &impl Serialize) -> Bytes {
        let mut body = Vec::with_capacity(BODY_BYTES_TYPICAL);
        body.extend_from_slice(prefix);
        serde_json::to_writer(&mut body, value).expect("wire types have JSON");
        body.into_boxed_slice().into()
    }
}
