//! What a request may cost, who may send it, and what it is counted as: the outermost layer.

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

/// Reading the body may take this long.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of all bodies that are held at once.
pub(crate) const BODIES: usize = 64 * 1024 * 1024;
/// Who is refused may still send for this time.
const DISCARD: Duration = Duration::from_secs(1);
/// Past a bounded wait for a workflow, nothing takes this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// How much the service takes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Characters (Unicode code points) of a comment.
    pub text: usize,
    /// Bytes of a body, below 4 GiB.
    pub body: usize,
    /// Bytes of a body with many comments, below 4 GiB. A stream may have any number.
    pub batch_body: usize,
    /// Streams that are answered at once.
    pub streams: usize,
    /// Connections at once; never more than the process may have files.
    pub connections: usize,
    /// Requests that are answered at once.
    pub requests: usize,
    /// Requests a second with one key; as many may come at once. Without it there is no such limit.
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

/// What stands before every route, in the order in which it is asked: name, caller, rate, body, place.
pub(crate) struct Guarded<E> {
    pub(crate) inner: E,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) names: Names,
    pub(crate) keys: Arc<KeyRing>,
    /// Places for requests that are being answered.
    pub(crate) places: Semaphore,
    /// Bytes of a body.
    pub(crate) body: usize,
    /// Bytes of all bodies that are held.
    pub(crate) bodies: Semaphore,
    /// Bytes of a body with many comments.
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
        // Lines of this crate that everybody sees name the request themselves: a span for each costs as much as half a verdict.
        let span = tracing::debug_span!("request", request.id = %id);
        // In a box of its own: what is as large as all layers and a request together is costly to move.
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

/// A request that was answered, or is being answered bit by bit. Logged and counted when it is dropped.
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
    /// Goes on until the answer's body has ended, or nobody reads it any more.
    fn until_the_end(mut self, received: Streamed, response: &mut Response) {
        let body = response.take_body().into_bytes_stream();
        response.set_body(Body::from_bytes_stream(body.inspect_ok(move |bytes| {
            self.goes_on(received.0.load(Ordering::Relaxed), bytes.len());
        })));
    }

    /// Bytes of the request's body so far, and more of the answer's. By itself, because a closure that assigns to fields would
    /// take copies of them and not the whole.
    fn goes_on(&mut self, received: usize, sent: usize) {
        self.request_bytes = received;
        self.response_bytes += sent;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        // The line below is part of the trace.
        let _trace = self.traced.as_ref().map(|traced| {
            traced.end(self.route.names(), self.status);
            traced.context().clone().attach()
        });
        let id = std::mem::take(&mut self.id);
        request_id::within_at_once(id.clone(), || log(&id, self.route.names(), self.is_change, self.status, took));
        self.route.count(self.status, (self.request_bytes, self.response_bytes), took);
    }
}

impl<E: Endpoint> Guarded<E> {
    /// The answer, and how many bytes the request's body had.
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
        // Only now: who sends slowly takes no place from others.
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

    /// Notes who calls; answers the body, and the memory that it may take.
    async fn admit(&self, request: &mut Request) -> Result<(Option<Bytes>, Option<SemaphorePermit<'_>>), Problem> {
        let caller = self.keys.caller(request);
        caller.limit_rate()?;
        if request.method().is_safe() {
            // No route reads a body then.
            request.take_body();
            request.set_data(caller);
            return Ok((Some(Bytes::new()), None));
        }
        // Every route that takes a body asks for a key. What strangers send is not kept.
        caller.require(None)?;
        request.set_data(caller);
        if request.header(header::CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
            let detail = "Send the body as it is, without `Content-Encoding`.";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Kind::UnsupportedMediaType, detail));
        }
        if is_stream(request) {
            if request.headers().contains_key(header::EXPECT) {
                let body = tokio::time::timeout(BODY_TIMEOUT, begun(request.take_body())).await.map_err(|_| late())?;
                request.set_body(body);
            }
            // Its route reads it bit by bit.
            return Ok((None, None));
        }
        let told = self.told_length(request)?;
        let memory = self.bodies.try_acquire_many(told as u32).map_err(|_| {
            let detail = "The service reads as many bytes at once as it may.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, Kind::TooManyRequests, detail)
        })?;
        Ok((Some(self.read(request).await?), Some(memory)))
    }

    /// Takes a body and forgets it, for a moment: who still sends when it is refused might not hear why.
    async fn discard(&self, body: Body) {
        let mut reader = body.into_async_read().take(self.body as u64);
        let _ = tokio::time::timeout(DISCARD, tokio::io::copy(&mut reader, &mut tokio::io::sink())).await;
    }

    /// How long the body is, or may become.
    fn told_length(&self, request: &Request) -> Result<usize, Problem> {
        let most = self.most(request);
        let told = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        match told {
            Some(length) if length > most as u64 => Err(too_large(most)),
            Some(length) => Ok(length as usize),
            None => Ok(most),
        }
    }

    /// Bytes that a request's body may have.
    fn most(&self, request: &Request) -> usize {
        if takes_many(request.uri().path()) { self.batch_body } else { self.body }
    }

    /// Takes one of the places. Who asks whether the service is well needs none.
    fn enter(&self, request: &Request) -> Result<Option<SemaphorePermit<'_>>, Problem> {
        let path = request.uri().path();
        if path.starts_with("/health/") || path.starts_with("/v2/health/") || path == "/metrics" {
            return Ok(None);
        }
        self.places.try_acquire().map(Some).map_err(|_| {
            let detail = "The service answers as many requests at once as it may.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, Kind::TooManyRequests, detail)
        })
    }

    /// The whole body, if it is short enough and comes in time.
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

    /// Headers that every answer carries.
    fn harden(&self, response: &mut Response, is_encrypted: bool) {
        let headers = response.headers_mut();
        headers.reserve(8);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if is_encrypted {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        // Who asks again comes to another replica.
        if *self.stopping.borrow() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Counts a request while it is being answered, also when its caller goes away.
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

/// The router leaves the pattern that matched; everything else shares one label.
fn handler(response: &Response) -> &str {
    let pattern = response.data::<PathPattern>().map_or("none", |pattern| &pattern.0);
    if pattern.is_empty() { "none" } else { pattern }
}

/// A body whose first bytes have come. Who waits to be told to go on (curl, with a large file) is told when they are asked
/// for, and not if an answer has begun.
async fn begun(body: Body) -> Body {
    let mut rest = Box::pin(body.into_bytes_stream());
    let first = rest.next().await;
    Body::from_bytes_stream(stream::iter(first).chain(rest))
}

fn late() -> Problem {
    let detail = format!("The body did not come within {} s.", BODY_TIMEOUT.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, Kind::Timeout, detail)
}

fn too_large(most: usize) -> Problem {
    let detail = format!("A body may have {most} bytes.");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Kind::PayloadTooLarge, detail)
}

/// Bytes of an answer's body, which is in memory.
fn length_of_body(response: &mut Response) -> usize {
    let body: BoxBody<Bytes, io::Error> = response.take_body().into();
    let length = body.size_hint().lower();
    response.set_body(Body::from(body));
    length as usize
}

/// That an answer is given bit by bit, and has not been given when its head is there. Has the bytes of the request's body
/// that were read so far.
#[derive(Clone, Default)]
pub(crate) struct Streamed(pub(crate) Arc<AtomicUsize>);

/// Whether a request is read and answered bit by bit.
fn is_stream(request: &Request) -> bool {
    request.uri().path() == "/predict/batch" && request.content_type().is_some_and(is_lines)
}

/// Whether requests to a path have many comments.
fn takes_many(path: &str) -> bool {
    matches!(path, "/predict/batch" | "/label" | "/codec/encode" | "/codec/decode")
        || matches!(Dialect::of(path), Some(Dialect::Moderations | Dialect::Inference))
}

/// Whether a request asks for a change: all that is not safe, but for verdicts.
pub(crate) fn is_change(request: &Request) -> bool {
    let path = request.uri().path();
    let is_suggestion = path.ends_with("suggestscore");
    let asks_for_verdicts =
        matches!(path, "/predict" | "/predict/batch" | "/label") || Dialect::of(path).is_some() && !is_suggestion;
    !request.method().is_safe() && !asks_for_verdicts
}

/// One line a request: what failed and what changes something always, the rest for those who ask for it.
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

/// Methods are few; a made-up one must not become a label.
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
