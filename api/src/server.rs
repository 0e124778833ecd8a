//! The listener and its connections: how many, how slow they may be, how they end.
//!
//! HTTP/1.1 only: a request is one small body and one small answer, and proxies speak it.

use std::{
    convert::Infallible,
    io::{self, Write as _},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use poem::{
    Addr, Body, Endpoint, Request, Response,
    http::{StatusCode, uri::Scheme},
    web::{LocalAddr, RemoteAddr},
};
use prometheus_client::metrics::gauge::Gauge;
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    limits::{Streamed, is_change},
    metrics::Metrics,
    slow::{Answered, PATIENCE, Requests, Watched},
};

/// Most bytes of a request's head.
const MAX_HEAD: usize = 64 * 1024;
/// Pause after a connection could not be accepted: most often there are no file descriptors left.
const BACK_OFF: Duration = Duration::from_millis(50);
/// A failure to accept is said once in this time.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// File descriptors for everything but connections: the store, Temporal, files.
const RESERVED_FILES: u64 = 128;
/// Requests in flight when the listener closes end within this time.
const DRAIN: Duration = Duration::from_millis(3500);

/// A connection that idles when the listener closes is closed after this time.
const LAST_REQUEST: Duration = Duration::from_millis(500);
/// Connections that the system accepts before they are taken: a crowd that comes at once waits there.
const BACKLOG: u32 = 4096;

/// What a connection beyond the limit is told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
retry-after: 1\r\nconnection: close\r\ncontent-length: 127\r\n\r\n\
{\"type\":\"/problems/too-many-requests\",\"title\":\"Too many requests\",\"status\":503,\"detail\":\"Too many connections are open here.\"}\n";

/// What serves connections.
pub(crate) struct Server<E> {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) endpoint: Arc<E>,
    pub(crate) metrics: Arc<Metrics>,
    /// Connections at once.
    pub(crate) connections: usize,
    /// From when it is told to stop, new connections are taken for this time.
    pub(crate) linger: Duration,
    /// Told when it is told to stop, so that others learn of it.
    pub(crate) stopping: watch::Sender<bool>,
}

/// Lets connections in, and knows those that are.
struct Door<E> {
    tls: Option<TlsAcceptor>,
    endpoint: Arc<E>,
    metrics: Arc<Metrics>,
    slots: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    open: JoinSet<()>,
}

/// Listens on an address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart finds the address free although connections of the last run are in their last minutes.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl<E: Endpoint<Output = Response> + 'static> Server<E> {
    /// Serves until `stop` resolves, then ends without losing a request.
    ///
    /// First readiness fails and every answer closes its connection, while new ones are still taken. Then nobody is let
    /// in any more, idle connections are closed, and requests in flight end.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, tls, endpoint, metrics, connections, linger, stopping } = self;
        let slots = Arc::new(Semaphore::new(connections.min(files_for_connections())));
        let mut door = Door { tls, endpoint, metrics, slots, closing: watch::Sender::new(false), open: JoinSet::new() };
        let until = async {
            stop.await;
            tracing::info!("told to stop: readiness fails, requests are answered");
            stopping.send_replace(true);
            tokio::time::sleep(linger).await;
        };
        let mut until = pin!(until);
        let mut said = None;
        loop {
            tokio::select! {
                biased;
                () = &mut until => break,
                Some(_) = door.open.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => door.admit(socket, peer),
                    Err(error) => {
                        if said.is_none_or(|at: Instant| at.elapsed() > SAY_AGAIN) {
                            tracing::warn!(%error, "a connection cannot be accepted");
                            said = Some(Instant::now());
                        }
                        tokio::time::sleep(BACK_OFF).await;
                    }
                }
            }
        }
        door.take_the_rest(listener);
        door.closing.send_replace(true);
        let ended = async { while door.open.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!(connections = door.open.len(), "some requests did not end in time and are cut off");
        }
    }
}

impl<E: Endpoint<Output = Response> + 'static> Door<E> {
    /// Takes those that the system has accepted already, and closes the listener.
    ///
    /// Asks the system itself: the runtime may not know of them yet.
    fn take_the_rest(&mut self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..BACKLOG {
            let Ok((socket, peer)) = listener.accept() else { return };
            let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
            if let Ok(socket) = socket {
                self.admit(socket, peer);
            }
        }
    }

    fn admit(&mut self, socket: TcpStream, peer: SocketAddr) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.metrics.connections_refused.inc();
            if self.tls.is_none() {
                refuse(socket);
            }
            return;
        };
        let (endpoint, tls, closing) = (Arc::clone(&self.endpoint), self.tls.clone(), self.closing.subscribe());
        let counted = Counted::new(&self.metrics);
        self.open.spawn(async move {
            let _counted = counted;
            let Ok(connection) = Connection::new(&socket, peer, endpoint, closing, slot) else { return };
            // Answers are small: waiting for more to send would only delay them.
            let _ = socket.set_nodelay(true);
            match tls {
                None => connection.serve(socket, Scheme::HTTP).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE.head, tls.accept(socket)).await {
                        connection.serve(stream, Scheme::HTTPS).await;
                    }
                }
            }
        });
    }
}

/// Counts a connection while it is open.
struct Counted(Gauge);

impl Counted {
    fn new(metrics: &Metrics) -> Self {
        metrics.connections.inc();
        Self(metrics.connections.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Says in one write that there is no room; whether it arrives does not matter.
fn refuse(socket: TcpStream) {
    if let Ok(mut socket) = socket.into_std() {
        let _ = socket.write(FULL);
    }
}

/// As many connections as this process may have files, less some.
fn files_for_connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(RESERVED_FILES).max(1)).unwrap_or(Semaphore::MAX_PERMITS)
}

struct Connection<E> {
    endpoint: Arc<E>,
    here: LocalAddr,
    peer: RemoteAddr,
    closing: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
}

impl<E: Endpoint<Output = Response> + 'static> Connection<E> {
    fn new(
        socket: &TcpStream,
        peer: SocketAddr,
        endpoint: Arc<E>,
        closing: watch::Receiver<bool>,
        slot: OwnedSemaphorePermit,
    ) -> io::Result<Self> {
        let here = LocalAddr(Addr::SocketAddr(socket.local_addr()?));
        Ok(Self { endpoint, here, peer: RemoteAddr(Addr::SocketAddr(peer)), closing, _slot: slot })
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(mut self, stream: S, scheme: Scheme) {
        let requests = Arc::new(Requests::default());
        let stream = Watched::new(stream, Arc::clone(&requests), PATIENCE);
        let (endpoint, here, peer) = (self.endpoint, self.here, self.peer);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let answered = requests.begin();
            let request: Request = (request, here.clone(), peer.clone(), scheme.clone()).into();
            let endpoint = Arc::clone(&endpoint);
            // What changes something ends, whether or not its caller waits for the end.
            let is_change = is_change(&request);
            let answering = async move { until_answered(endpoint.get_response(request).await, answered) };
            async move {
                let response = if is_change {
                    let lost = |_| Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).finish();
                    tokio::spawn(answering).await.unwrap_or_else(lost)
                } else {
                    answering.await
                };
                Ok::<hyper::Response<_>, Infallible>(response.into())
            }
        });
        let connection = http1::Builder::new()
            // The stream itself knows when a head is late, at a lower price.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            _ = &mut connection => return,
            _ = self.closing.wait_for(|closing| *closing) => {}
        }
        // A request that is on its way is answered, and its answer closes the connection.
        if tokio::time::timeout(LAST_REQUEST, &mut connection).await.is_ok() {
            return;
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// An answer that is given bit by bit has not been given before its end, nor has its request been read.
fn until_answered(mut response: Response, answered: Answered) -> Response {
    if response.data::<Streamed>().is_some() {
        let body = response.take_body().into_bytes_stream();
        response.set_body(Body::from_bytes_stream(body.map(move |bytes| {
            let _ = &answered;
            bytes
        })));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::FULL;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
