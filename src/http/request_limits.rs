//! Limits of one request.

use std::time::Duration;

use super::error::Error;
use super::input::headers::Headers;
use super::operation::Operation;

/// Limits of one request; see `[http]` in `config.default.toml`.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Largest size of path and query, in bytes.
    pub path_bytes_max: usize,
    /// Largest size of the headers, names and values together, in bytes.
    pub header_bytes_max: usize,
    /// Largest size of the body, in bytes.
    pub body_bytes_max: usize,
    /// Longest time in which the body must arrive.
    pub body_timeout: Duration,
    /// Longest time in which the operation must answer.
    pub request_timeout: Duration,
}

impl RequestLimits {
    /// Checks the size of a request's head: the size of path and query, in bytes, and the headers.
    ///
    /// # Errors
    /// [`Error::PathTooLong`] or [`Error::HeadersTooLarge`].
    pub fn check(&self, path_bytes: usize, headers: &(impl Headers + ?Sized)) -> Result<(), Error> {
        if path_bytes > self.path_bytes_max {
            return Err(Error::PathTooLong(self.path_bytes_max));
        }
        if headers.bytes() > self.header_bytes_max {
            return Err(Error::HeadersTooLarge(self.header_bytes_max));
        }
        Ok(())
    }

    /// The limits of the body of an operation, which may have a lower one.
    pub(super) fn for_body_of(&self, operation: &Operation) -> Self {
        let own = operation.body_bytes_max.unwrap_or(usize::MAX);
        Self { body_bytes_max: self.body_bytes_max.min(own), ..*self }
    }
}
