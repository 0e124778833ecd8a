//! Time limits for clients that send a head slowly or do not read the answer.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How long a client may take.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// For the head of a request, or a TLS handshake, from its first byte on.
    pub(crate) head: Duration,
    /// Between requests.
    idle: Duration,
    /// Until it reads more of an answer.
    stuck: Duration,
}

pub(crate) const PATIENCE: Patience =
    Patience { head: Duration::from_secs(10), idle: Duration::from_mins(1), stuck: Duration::from_secs(30) };

/// The requests of one connection: how many began, how many were answered.
#[derive(Default)]
pub(crate) struct Requests {
    begun: AtomicU64,
    answered: AtomicU64,
}

/// Counts an answer when it is dropped, even if the client has gone.
pub(crate) struct Answered(Arc<Requests>);

impl Requests {
    pub(crate) fn begin(self: &Arc<Self>) -> Answered {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Answered(Arc::clone(self))
    }

    /// How many requests came before the expected one; none while one is being answered.
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

/// A stream that fails if a head is late, an answer is not read, or the connection is idle for too long.
pub(crate) struct Watched<S> {
    stream: S,
    requests: Arc<Requests>,
    patience: Patience,
    /// When the current head began, and how many requests came before it.
    head: Option<(Instant, u64)>,
    /// Since when no request arrives.
    idle: Option<Instant>,
    /// Since when an answer is not read.
    stuck: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, requests: Arc<Requests>, patience: Patience) -> Self {
        Self { stream, requests, patience, head: None, idle: None, stuck: None, timer: None }
    }

    /// Fails once the time since `from` is longer than `limit`, and wakes the task then.
    ///
    /// The timer may be set to an earlier time, from a wait before. It is reset when it fires, not at each wait: that
    /// would cost more than everything else here.
    fn wait(&mut self, from: Instant, limit: Duration, cx: &mut Context<'_>) -> Poll<io::Error> {
        let deadline = from + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let expected = this.requests.expected();
        // A head that was read is over. Bytes that arrive while a request is answered are its body.
        this.head = this.head.filter(|(_, before)| Some(*before) == expected);
        match read {
            Poll::Ready(Ok(())) => {
                this.idle = None;
                if let Some(expected) = expected.filter(|_| buf.filled().len() > before) {
                    this.head.get_or_insert((Instant::now(), expected));
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match (this.head, expected) {
                (Some((since, _)), _) => this.wait(since, this.patience.head, cx).map(Err),
                (None, Some(_)) => {
                    let since = *this.idle.get_or_insert_with(Instant::now);
                    this.wait(since, this.patience.idle, cx).map(Err)
                }
                (None, None) => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn written<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            // The answer is still being sent.
            self.idle = None;
            return written;
        }
        let since = *self.stuck.get_or_insert_with(Instant::now);
        self.wait(since, self.patience.stuck, cx).map(Err)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_mins(10);
    const NEVER: Patience = Patience { head: LONG, idle: LONG, stuck: LONG };

    fn watched(patience: Patience) -> (Watched<DuplexStream>, DuplexStream, Arc<Requests>) {
        let (ours, theirs) = tokio::io::duplex(16);
        let requests = Arc::new(Requests::default());
        (Watched::new(ours, Arc::clone(&requests), patience), theirs, requests)
    }

    async fn is_given_up(reading: impl Future<Output = io::Result<usize>>) -> bool {
        match tokio::time::timeout(20 * SHORT, reading).await {
            Ok(read) => read.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut),
            Err(_) => false,
        }
    }

    #[tokio::test]
    async fn a_connection_without_a_request_is_given_up_and_one_with_a_request_is_not() {
        let (mut stream, mut client, requests) = watched(Patience { idle: SHORT, ..NEVER });
        let mut buffer = [0; 16];
        let answered = requests.begin();
        assert!(tokio::time::timeout(4 * SHORT, stream.read(&mut buffer)).await.is_err(), "it is being answered");
        drop(answered);
        // Each request restarts the time, although the timer was set for the first.
        for _ in 0..4 {
            let (read, ()) = tokio::join!(stream.read(&mut buffer), async {
                tokio::time::sleep(SHORT / 2).await;
                client.write_all(b"GET").await.unwrap();
            });
            assert_eq!(read.unwrap(), 3);
            drop(requests.begin());
        }
        assert!(is_given_up(stream.read(&mut buffer)).await);
    }

    #[tokio::test]
    async fn a_connection_whose_answer_is_read_slowly_is_not_idle() {
        let (mut stream, mut client, _requests) = watched(Patience { idle: SHORT, ..NEVER });
        // While it writes, the server checks whether the client is gone.
        let writing = std::future::poll_fn(|cx| {
            let mut space = [0; 4];
            let read = Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut space));
            assert!(read.is_pending(), "{read:?}");
            Pin::new(&mut stream).poll_write(cx, &[0; 16]).map(drop)
        });
        let reading = async {
            for _ in 0..10 {
                tokio::time::sleep(SHORT / 3).await;
                client.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        let mut writing = std::pin::pin!(writing);
        let writing = async {
            for _ in 0..10 {
                writing.as_mut().await;
            }
        };
        tokio::join!(writing, reading);
    }

    #[tokio::test]
    async fn a_head_that_comes_in_drops_is_given_up() {
        let (mut stream, mut client, _requests) = watched(Patience { head: SHORT, ..NEVER });
        let mut buffer = [0; 16];
        // No head has begun, so nothing is late. From now on the timer is set to a later time.
        assert!(tokio::time::timeout(2 * SHORT, stream.read(&mut buffer)).await.is_err());
        let dropping = async {
            loop {
                client.write_all(b"a").await.unwrap();
                tokio::time::sleep(SHORT / 6).await;
            }
        };
        let reading = async {
            loop {
                assert_eq!(stream.read(&mut buffer[..1]).await?, 1);
            }
        };
        tokio::select! {
            () = dropping => {}
            given_up = is_given_up(reading) => assert!(given_up),
        }
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_given_up_and_one_that_is_read_slowly_is_not() {
        let (mut stream, mut client, requests) = watched(Patience { stuck: SHORT, ..NEVER });
        let _answered = requests.begin();
        let reading = async {
            for _ in 0..10 {
                tokio::time::sleep(SHORT / 3).await;
                client.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&[0; 170]), reading);
        written.unwrap();
        assert!(is_given_up(async { stream.write_all(&[0; 64]).await.map(|()| 0) }).await);
    }
}
