//! A rendered document: the bytes of a reply, and the ETag of exactly these bytes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Length of the digest in an ETag, in bytes. With 128 bits of SHA-256 it is infeasible to construct two documents with
/// the same ETag.
const ETAG_DIGEST_BYTES: usize = 16;
/// Initial capacity of the buffer for JSON, in bytes. Most documents fit into it.
const JSON_BYTES_TYPICAL: usize = 2048;

/// A document that is rendered once and sent many times.
#[derive(Clone, Debug)]
pub struct Document {
    /// The JSON of the document.
    pub body: Bytes,
    /// A strong ETag: the quoted digest of the body. Equal bodies have equal ETags on every node and after every
    /// restart; different bodies have different ETags.
    pub etag: HeaderValue,
}

impl Document {
    /// Renders a value as JSON, and computes the ETag.
    ///
    /// # Panics
    /// As for [`render`](Self::render).
    pub fn of(value: &impl Serialize) -> Self {
        let mut whole = to_json(value);
        let body_bytes = whole.len();
        let digest = Sha256::digest(&whole);
        let tag = URL_SAFE_NO_PAD.encode(&digest[..ETAG_DIGEST_BYTES]);
        // Body and ETag share one allocation, which is cheaper to clone than two.
        whole.extend([b"\"", tag.as_bytes(), b"\""].concat());
        let mut body = Bytes::from(whole.into_boxed_slice());
        let etag = HeaderValue::from_maybe_shared(body.split_off(body_bytes));
        Self { body, etag: etag.expect("base64 in quotes is a header value") }
    }

    /// The first bytes of the digest in the ETag.
    pub fn short_digest(&self) -> [u8; 8] {
        // 12 characters are 9 bytes.
        let digest = self.etag.as_bytes().get(1..13).and_then(|start| URL_SAFE_NO_PAD.decode(start).ok());
        digest.and_then(|digest| digest.first_chunk().copied()).unwrap_or_default()
    }

    /// Renders a value as JSON, without an ETag.
    ///
    /// # Panics
    /// If the value has no JSON form, for example a map whose keys are not strings. That is a bug in the type, which
    /// every test of the operation finds.
    pub fn render(value: &impl Serialize) -> Bytes {
        to_json(value).into_boxed_slice().into()
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::with_capacity(JSON_BYTES_TYPICAL);
    serde_json::to_writer(&mut json, value).expect("wire types have JSON");
    json
}
