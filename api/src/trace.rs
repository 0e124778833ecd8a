//! A request as an OpenTelemetry span: a new trace, or part of its caller's.
//!
//! A span has the method, the route's pattern, the status and the request id. It never has the URL, which may contain a
//! comment.

use opentelemetry::{
    Context, KeyValue, global,
    propagation::Extractor,
    trace::{SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use poem::{
    Request,
    http::{HeaderMap, StatusCode},
};

/// The header with the caller's trace and span.
const TRACE_PARENT: &str = "traceparent";
/// Paths that are requested every few seconds and need no trace.
const UNTRACED: [&str; 3] = ["/health/", "/v2/health/", "/metrics"];

/// A traced request, from its head to the end of its answer.
pub(crate) struct Traced(Context);

impl Traced {
    /// Begins the span.
    ///
    /// The caller's trace context (`traceparent`) is its parent, and decides whether it is sampled.
    pub(crate) fn begin(request: &Request, method: &'static str, id: &str) -> Option<Self> {
        let path = request.uri().path();
        if UNTRACED.iter().any(|untraced| path.starts_with(untraced)) {
            return None;
        }
        let parent = global::get_text_map_propagator(|propagator| {
            propagator.extract_with_context(&Context::new(), &Headers(request.headers()))
        });
        let tracer = global::tracer("threatwatch");
        let span = tracer.span_builder(method).with_kind(SpanKind::Server).with_attributes([
            KeyValue::new("http.request.method", method),
            KeyValue::new("threatwatch.request_id", id.to_owned()),
        ]);
        let span = span.start_with_context(&tracer, &parent);
        Some(Self(parent.with_span(span)))
    }

    /// The parent context for spans below this one.
    pub(crate) fn context(&self) -> &Context {
        &self.0
    }

    /// Ends the span.
    pub(crate) fn end(&self, (method, handler): (&str, &str), status: StatusCode) {
        let span = self.0.span();
        span.update_name(format!("{method} {handler}"));
        span.set_attribute(KeyValue::new("http.route", handler.to_owned()));
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// The caller's `traceparent` alone. `tracestate` is free text of any length, and Temporal's histories would keep it.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        if key == TRACE_PARENT { self.0.get(key)?.to_str().ok() } else { None }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACE_PARENT]
    }
}
