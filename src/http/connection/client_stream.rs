//! The client's end of a connection. It cuts a client that reads too slowly, and its close lingers (RFC 9112, 9.6): a
//! server that closes a connection while the client still sends must read on for a while. Otherwise the client's
//! machine gets a TCP reset, which can destroy the last response before the client has read it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::state::ConnectionState;
use crate::http::memory::RateMeter;

/// Longest time that a closed connection reads on.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that a closed connection reads at most.
const LINGER_BYTES_MAX: usize = 16 << 20;
/// Bytes of one read.
const READ_BYTES: usize = 8192;

/// A stream to a client. Its shutdown lingers if the client may still send a request.
pub struct ClientStream<S> {
    stream: S,
    /// `None`: the client may always still send.
    state: Option<Arc<ConnectionState>>,
    /// How fast the client takes what is sent; set while it has not taken all.
    rate: Option<RateMeter>,
    /// Set after the sending side was closed.
    linger: Option<Linger>,
    /// A byte that was read to see whether the client has closed its side, and had not.
    early: Option<u8>,
}

struct Linger {
    end: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S> ClientStream<S> {
    /// A stream that lingers if the last request was not read to its end.
    pub fn new(stream: S, state: Arc<ConnectionState>) -> Self {
        Self { stream, state: Some(state), rate: None, linger: None, early: None }
    }

    /// A stream that always lingers.
    pub fn always(stream: S) -> Self {
        Self { stream, state: None, rate: None, linger: None, early: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_some() && buffer.remaining() > 0 {
            buffer.put_slice(self.early.take().as_slice());
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + Unpin> ClientStream<S> {
    /// Looks whether the client has closed its side, if somebody waits for that. Nobody else reads while a request is
    /// held.
    pub fn watch(&mut self, context: &mut Context<'_>) {
        let Some(state) = self.state.as_ref().filter(|state| self.early.is_none() && state.is_watched())
        else {
            return;
        };
        let mut memory = [0];
        let mut buffer = ReadBuf::new(&mut memory);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.early = Some(buffer.filled()[0]),
            Poll::Ready(_) => state.note_client_closed(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        match (&written, &mut self.rate) {
            (Poll::Pending, None) => self.rate = Some(RateMeter::start()),
            (Poll::Ready(Ok(count)), Some(rate)) => {
                rate.add(*count);
                // A write that took everything says nothing about the client: it may have been the small end of a large
                // answer. The stream below cuts a client that takes nothing at all.
                if *count < bytes.len() && rate.is_too_slow() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
            _ => {}
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.rate = None;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, state, linger, .. } = &mut *self;
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
    use crate::http::memory::LEAST_RATE;

    fn pair() -> (DuplexStream, ClientStream<DuplexStream>) {
        let (client, server) = tokio::io::duplex(64);
        (client, ClientStream::always(server))
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

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_cut() {
        for (bytes_a_second, is_cut) in [(LEAST_RATE - 24, true), (LEAST_RATE + 24, false)] {
            let (mut client, mut server) = pair();
            let sending = async {
                let sent = server.write_all(&[b'x'; 100_000]).await;
                drop(server);
                sent
            };
            let reading = async {
                let mut memory = vec![0; bytes_a_second];
                while client.read_exact(&mut memory).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            let (sent, ()) = tokio::join!(sending, reading);
            let cut = sent.map_err(|error| error.kind());
            assert_eq!(cut, if is_cut { Err(io::ErrorKind::TimedOut) } else { Ok(()) }, "{bytes_a_second}");
        }
    }

    #[tokio::test]
    async fn only_a_connection_in_the_middle_of_a_request_lingers() {
        for (is_in_request, lingers) in [(false, false), (true, true)] {
            let (client, server) = tokio::io::duplex(64);
            let state = Arc::<ConnectionState>::default();
            if is_in_request {
                state.note_bytes_for_hyper();
            }
            let mut server = ClientStream::new(server, state);
            assert_eq!(server.shutdown().now_or_never().is_none(), lingers);
            drop(client);
        }
    }
}
