//! A rendered answer: its bytes, and the ETag that speaks for exactly these bytes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Bytes of the digest kept in an ETag: enough that two documents never share one, even on purpose.
const ETAG_DIGEST_BYTES: usize = 16;
/// Bytes of JSON that are rendered without asking for more memory.
const JSON_BYTES_TYPICAL: usize = 2048;

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
        let mut whole = to_json(value);
        let body_bytes = whole.len();
        let digest = Sha256::digest(&whole);
        let tag = URL_SAFE_NO_PAD.encode(&digest[..ETAG_DIGEST_BYTES]);
        // Body and tag lie in one piece of memory, which is cheaper to share than two.
        whole.extend([b"\"", tag.as_bytes(), b"\""].concat());
        let mut body = Bytes::from(whole.into_boxed_slice());
        let etag = HeaderValue::from_maybe_shared(body.split_off(body_bytes));
        Self { body, etag: etag.expect("base64 in quotes is a header value") }
    }

    /// The JSON of a value.
    ///
    /// # Panics
    /// On values that have no JSON (maps with keys that are no strings): a fault in our types that any test of
    /// the operation shows.
    pub fn render(value: &impl Serialize) -> Bytes {
        to_json(value).into_boxed_slice().into()
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::with_capacity(JSON_BYTES_TYPICAL);
    serde_json::to_writer(&mut json, value).expect("wire types have JSON");
    json
}
