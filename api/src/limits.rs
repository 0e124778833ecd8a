//! What a request may cost, and what it is counted as: the outermost layer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use poem::{
    Body, Endpoint, IntoResponse, Middleware, PathPattern, Request, Response, Result,
    http::{HeaderValue, StatusCode, header},
};

use crate::{
    metrics::{HandlerLabels, Metrics, RequestLabels},
    problem::Problem,
};

/// A connection without a request, or with half a one, is closed after this time.
pub(crate) const IDLE: Duration = Duration::from_mins(1);
/// Longest body: many times the longest text that is accepted.
const MAX_BODY: usize = 256 * 1024;
/// Reading the body may take this long.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Past a bounded wait for a workflow, nothing takes this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// Bounds every request and counts it.
pub(crate) struct Limits {
    metrics: Arc<Metrics>,
}

impl Limits {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl<E: Endpoint> Middleware<E> for Limits {
    type Output = Limited<E>;

    fn transform(&self, inner: E) -> Limited<E> {
        Limited { inner, metrics: Arc::clone(&self.metrics) }
    }
}

/// An endpoint within [`Limits`].
pub(crate) struct Limited<E> {
    inner: E,
    metrics: Arc<Metrics>,
}

impl<E: Endpoint> Endpoint for Limited<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let started = Instant::now();
        let _in_flight = InFlight::enter(&self.metrics);
        let method = request.method().as_str().to_owned();
        let (mut response, request_bytes) = self.bounded(request).await;
        harden(&mut response);
        // Every body is in memory already: taking it costs nothing and tells its length.
        let body = response.take_body().into_bytes().await.unwrap_or_default();
        self.count(&method, &response, (request_bytes, body.len()), started.elapsed());
        response.set_body(body);
        Ok(response)
    }
}

impl<E: Endpoint> Limited<E> {
    async fn bounded(&self, mut request: Request) -> (Response, usize) {
        let body = match read(&mut request).await {
            Ok(body) => body,
            Err(problem) => return (problem.into_response(), 0),
        };
        let bytes = body.len();
        request.set_body(body);
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.inner.call(request)).await;
        let response = match answer {
            Ok(Ok(response)) => response.into_response(),
            Ok(Err(error)) => crate::problem::from_error(error).await,
            Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "Try again later.").into_response(),
        };
        (response, bytes)
    }

    fn count(
        &self,
        method: &str,
        response: &Response,
        (request_bytes, response_bytes): (usize, usize),
        took: Duration,
    ) {
        // The router leaves the pattern that matched; everything else shares one label.
        let pattern = response.data::<PathPattern>().map_or("none", |pattern| &pattern.0);
        let handler = if pattern.is_empty() { "none" } else { pattern };
        let handler = HandlerLabels { method: method_label(method), handler: handler.to_owned() };
        let status = format!("{}xx", response.status().as_u16() / 100);
        let metrics = &self.metrics;
        metrics.http_requests.get_or_create(&RequestLabels::new(&handler, status)).inc();
        metrics.http_request_size.get_or_create(&handler).observe(request_bytes as f64);
        metrics.http_response_size.get_or_create(&handler).observe(response_bytes as f64);
        metrics.http_request_duration.get_or_create(&handler).observe(took.as_secs_f64());
    }
}

/// Counts a request while it is being answered, also when its caller goes away.
struct InFlight<'a>(&'a Metrics);

impl<'a> InFlight<'a> {
    fn enter(metrics: &'a Metrics) -> Self {
        metrics.http_in_flight.inc();
        Self(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.http_in_flight.dec();
    }
}

/// The whole body, if it is short enough and comes in time.
async fn read(request: &mut Request) -> Result<Vec<u8>, Problem> {
    let too_large = || {
        let detail = format!("A body may have {MAX_BODY} bytes.");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", detail)
    };
    if request.header(header::CONTENT_LENGTH).and_then(|v| v.parse::<usize>().ok()).is_some_and(|n| n > MAX_BODY) {
        return Err(too_large());
    }
    let body: Body = request.take_body();
    match tokio::time::timeout(BODY_TIMEOUT, body.into_bytes_limit(MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes.to_vec()),
        Ok(Err(poem::error::ReadBodyError::PayloadTooLarge)) => Err(too_large()),
        Ok(Err(_)) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "malformed-request", "The body could not be read to its end."))
        }
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The body did not come in time.")),
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

/// Headers that every answer carries.
fn harden(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
