//! Access to the headers of a request, whether hyper or the fast path's parser read them.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The headers of a request.
pub trait Headers {
    /// The values of a header, in the order of the request. The name is compared without regard to case.
    fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]>;

    /// Size of all names and values, in bytes.
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

/// Headers as parsed from the head of a request, for the fast path.
impl Headers for [httparse::Header<'_>] {
    fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let has_name = move |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name.as_str());
        self.iter().filter(has_name).map(|header| header.value)
    }

    fn bytes(&self) -> usize {
        self.iter().map(|header| header.name.len() + header.value.len()).sum()
    }
}
