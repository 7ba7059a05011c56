//! A connection's stream, under hyper: it answers itself what can be answered at once.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{Given, Read, read};
use super::state::Progress;
use super::{HEADERS_MAX, Handler};

/// Most bytes of a head in pieces that wait here for the rest of it: as long as heads may be by default. hyper gives
/// room for 8 KiB to read at first, so that longer heads always come in pieces.
const HELD_BYTES_MAX: usize = 32_768;
/// Bytes that the end of a head may have in the piece before the one that it ends with.
const END_BYTES_BEFORE: usize = 3;

thread_local! {
    /// Where answers are written that are sent at once: always the same memory, which is near.
    static ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A stream that hyper reads requests from and writes its answers to, which keeps to itself the requests that its handler
/// answers at once: those without a body, which come alone, while nothing of another is under way. hyper has no work
/// with them: to it, there is nothing to read yet.
pub struct Stream<S, H> {
    stream: S,
    handler: H,
    progress: Arc<Progress>,
    given: Given,
    /// Answers of hyper's that are sent.
    flushed: u64,
    /// What is left of an answer made here, where the client is slow to take it. This and what follows take no memory
    /// while they are empty, which they are on a connection that waits for its next request.
    unsent: BytesMut,
    /// A head of which more is to come.
    held: BytesMut,
    /// What was held, and is hyper's.
    passing: BytesMut,
}

/// What becomes of bytes that were read.
#[derive(PartialEq)]
enum Verdict {
    /// They are answered.
    Answered,
    /// They may be answered once there are more of them.
    Half,
    /// They are hyper's.
    Passed,
}

impl<S, H> Stream<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    /// Over a stream, all that a connection has.
    pub fn over(stream: S, handler: H, progress: Arc<Progress>) -> Self {
        let (given, none) = (Given::default(), BytesMut::new);
        Self { stream, handler, progress, given, flushed: 0, unsent: none(), held: none(), passing: none() }
    }

    /// What becomes of bytes that come after all that was answered or passed on before.
    fn judge(&mut self, bytes: &[u8], context: &mut Context<'_>) -> io::Result<Verdict> {
        let count = bytes.len() as u64;
        if !self.given.is_whole() {
            self.given.go_on(count);
            return Ok(Verdict::Passed);
        }
        let is_between = self.given.whole_requests() == Some(self.flushed);
        let mut room = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let extent = match read(bytes, &mut room) {
            Read::Plain(request, extent) => {
                let is_alone = (extent.head_bytes, extent.body_bytes) == (count, 0);
                if is_alone && is_between && self.answer_at_once(&request, context)? {
                    self.progress.note_served_here();
                    return Ok(Verdict::Answered);
                }
                Some(extent)
            }
            Read::Half if is_between && bytes.len() <= HELD_BYTES_MAX => return Ok(Verdict::Half),
            Read::Half | Read::Other => None,
        };
        self.given.begin(count, extent);
        Ok(Verdict::Passed)
    }

    /// Takes in what was read, nothing where that was the end. Answers whether it is hyper's as it is.
    fn take_in(&mut self, bytes: &[u8], context: &mut Context<'_>) -> io::Result<bool> {
        if self.held.is_empty() {
            if bytes.is_empty() {
                return Ok(true);
            }
            let verdict = self.judge(bytes, context)?;
            if verdict == Verdict::Half {
                self.held.extend_from_slice(bytes);
            }
            return Ok(verdict == Verdict::Passed);
        }
        let from = self.held.len().saturating_sub(END_BYTES_BEFORE);
        self.held.extend_from_slice(bytes);
        let is_over = bytes.is_empty() || self.held.len() > HELD_BYTES_MAX;
        // Not read again from the start for each piece, or many small ones would cost much.
        if !may_end_head(&self.held[from..]) && !is_over {
            return Ok(false);
        }
        let held = std::mem::take(&mut self.held);
        match self.judge(&held, context)? {
            Verdict::Answered => {}
            Verdict::Half if !is_over => self.held = held,
            Verdict::Half => {
                self.given.begin(held.len() as u64, None);
                self.passing = held;
            }
            Verdict::Passed => self.passing = held,
        }
        Ok(false)
    }

    fn answer_at_once(
        &mut self,
        request: &httparse::Request<'_, '_>,
        context: &mut Context<'_>,
    ) -> io::Result<bool> {
        ANSWER.with_borrow_mut(|answer| {
            answer.clear();
            if !self.handler.answer_at_once(request, answer) {
                return Ok(false);
            }
            let sent = match Pin::new(&mut self.stream).poll_write(context, answer) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            };
            self.unsent.extend_from_slice(&answer[sent..]);
            Ok(true)
        })
    }

    /// Sends what is left of an answer made here.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.unsent.advance(sent),
            }
            // hyper waits for a head meanwhile, and must not end the connection for that.
            self.progress.note_served_here();
        }
        self.unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

/// Whether the end of a head, an empty line, may lie in these bytes.
fn may_end_head(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| two == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

impl<S, H> AsyncRead for Stream<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            // Who takes no answers is asked for no more requests.
            ready!(this.poll_send(context))?;
            if !this.passing.is_empty() {
                let count = this.passing.len().min(room.remaining());
                room.put_slice(&this.passing[..count]);
                this.passing.advance(count);
                if this.passing.is_empty() {
                    this.passing = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            let before = room.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, room))?;
            if this.take_in(&room.filled()[before..], context)? {
                return Poll::Ready(Ok(()));
            }
            room.set_filled(before);
        }
    }
}

impl<S, H> AsyncWrite for Stream<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    /// hyper flushes when it has written all that it has: what it took over before is sent then.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.flushed = self.progress.answered();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Incoming;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;
    use crate::http::connection::state::Answering;

    const QUICK: &str = "GET /quick HTTP/1.1\r\n\r\n";
    const OTHER: &str = "GET /other HTTP/1.1\r\n\r\n";
    /// More than lies between the two sides.
    const QUICK_ANSWER: [u8; 1000] = [b'x'; 1000];

    #[derive(Clone)]
    struct Quick;

    impl Handler for Quick {
        fn handle(
            &self,
            _: Request<Incoming>,
            _: SocketAddr,
        ) -> impl Future<Output = Response<Full<Bytes>>> + Send + use<> {
            std::future::pending()
        }

        fn answer_at_once(&self, request: &httparse::Request<'_, '_>, answer: &mut Vec<u8>) -> bool {
            let is_quick = request.path == Some("/quick");
            if is_quick {
                answer.extend(QUICK_ANSWER);
            }
            is_quick
        }
    }

    fn connection() -> (DuplexStream, Stream<DuplexStream, Quick>, Arc<Progress>) {
        let (client, server) = tokio::io::duplex(64);
        let progress = Arc::<Progress>::default();
        (client, Stream::over(server, Quick, Arc::clone(&progress)), progress)
    }

    #[tokio::test]
    async fn who_is_slow_gets_every_answer_whole_and_in_its_turn() {
        let (mut client, mut server, _) = connection();
        let serving = async {
            let mut bytes = [0; 64];
            let count = server.read(&mut bytes).await.unwrap();
            assert_eq!(&bytes[..count], OTHER.as_bytes());
            server.write_all(b"other").await.unwrap();
            server.shutdown().await.unwrap();
        };
        let asking = async {
            let mut answer = [0; QUICK_ANSWER.len()];
            for _ in 0..3 {
                client.write_all(QUICK.as_bytes()).await.unwrap();
                client.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer, QUICK_ANSWER);
            }
            // Asked before anything of the answer before is taken.
            client.write_all(QUICK.as_bytes()).await.unwrap();
            // It comes alone: the other side reads it now, whoever of the two goes first.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            client.write_all(OTHER.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, [&QUICK_ANSWER[..], b"other"].concat());
        };
        tokio::join!(serving, asking);
    }

    #[tokio::test]
    async fn what_is_slowly_taken_counts_as_served_and_leaves_no_memory_behind() {
        let (mut client, mut server, progress) = connection();
        client.write_all(QUICK.as_bytes()).await.unwrap();
        let (mut taken, mut served) = ([0; 10], 0);
        for _ in 0..QUICK_ANSWER.len() / taken.len() {
            assert!(server.read(&mut [0; 64]).now_or_never().is_none(), "nothing is to be read");
            served += u32::from(progress.was_served_here());
            client.read_exact(&mut taken).await.unwrap();
        }
        assert!(served > 90, "{served}");
        assert!(server.read(&mut [0; 64]).now_or_never().is_none());
        assert!(!progress.was_served_here());
        // A head that comes in pieces, and is not answered here.
        for piece in OTHER.as_bytes().chunks(5) {
            client.write_all(piece).await.unwrap();
            let mut bytes = [0; 64];
            let read = server.read(&mut bytes).now_or_never();
            assert_eq!(read.is_some(), piece.ends_with(b"\n"));
        }
        assert_eq!([&server.unsent, &server.held, &server.passing].map(BytesMut::capacity), [0; 3]);
    }

    #[tokio::test]
    async fn nothing_is_answered_before_what_was_asked_before_is_answered_and_flushed() {
        let (mut client, mut server, progress) = connection();
        let answer = || drop(Answering::on(&progress));
        let sides = &mut (&mut client, &mut server);
        passes_on(sides, OTHER, "nothing answers it at once").await;
        passes_on(sides, QUICK, "the first is not answered").await;
        answer();
        passes_on(sides, QUICK, "the first is taken over, and not flushed").await;
        sides.1.flush().await.unwrap();
        passes_on(sides, QUICK, "one of three is sent").await;
        (0..3).for_each(|_| answer());
        passes_on(sides, QUICK, "four are taken over, and one is sent").await;
        answer();
        server.flush().await.unwrap();
        client.write_all(QUICK.as_bytes()).await.unwrap();
        drop(tokio::spawn(async move { server.read(&mut [0; 64]).await }));
        let mut answer = [0; QUICK_ANSWER.len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, QUICK_ANSWER);
    }

    async fn passes_on(
        (client, server): &mut (&mut DuplexStream, &mut Stream<DuplexStream, Quick>),
        asked: &str,
        why: &str,
    ) {
        let mut bytes = [0; 64];
        client.write_all(asked.as_bytes()).await.unwrap();
        let count = server.read(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..count], asked.as_bytes(), "{why}");
    }
}
