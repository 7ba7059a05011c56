//! Reading the body of a request, within the limits of size, time, rate and memory.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body as HttpBody;
use tokio::time::{Instant, timeout_at};

use super::error::Error;
use super::memory::{Charge, MemoryBudget, RateMeter};
use super::request_limits::RequestLimits;

/// Reads a whole body. The charge is for its memory.
///
/// # Errors
/// [`Error::BodyTooLarge`], [`Error::BodyBroken`], [`Error::Overloaded`], or [`Error::RequestTimeout`] if the body
/// arrives too slowly.
pub async fn read_body<B>(
    body: B,
    limits: &RequestLimits,
    memory: &Arc<MemoryBudget>,
) -> Result<(Bytes, Charge), Error>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let bytes_max = limits.body_bytes_max;
    let announced = body.size_hint();
    // A body whose `Content-Length` is too large is refused before it arrives.
    if announced.lower() > bytes_max as u64 {
        return Err(Error::BodyTooLarge(bytes_max));
    }
    let all_bytes = announced.exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(bytes_max);
    let (mut body, mut bytes, mut charge) = (pin!(body), Vec::new(), memory.charge(0));
    let (deadline, mut rate) = (Instant::now() + limits.body_timeout, RateMeter::start());
    loop {
        let Ok(frame) = timeout_at(deadline.min(rate.window_ends()), body.frame()).await else {
            if Instant::now() >= deadline || rate.is_too_slow() {
                return Err(Error::RequestTimeout);
            }
            continue;
        };
        let Some(frame) = frame else { return Ok((bytes.into(), charge)) };
        let Ok(data) = frame.map_err(|_| Error::BodyBroken)?.into_data() else { continue };
        if data.len() > bytes_max - bytes.len() {
            return Err(Error::BodyTooLarge(bytes_max));
        }
        if !charge.try_grow(data.len()) {
            return Err(Error::Overloaded);
        }
        rate.add(data.len());
        // The bytes are copied: a frame can be one byte and keep a whole buffer of the connection.
        reserve(&mut bytes, data.len(), all_bytes);
        bytes.extend_from_slice(&data);
    }
}

/// Makes room for more bytes: twice as much as there was; and once an eighth of the body is there, for all of it. Each
/// step leaves a hole in memory.
fn reserve(bytes: &mut Vec<u8>, more: usize, all_bytes: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let doubled = bytes.capacity().saturating_mul(2).min(all_bytes);
        let room = if needed >= all_bytes / 8 { all_bytes } else { doubled }.max(needed);
        bytes.reserve_exact(room - bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_a_known_size_takes_no_more_memory() {
        let mut bytes = Vec::new();
        for _ in 0..100 {
            reserve(&mut bytes, 10, 1000);
            bytes.extend_from_slice(&[0; 10]);
        }
        assert_eq!((bytes.len(), bytes.capacity()), (1000, 1000));
    }
}
