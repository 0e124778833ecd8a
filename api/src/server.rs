//! The listener and its connections: limits, time limits, shutdown.
//!
//! HTTP/1.1 only: requests and answers are small, and every proxy speaks it.

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
/// Pause after a failed accept. The usual cause is a lack of file descriptors.
const BACK_OFF: Duration = Duration::from_millis(50);
/// A failed accept is logged at most once in this time.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// File descriptors for everything but connections: the store, Temporal, files.
const RESERVED_FILES: u64 = 128;
/// Time limit for requests in flight when the listener closes.
const DRAIN: Duration = Duration::from_millis(3500);

/// A connection that is idle when the listener closes is closed after this time.
const LAST_REQUEST: Duration = Duration::from_millis(500);
/// Length of the system's queue of connections that the process has not accepted yet.
const BACKLOG: u32 = 4096;

/// The answer to a connection beyond the limit.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
retry-after: 1\r\nconnection: close\r\ncontent-length: 127\r\n\r\n\
{\"type\":\"/problems/too-many-requests\",\"title\":\"Too many requests\",\"status\":503,\"detail\":\"Too many connections are open here.\"}\n";

/// The server of connections.
pub(crate) struct Server<E> {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) endpoint: Arc<E>,
    pub(crate) metrics: Arc<Metrics>,
    /// Most open connections.
    pub(crate) connections: usize,
    /// How long new connections are accepted after the signal to stop.
    pub(crate) linger: Duration,
    /// Tells the other parts of the service that it is stopping.
    pub(crate) stopping: watch::Sender<bool>,
}

/// Accepts connections and tracks the open ones.
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
    // After a restart the address is free, although connections of the last run are still in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl<E: Endpoint<Output = Response> + 'static> Server<E> {
    /// Serves until `stop` resolves, then shuts down without losing a request.
    ///
    /// First, readiness fails and every answer closes its connection; new connections are still accepted. Then the
    /// listener closes, idle connections are closed, and requests in flight end.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, tls, endpoint, metrics, connections, linger, stopping } = self;
        let slots = Arc::new(Semaphore::new(connections.min(files_for_connections())));
        let mut door = Door { tls, endpoint, metrics, slots, closing: watch::Sender::new(false), open: JoinSet::new() };
        let until = async {
            stop.await;
            tracing::info!("stopping: readiness fails, requests are still answered");
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
    /// Takes the connections that the system has already accepted, and closes the listener.
    ///
    /// Asks the system directly: the async runtime may not know of them yet.
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
            // Answers are small: waiting for more data would only delay them.
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

/// Sends the refusal in one write. Whether it arrives does not matter.
fn refuse(socket: TcpStream) {
    if let Ok(mut socket) = socket.into_std() {
        let _ = socket.write(FULL);
    }
}

/// File descriptors of this process that connections may use.
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
            // A request that changes something is finished, even if its caller goes away.
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
            // `Watched` checks this at a lower cost.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            _ = &mut connection => return,
            _ = self.closing.wait_for(|closing| *closing) => {}
        }
        // A request that is arriving is answered, and its answer closes the connection.
        if tokio::time::timeout(LAST_REQUEST, &mut connection).await.is_ok() {
            return;
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Counts a streamed answer as answered only at its end.
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
