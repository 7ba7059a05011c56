//! The headers of a request, whoever has read them.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that values can be asked of.
pub trait Headers {
    /// The values that a header was sent with, in their order.
    fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]>;

    /// Bytes of all names and values.
    fn bytes(&self) -> usize;
}

impl Headers for HeaderMap {
    fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }

    fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    }
}

/// As they stood in a request's head.
impl Headers for [httparse::Header<'_>] {
    fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let is_it = move |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name.as_str());
        self.iter().filter(is_it).map(|header| header.value)
    }

    fn bytes(&self) -> usize {
        self.iter().map(|header| header.name.len() + header.value.len()).sum()
    }
}
