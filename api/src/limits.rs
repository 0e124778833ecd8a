//! The outermost layer: limits on requests, check of the caller, log line, metrics.

use std::{
    io,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use hyper::body::Body as _;
use opentelemetry::trace::FutureExt as _;
use poem::{
    Body, Endpoint, IntoResponse, PathPattern, Request, Response, Result,
    http::{HeaderValue, StatusCode, header, uri::Scheme},
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::AsyncReadExt as _,
    sync::{Semaphore, SemaphorePermit, watch},
};
use tracing::Instrument as _;

use crate::{
    dialect::{self, Dialect},
    keys::KeyRing,
    kind::Kind,
    metrics::{Metrics, OfRoute},
    names::{Names, Sharing},
    problem::{self, Methods, Problem},
    request_id,
    routes::is_lines,
    trace::Traced,
};

/// Time limit for reading a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of all bodies in memory.
pub(crate) const BODIES: usize = 64 * 1024 * 1024;
/// A refused caller may go on sending for this time.
const DISCARD: Duration = Duration::from_secs(1);
/// Time limit for an answer. The longest step is the bounded wait for a workflow.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// Limits on requests and connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most characters (Unicode code points) of a comment.
    pub text: usize,
    /// Most bytes of a body, below 4 GiB.
    pub body: usize,
    /// Most bytes of a body with many comments, below 4 GiB. A stream has no limit.
    pub batch_body: usize,
    /// Most concurrent streams.
    pub streams: usize,
    /// Most open connections; also limited by the process's file descriptors.
    pub connections: usize,
    /// Most concurrent requests.
    pub requests: usize,
    /// Most requests per second with one key, and the largest burst. None for no limit.
    pub requests_per_second: Option<NonZeroU32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text: 20_000,
            body: 256 * 1024,
            batch_body: 8 * 1024 * 1024,
            streams: 8,
            connections: 2000,
            requests: 512,
            requests_per_second: NonZeroU32::new(1000),
        }
    }
}

/// Checks before every route, in this order: host name, caller, rate, body, slot.
pub(crate) struct Guarded<E> {
    pub(crate) inner: E,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) names: Names,
    pub(crate) keys: Arc<KeyRing>,
    /// Slots for concurrent requests.
    pub(crate) places: Semaphore,
    /// Most bytes of a body.
    pub(crate) body: usize,
    /// Bytes of all bodies in memory.
    pub(crate) bodies: Semaphore,
    /// Most bytes of a body with many comments.
    pub(crate) batch_body: usize,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) methods: Methods,
    /// Whether each request is a span.
    pub(crate) traces: bool,
}

impl<E: Endpoint> Endpoint for Guarded<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let (started, in_flight) = (Instant::now(), InFlight::enter(&self.metrics));
        let method = method_label(request.method().as_str());
        let (is_encrypted, is_change) = (*request.scheme() == Scheme::HTTPS, is_change(&request));
        let id = request_id::of(&request);
        let traced = if self.traces { Traced::begin(&request, method, &id) } else { None };
        // Log lines at info and above carry the request id themselves: a span for each request costs half a verdict.
        let span = tracing::debug_span!("request", request.id = %id);
        // Boxed: the future of all layers and the request is large and costly to move.
        let answering = request_id::within(id.clone(), Box::pin(self.answer(request)));
        let (mut response, request_bytes) = match &traced {
            None => answering.instrument(span).await,
            Some(traced) => answering.instrument(span).with_context(traced.context().clone()).await,
        };
        self.harden(&mut response, is_encrypted);
        response.headers_mut().insert(request_id::HEADER, request_id::value(&id));
        let route = self.metrics.of_route(method, handler(&response));
        let status = response.status();
        let mut answered =
            Exchange { id, route, traced, is_change, status, started, request_bytes, response_bytes: 0, in_flight };
        match response.data::<Streamed>().cloned() {
            None => answered.response_bytes = length_of_body(&mut response),
            Some(received) => answered.until_the_end(received, &mut response),
        }
        Ok(response)
    }
}

/// A request that was answered, or whose answer is being streamed.
///
/// Logged and counted when it is dropped.
struct Exchange {
    id: String,
    route: Arc<OfRoute>,
    traced: Option<Traced>,
    is_change: bool,
    status: StatusCode,
    started: Instant,
    request_bytes: usize,
    response_bytes: usize,
    #[expect(dead_code, reason = "counts while it is there")]
    in_flight: InFlight,
}

impl Exchange {
    /// Keeps the exchange open until the answer's body has ended or the client stops reading.
    fn until_the_end(mut self, received: Streamed, response: &mut Response) {
        let body = response.take_body().into_bytes_stream();
        response.set_body(Body::from_bytes_stream(body.inspect_ok(move |bytes| {
            self.goes_on(received.0.load(Ordering::Relaxed), bytes.len());
        })));
    }

    /// Counts bytes of the request's body so far, and further bytes of the answer's.
    ///
    /// A method, because a closure that assigns to the fields would copy them instead of taking the whole struct.
    fn goes_on(&mut self, received: usize, sent: usize) {
        self.request_bytes = received;
        self.response_bytes += sent;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        // The log line below belongs to the trace.
        let _trace = self.traced.as_ref().map(|traced| {
            traced.end(self.route.names(), self.status);
            traced.context().clone().attach()
        });
        if self.is_change || self.status.as_u16() >= 400 || tracing::enabled!(tracing::Level::DEBUG) {
            let id = std::mem::take(&mut self.id);
            request_id::within_at_once(id.clone(), || log(&id, self.route.names(), self.is_change, self.status, took));
        }
        self.route.count(self.status, (self.request_bytes, self.response_bytes), took);
    }
}

impl<E: Endpoint> Guarded<E> {
    /// The answer, and the length of the request's body.
    async fn answer(&self, request: Request) -> (Response, usize) {
        let dialect = Dialect::of(request.uri().path());
        let (mut response, bytes) = self.answer_in_our_words(request).await;
        if let Some(dialect) = dialect {
            dialect.translate(&mut response);
        }
        (response, bytes)
    }

    async fn answer_in_our_words(&self, request: Request) -> (Response, usize) {
        let sharing = match self.names.check(&request) {
            Ok(sharing) => sharing,
            Err(problem) => return (problem.into_response(), 0),
        };
        let (mut response, bytes) = self.share(request, &sharing).await;
        sharing.mark(&mut response);
        (response, bytes)
    }

    async fn share(&self, mut request: Request, sharing: &Sharing) -> (Response, usize) {
        if let Some(response) = sharing.preflight(&request) {
            return (response, 0);
        }
        let (body, _memory) = match self.admit(&mut request).await {
            Ok(admitted) => admitted,
            Err(problem) => {
                self.discard(request.take_body()).await;
                return (problem.into_response(), 0);
            }
        };
        let bytes = body.as_ref().map_or(0, Bytes::len);
        if let Some(body) = body {
            request.set_body(body);
        }
        // Only now, so that a slow sender does not occupy a slot.
        let _place = match self.enter(&request) {
            Ok(place) => place,
            Err(problem) => return (problem.into_response(), bytes),
        };
        dialect::make_routable(&mut request);
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.inner.call(request)).await;
        let response = match answer {
            Ok(Ok(response)) => response.into_response(),
            Ok(Err(error)) => problem::from_error(error, self.methods.clone()).await,
            Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, Kind::Timeout, "Try again later.").into_response(),
        };
        (response, bytes)
    }

    /// Identifies the caller. Returns the body and its share of the memory for bodies.
    async fn admit(&self, request: &mut Request) -> Result<(Option<Bytes>, Option<SemaphorePermit<'_>>), Problem> {
        let caller = self.keys.caller(request);
        caller.limit_rate()?;
        if request.method().is_safe() {
            // Routes of safe methods read no body.
            request.take_body();
            request.set_data(caller);
            return Ok((Some(Bytes::new()), None));
        }
        // Every route with a body requires a key. A body without a key is not kept in memory.
        caller.require(None)?;
        request.set_data(caller);
        if request.header(header::CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
            let detail = "Send the body uncompressed, without `Content-Encoding`.";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Kind::UnsupportedMediaType, detail));
        }
        if is_stream(request) {
            if request.headers().contains_key(header::EXPECT) {
                let body = tokio::time::timeout(BODY_TIMEOUT, begun(request.take_body())).await.map_err(|_| late())?;
                request.set_body(body);
            }
            // The route reads it as a stream.
            return Ok((None, None));
        }
        let told = self.told_length(request)?;
        let memory = self.bodies.try_acquire_many(told as u32).map_err(|_| {
            let detail = "The bodies of all requests together are at the service's memory limit.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, Kind::TooManyRequests, detail)
        })?;
        Ok((Some(self.read(request).await?), Some(memory)))
    }

    /// Reads and drops the body for a moment.
    ///
    /// A client that is still sending might not read the refusal otherwise.
    async fn discard(&self, body: Body) {
        let mut reader = body.into_async_read().take(self.body as u64);
        let _ = tokio::time::timeout(DISCARD, tokio::io::copy(&mut reader, &mut tokio::io::sink())).await;
    }

    /// The announced length of the body, else the largest allowed one.
    fn told_length(&self, request: &Request) -> Result<usize, Problem> {
        let most = self.most(request);
        let told = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        match told {
            Some(length) if length > most as u64 => Err(too_large(most)),
            Some(length) => Ok(length as usize),
            None => Ok(most),
        }
    }

    /// Most bytes of a request's body.
    fn most(&self, request: &Request) -> usize {
        if takes_many(request.uri().path()) { self.batch_body } else { self.body }
    }

    /// Takes a slot. Health checks and metrics need none.
    fn enter(&self, request: &Request) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        let path = request.uri().path();
        if path.starts_with("/health/") || path.starts_with("/v2/health/") || path == "/metrics" {
            return Ok(None);
        }
        self.places.try_acquire().map(Some).map_err(|_| {
            let detail = "The service is at its limit of concurrent requests.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, Kind::TooManyRequests, detail)
        })
    }

    /// The whole body, if it is short enough and arrives in time.
    async fn read(&self, request: &mut Request) -> Result<Bytes, Problem> {
        let most = self.most(request);
        let body: Body = request.take_body();
        match tokio::time::timeout(BODY_TIMEOUT, body.into_bytes_limit(most)).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(poem::error::ReadBodyError::PayloadTooLarge)) => Err(too_large(most)),
            Ok(Err(_)) => Err(Problem::malformed("The body could not be read to its end.")),
            Err(_) => Err(late()),
        }
    }

    /// Sets the headers that every answer has.
    fn harden(&self, response: &mut Response, is_encrypted: bool) {
        let headers = response.headers_mut();
        headers.reserve(8);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if is_encrypted {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        // The next request of this client goes to another replica.
        if *self.stopping.borrow() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Counts a request while it is being answered, even if its caller goes away.
struct InFlight(Gauge);

impl InFlight {
    fn enter(metrics: &Metrics) -> Self {
        metrics.http_in_flight.inc();
        Self(metrics.http_in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The route's pattern, as the router left it. Everything else shares one label.
fn handler(response: &Response) -> &str {
    let pattern = response.data::<PathPattern>().map_or("none", |pattern| &pattern.0);
    if pattern.is_empty() { "none" } else { pattern }
}

/// Waits for the first bytes of a body.
///
/// A client that sends `Expect: 100-continue` (curl, with a large file) gets `100 Continue` when its body is read, and
/// no longer once the answer has begun.
async fn begun(body: Body) -> Body {
    let mut rest = Box::pin(body.into_bytes_stream());
    let first = rest.next().await;
    Body::from_bytes_stream(stream::iter(first).chain(rest))
}

fn late() -> Problem {
    let detail = format!("The body did not arrive within {} s.", BODY_TIMEOUT.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, Kind::Timeout, detail)
}

fn too_large(most: usize) -> Problem {
    let detail = format!("A body may have at most {most} bytes.");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Kind::PayloadTooLarge, detail)
}

/// The length of an answer's body, which is in memory.
fn length_of_body(response: &mut Response) -> usize {
    let body: BoxBody<Bytes, io::Error> = response.take_body().into();
    let length = body.size_hint().lower();
    response.set_body(Body::from(body));
    length as usize
}

/// Marks an answer that is streamed: it is not complete when its head is sent.
///
/// Holds the number of bytes of the request's body that were read so far.
#[derive(Clone, Default)]
pub(crate) struct Streamed(pub(crate) Arc<AtomicUsize>);

/// Whether a request is read and answered as a stream.
fn is_stream(request: &Request) -> bool {
    request.uri().path() == "/predict/batch" && request.content_type().is_some_and(is_lines)
}

/// Whether requests to a path may have many comments.
fn takes_many(path: &str) -> bool {
    matches!(path, "/predict/batch" | "/label" | "/codec/encode" | "/codec/decode")
        || matches!(Dialect::of(path), Some(Dialect::Moderations | Dialect::Inference))
}

/// Whether a request changes something: every unsafe method, except requests for verdicts.
pub(crate) fn is_change(request: &Request) -> bool {
    let path = request.uri().path();
    let is_suggestion = path.ends_with("suggestscore");
    let asks_for_verdicts =
        matches!(path, "/predict" | "/predict/batch" | "/label") || Dialect::of(path).is_some() && !is_suggestion;
    !request.method().is_safe() && !asks_for_verdicts
}

/// One log line per request.
///
/// Server errors are warnings. Client errors and changes are info. The rest is debug.
fn log(id: &str, (method, handler): (&str, &str), is_change: bool, status: StatusCode, took: Duration) {
    let (status, ms) = (status.as_u16(), took.as_secs_f64() * 1000.0);
    if status >= 500 {
        tracing::warn!(request.id = id, method, handler, status, ms, "answered");
    } else if status >= 400 || is_change {
        tracing::info!(request.id = id, method, handler, status, ms, "answered");
    } else {
        tracing::debug!(request.id = id, method, handler, status, ms, "answered");
    }
}

/// The method as a label. An unknown method must not become a label.
fn method_label(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        _ => "other",
    }
}
