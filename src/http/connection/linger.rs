//! Lingering close (RFC 9112, 9.6): a server that closes a connection while the client still sends must read on for a
//! while. Otherwise the client's machine gets a TCP reset, which can destroy the last response before the client has
//! read it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::state::ConnectionState;

/// Longest time that a closed connection reads on.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that a closed connection reads at most.
const LINGER_BYTES_MAX: usize = 16 << 20;
/// Bytes of one read.
const READ_BYTES: usize = 8192;

/// A stream whose shutdown lingers if the client may still send a request.
pub struct LingeringStream<S> {
    stream: S,
    /// `None`: the client may always still send.
    state: Option<Arc<ConnectionState>>,
    /// Set after the sending side was closed.
    linger: Option<Linger>,
}

struct Linger {
    end: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S> LingeringStream<S> {
    /// A stream that lingers if the last request was not read to its end.
    pub fn new(stream: S, state: Arc<ConnectionState>) -> Self {
        Self { stream, state: Some(state), linger: None }
    }

    /// A stream that always lingers.
    pub fn always(stream: S) -> Self {
        Self { stream, state: None, linger: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LingeringStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingeringStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, state, linger } = &mut *self;
        if linger.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            if state.as_ref().is_some_and(|state| !state.is_in_request()) {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = linger.get_or_insert_with(|| Linger {
            end: Box::pin(tokio::time::sleep(LINGER_TIMEOUT)),
            bytes_left: LINGER_BYTES_MAX,
        });
        linger.poll(stream, context).map(Ok)
    }
}

impl Linger {
    /// Reads and drops what arrives, until the client closes its side or a limit is reached.
    fn poll(&mut self, stream: &mut (impl AsyncRead + Unpin), context: &mut Context<'_>) -> Poll<()> {
        let mut memory = [const { MaybeUninit::uninit() }; READ_BYTES];
        while self.end.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::uninit(&mut memory);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            let bytes = buffer.filled().len();
            if read.is_err() || bytes == 0 || bytes >= self.bytes_left {
                break;
            }
            self.bytes_left -= bytes;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::Instant;

    use super::*;

    fn pair() -> (DuplexStream, LingeringStream<DuplexStream>) {
        let (client, server) = tokio::io::duplex(64);
        (client, LingeringStream::always(server))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_on_sending_gets_the_response() {
        let (mut client, mut server) = pair();
        let server_side = async {
            server.write_all(b"response").await.unwrap();
            server.shutdown().await.unwrap();
        };
        let client_side = async {
            for _ in 0..1000 {
                client.write_all(&[b'x'; 100]).await.unwrap();
            }
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            assert_eq!(received, b"response");
            drop(client);
        };
        let started = Instant::now();
        tokio::join!(server_side, client_side);
        assert_eq!(started.elapsed(), Duration::ZERO, "it ends when the client closes its side");
    }

    #[tokio::test(start_paused = true)]
    async fn lingering_has_an_end() {
        let (client, mut server) = pair();
        let started = Instant::now();
        server.shutdown().await.unwrap();
        assert_eq!(started.elapsed(), LINGER_TIMEOUT);
        drop(client);

        let (mut client, mut server) = pair();
        let sending = async { while client.write_all(&[b'x'; 64]).await.is_ok() {} };
        let started = Instant::now();
        tokio::join!(sending, async {
            server.shutdown().await.unwrap();
            drop(server);
        });
        assert_eq!(started.elapsed(), Duration::ZERO, "it ends at the limit of bytes");
    }

    #[tokio::test]
    async fn only_a_connection_in_the_middle_of_a_request_lingers() {
        for (is_in_request, lingers) in [(false, false), (true, true)] {
            let (client, server) = tokio::io::duplex(64);
            let state = Arc::<ConnectionState>::default();
            if is_in_request {
                state.note_bytes_for_hyper();
            }
            let mut server = LingeringStream::new(server, state);
            assert_eq!(server.shutdown().now_or_never().is_none(), lingers);
            drop(client);
        }
    }
}
