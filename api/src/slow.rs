//! Clients that take their time: a head that comes too slowly, an answer that is not read.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// The head of a request, or a TLS handshake, takes no longer than this from its first byte on.
pub(crate) const HEAD: Duration = Duration::from_secs(10);
/// An answer that nobody reads for this long is given up.
const STUCK: Duration = Duration::from_secs(30);

/// The requests of one connection: how many began, how many were answered.
#[derive(Default)]
pub(crate) struct Requests {
    begun: AtomicU64,
    answered: AtomicU64,
}

/// Counts an answer when it is dropped, also when nobody waits for it any more.
pub(crate) struct Answered(Arc<Requests>);

impl Requests {
    pub(crate) fn begin(self: &Arc<Self>) -> Answered {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Answered(Arc::clone(self))
    }

    /// How many came before the one that is expected; none while one is being answered.
    fn expected(&self) -> Option<u64> {
        let answered = self.answered.load(Ordering::Relaxed);
        (self.begun.load(Ordering::Relaxed) == answered).then_some(answered)
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream that fails when a head comes too slowly, or when an answer is not read.
pub(crate) struct Watched<S> {
    stream: S,
    requests: Arc<Requests>,
    /// Since when a head is coming, and how many requests came before it.
    head: Option<(Instant, u64)>,
    /// Since when an answer is not read.
    stuck: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, requests: Arc<Requests>) -> Self {
        Self { stream, requests, head: None, stuck: None, timer: None }
    }

    /// Fails once the time since `from` is longer than `limit`; wakes the task when that is so.
    fn wait(&mut self, from: Instant, limit: Duration, cx: &mut Context<'_>) -> Poll<io::Error> {
        let deadline = tokio::time::Instant::from_std(from + limit);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let expected = this.requests.expected();
        // A head that was read is over, and what comes while a request is answered is its body.
        this.head = this.head.filter(|(_, before)| Some(*before) == expected);
        match read {
            Poll::Ready(Ok(())) => {
                if let Some(expected) = expected.filter(|_| buf.filled().len() > before) {
                    this.head.get_or_insert((Instant::now(), expected));
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match this.head {
                Some((since, _)) => this.wait(since, HEAD, cx).map(Err),
                None => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn written<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let since = *self.stuck.get_or_insert_with(Instant::now);
        self.wait(since, STUCK, cx).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, pieces);
        this.written(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.written(flushed, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.written(shut, cx)
    }
}
