//! The stream under hyper: it answers requests of the fast path itself. The parent module explains when it may.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client_stream::ClientStream;
use super::framing::{FramingTracker, ParsedHead, parse_head};
use super::head_meter::HeadMeter;
use super::state::ConnectionState;
use super::{HEADERS_MAX, Handler};
use crate::http::memory::{Charge, MemoryBudget, UNCOUNTED_BYTES_MAX};

/// Longest partial head that waits in the stream, in bytes: the default of `[http] header_bytes_max`. hyper first
/// offers a read buffer of 8 KiB, so that longer heads always arrive in pieces.
const PARTIAL_HEAD_BYTES_MAX: usize = 32_768;
/// Most bytes of a body that hyper gets at once. They are fewer than its first read buffer holds: hyper doubles the
/// buffer each time a read fills it, and the connection then keeps it.
const READ_BYTES_MAX: usize = 8191;
/// Bytes at the end of a piece that can belong to the empty line after a head.
const END_BYTES_BEFORE: usize = 3;

thread_local! {
    /// The response being written. All connections of a thread use the same memory, so it stays in the processor's
    /// cache.
    static RESPONSE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The stream that hyper reads from and writes to. A request that the stream answers never reaches hyper: to hyper, the
/// client has sent nothing yet.
pub struct FastPathStream<S, H> {
    stream: S,
    handler: H,
    state: Arc<ConnectionState>,
    tracker: FramingTracker,
    /// Responses of hyper that are flushed.
    flushed: u64,
    /// The rest of a response of the stream, while the client reads slowly. This and the other buffers take no memory
    /// while they are empty, as on a connection that waits for its next request.
    write_buffer: BytesMut,
    /// A head whose end has not arrived.
    partial_head: BytesMut,
    /// Bytes that were in `partial_head` and that hyper is to read next.
    pass_through: BytesMut,
    memory: Option<Arc<MemoryBudget>>,
    /// The charge of `write_buffer`.
    write_charge: Option<Charge>,
    /// The charge of what hyper had read beyond a request that is held, until hyper has read it again.
    read_ahead_charge: Option<Charge>,
    head_meter: HeadMeter,
}

/// What to do with bytes that were read.
#[derive(PartialEq)]
enum Action {
    /// Nothing: the stream has answered them.
    Answered,
    /// Wait for the rest of the head.
    Wait,
    /// Give them to hyper.
    PassThrough,
}

impl<S, H> FastPathStream<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    /// Wraps the stream of a new connection.
    pub fn new(stream: S, handler: H, state: Arc<ConnectionState>) -> Self {
        let tracker =
            if handler.has_fast_path() { FramingTracker::default() } else { FramingTracker::lost() };
        Self {
            stream,
            memory: handler.memory(),
            handler,
            state,
            tracker,
            flushed: 0,
            write_buffer: BytesMut::new(),
            partial_head: BytesMut::new(),
            pass_through: BytesMut::new(),
            write_charge: None,
            read_ahead_charge: None,
            head_meter: HeadMeter::default(),
        }
    }

    /// Decides about bytes that follow everything answered or passed through so far.
    ///
    /// # Errors
    /// If the response could not be written.
    fn decide(&mut self, bytes: &[u8], context: &mut Context<'_>) -> io::Result<Action> {
        let count = bytes.len() as u64;
        if !self.tracker.is_at_boundary() {
            self.tracker.continue_request(count);
            return Ok(Action::PassThrough);
        }
        let is_hyper_idle = self.tracker.complete_requests() == Some(self.flushed);
        let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let length = match parse_head(bytes, &mut slots) {
            ParsedHead::Plain(request, length) => {
                let is_alone = (length.head_bytes, length.body_bytes) == (count, 0);
                if is_alone && is_hyper_idle {
                    if self.try_fast_path(&request, context)? {
                        self.state.note_activity_under_hyper();
                        return Ok(Action::Answered);
                    }
                    self.state.note_declined();
                }
                Some(length)
            }
            ParsedHead::Partial if is_hyper_idle && bytes.len() <= PARTIAL_HEAD_BYTES_MAX => {
                return Ok(Action::Wait);
            }
            ParsedHead::Partial | ParsedHead::Other => None,
        };
        self.tracker.begin_request(count, length);
        Ok(Action::PassThrough)
    }

    /// Processes bytes that were read; none at the end of the stream. Returns whether hyper gets these bytes as they
    /// are.
    ///
    /// # Errors
    /// If a response could not be written.
    fn receive(&mut self, bytes: &[u8], context: &mut Context<'_>) -> io::Result<bool> {
        if self.partial_head.is_empty() {
            if bytes.is_empty() {
                return Ok(true);
            }
            let action = self.decide(bytes, context)?;
            if action == Action::Wait {
                self.partial_head.extend_from_slice(bytes);
            }
            return Ok(action == Action::PassThrough);
        }
        let new_from = self.partial_head.len().saturating_sub(END_BYTES_BEFORE);
        self.partial_head.extend_from_slice(bytes);
        let must_end = bytes.is_empty() || self.partial_head.len() > PARTIAL_HEAD_BYTES_MAX;
        // Parse only when the head may be complete: parsing from the start for each of many small pieces is quadratic.
        if !may_end_head(&self.partial_head[new_from..]) && !must_end {
            return Ok(false);
        }
        let head = std::mem::take(&mut self.partial_head);
        match self.decide(&head, context)? {
            Action::Answered => {}
            Action::Wait if !must_end => self.partial_head = head,
            Action::Wait => {
                self.tracker.begin_request(head.len() as u64, None);
                self.pass_through = head;
            }
            Action::PassThrough => self.pass_through = head,
        }
        Ok(false)
    }

    /// Offers a request to the fast path, and begins to send the response. Returns whether there is one.
    ///
    /// # Errors
    /// If the response could not be written.
    fn try_fast_path(
        &mut self,
        request: &httparse::Request<'_, '_>,
        context: &mut Context<'_>,
    ) -> io::Result<bool> {
        RESPONSE.with_borrow_mut(|response| {
            response.clear();
            if !self.handler.fast_path(request, response) {
                return Ok(false);
            }
            let sent = match Pin::new(&mut self.stream).poll_write(context, response) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            };
            if sent < response.len() {
                self.write_charge = self.charge(response.len() - sent)?;
                self.write_buffer.extend_from_slice(&response[sent..]);
            }
            Ok(true)
        })
    }

    /// Takes memory of the budget; `None` if there is no budget.
    ///
    /// # Errors
    /// If no memory is left. The connection then ends.
    fn charge(&self, bytes: usize) -> io::Result<Option<Charge>> {
        let Some(memory) = &self.memory else { return Ok(None) };
        memory.try_charge(bytes).map(Some).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Sends the rest of a response of the stream.
    fn poll_write_buffer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_buffer.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.write_buffer.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.write_buffer))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.write_buffer.advance(sent),
            }
            // hyper waits for a head meanwhile, and must not close the connection as idle.
            self.state.note_activity_under_hyper();
        }
        self.write_buffer = BytesMut::new();
        self.write_charge = None;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, H: Handler> FastPathStream<ClientStream<S>, H> {
    /// Looks whether the client has closed its side; see [`ClientStream::watch`].
    pub fn watch(&mut self, context: &mut Context<'_>) {
        self.stream.watch(context);
    }

    /// Notes that hyper was dropped, and the head with its buffers. This many bytes that it has read stay.
    ///
    /// # Errors
    /// If no memory is left for them. The connection then ends.
    pub fn hyper_dropped(&mut self, read_ahead: usize) -> io::Result<()> {
        self.head_meter.forget();
        if read_ahead > UNCOUNTED_BYTES_MAX {
            self.read_ahead_charge = self.charge(read_ahead)?;
        }
        Ok(())
    }

    /// Gives hyper these bytes before all others. They stand for bytes that hyper was given before.
    pub fn give_again(&mut self, bytes: BytesMut) {
        debug_assert!(self.partial_head.is_empty(), "hyper reads nothing while a head is incomplete");
        let rest = std::mem::replace(&mut self.pass_through, bytes);
        self.pass_through.extend_from_slice(&rest);
    }
}

/// Reads at most [`READ_BYTES_MAX`] bytes.
fn poll_read_a_little(
    stream: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let mut memory = [const { MaybeUninit::uninit() }; READ_BYTES_MAX];
    let bytes = buffer.remaining().min(READ_BYTES_MAX);
    let mut read = ReadBuf::uninit(&mut memory[..bytes]);
    ready!(Pin::new(stream).poll_read(context, &mut read))?;
    buffer.put_slice(read.filled());
    Poll::Ready(Ok(()))
}

/// Whether the empty line at the end of a head may be in these bytes.
fn may_end_head(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| two == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

impl<S, H> AsyncRead for FastPathStream<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            // A client that does not read its responses can send no further requests.
            ready!(this.poll_write_buffer(context))?;
            if !this.pass_through.is_empty() {
                let count = this.pass_through.len().min(buffer.remaining()).min(READ_BYTES_MAX);
                buffer.put_slice(&this.pass_through[..count]);
                this.pass_through.advance(count);
                if this.pass_through.is_empty() {
                    this.pass_through = BytesMut::new();
                    this.read_ahead_charge = None;
                }
                this.state.note_bytes_for_hyper();
                return Poll::Ready(Ok(()));
            }
            let before = buffer.filled().len();
            if this.tracker.is_at_boundary() {
                ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            } else {
                ready!(poll_read_a_little(&mut this.stream, context, buffer))?;
            }
            let count = buffer.filled().len() - before;
            let is_for_hyper = this.receive(&buffer.filled()[before..], context)?;
            if is_for_hyper || !this.partial_head.is_empty() || !this.pass_through.is_empty() {
                this.head_meter.add(count, &this.state, this.memory.as_ref())?;
            } else {
                this.head_meter.forget();
            }
            if is_for_hyper {
                if count > 0 {
                    this.state.note_bytes_for_hyper();
                }
                return Poll::Ready(Ok(()));
            }
            buffer.set_filled(before);
        }
    }
}

impl<S, H> AsyncWrite for FastPathStream<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_buffer(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    /// hyper flushes once it has written everything it has. So all responses that it took over before are sent then.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_buffer(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        let flushed = self.state.note_flush(self.flushed);
        if flushed != self.flushed {
            self.flushed = flushed;
            self.head_meter.forget();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_buffer(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {

    use futures_util::FutureExt as _;
    use http::Request;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::http::connection::state::InFlightGuard;
    use crate::http::connection::{Handled, Peer, RequestBody};

    const QUICK: &str = "GET /quick HTTP/1.1\r\nhost: a\r\n\r\n";
    const OTHER: &str = "GET /other HTTP/1.1\r\nhost: a\r\n\r\n";
    /// Longer than the pipe between client and server.
    const QUICK_RESPONSE: [u8; 1000] = [b'x'; 1000];

    #[derive(Clone)]
    struct Quick;

    impl Handler for Quick {
        fn handle(&self, _: Request<RequestBody>, _: Peer) -> impl Future<Output = Handled> + Send + use<> {
            std::future::pending()
        }

        fn has_fast_path(&self) -> bool {
            true
        }

        fn fast_path(&self, request: &httparse::Request<'_, '_>, response: &mut Vec<u8>) -> bool {
            let is_quick = request.path == Some("/quick");
            if is_quick {
                response.extend(QUICK_RESPONSE);
            }
            is_quick
        }
    }

    fn connection() -> (DuplexStream, FastPathStream<DuplexStream, Quick>, Arc<ConnectionState>) {
        let (client, server) = tokio::io::duplex(64);
        let state = Arc::<ConnectionState>::default();
        (client, FastPathStream::new(server, Quick, Arc::clone(&state)), state)
    }

    #[tokio::test]
    async fn a_slow_client_gets_every_response_whole_and_in_order() {
        let (mut client, mut server, _) = connection();
        let server_side = async {
            let mut bytes = [0; 64];
            let count = server.read(&mut bytes).await.unwrap();
            assert_eq!(&bytes[..count], OTHER.as_bytes());
            server.write_all(b"other").await.unwrap();
            server.shutdown().await.unwrap();
        };
        let client_side = async {
            let mut response = [0; QUICK_RESPONSE.len()];
            for _ in 0..3 {
                client.write_all(QUICK.as_bytes()).await.unwrap();
                client.read_exact(&mut response).await.unwrap();
                assert_eq!(response, QUICK_RESPONSE);
            }
            // The second request arrives before the client has read any of the first response.
            client.write_all(QUICK.as_bytes()).await.unwrap();
            // The first request arrives alone: let the server read it, whichever side runs first.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            client.write_all(OTHER.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, [&QUICK_RESPONSE[..], b"other"].concat());
        };
        tokio::join!(server_side, client_side);
    }

    #[tokio::test]
    async fn slow_reading_counts_as_activity_and_leaves_no_memory_allocated() {
        let (mut client, mut server, state) = connection();
        client.write_all(QUICK.as_bytes()).await.unwrap();
        let (mut piece, mut active) = ([0; 10], 0);
        for _ in 0..QUICK_RESPONSE.len() / piece.len() {
            assert!(server.read(&mut [0; 64]).now_or_never().is_none(), "hyper has nothing to read");
            active += u32::from(state.take_activity_under_hyper());
            client.read_exact(&mut piece).await.unwrap();
        }
        assert!(active > 90, "{active}");
        assert!(server.read(&mut [0; 64]).now_or_never().is_none());
        assert!(!state.take_activity_under_hyper());
        // A head in pieces that the fast path declines.
        for piece in OTHER.as_bytes().chunks(8) {
            client.write_all(piece).await.unwrap();
            let mut bytes = [0; 64];
            let read = server.read(&mut bytes).now_or_never();
            assert_eq!(read.is_some(), piece.ends_with(b"\n"));
        }
        assert_eq!(
            [&server.write_buffer, &server.partial_head, &server.pass_through].map(BytesMut::capacity),
            [0; 3]
        );
    }

    #[tokio::test]
    async fn no_request_is_answered_before_all_earlier_responses_are_flushed() {
        let (mut client, mut server, state) = connection();
        let take_response = || drop(InFlightGuard::new(&state));
        let sides = &mut (&mut client, &mut server);
        passes_through(sides, OTHER, "the fast path declines it").await;
        passes_through(sides, QUICK, "hyper has not taken over the first response").await;
        take_response();
        passes_through(sides, QUICK, "the first response is not flushed").await;
        sides.1.flush().await.unwrap();
        passes_through(sides, QUICK, "one of three responses is flushed").await;
        (0..3).for_each(|_| take_response());
        passes_through(sides, QUICK, "four responses are taken over, one is flushed").await;
        take_response();
        server.flush().await.unwrap();
        client.write_all(QUICK.as_bytes()).await.unwrap();
        drop(tokio::spawn(async move { server.read(&mut [0; 64]).await }));
        let mut response = [0; QUICK_RESPONSE.len()];
        client.read_exact(&mut response).await.unwrap();
        assert_eq!(response, QUICK_RESPONSE);
    }

    async fn passes_through(
        (client, server): &mut (&mut DuplexStream, &mut FastPathStream<DuplexStream, Quick>),
        request: &str,
        why: &str,
    ) {
        let mut bytes = [0; 64];
        client.write_all(request.as_bytes()).await.unwrap();
        let count = server.read(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..count], request.as_bytes(), "{why}");
    }
}
