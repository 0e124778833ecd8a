//! The web page, Swagger UI and other documents: all in the binary, nothing from outside.

use std::sync::Arc;

use bytes::Bytes;
use poem::{
    Endpoint, IntoResponse, PathPattern, Request, Response, Result,
    endpoint::make_sync,
    error::MethodNotAllowedError,
    http::{Method, StatusCode, header},
};

use crate::metrics::Metrics;

/// The page loads its own files and talks to its own service, nothing else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                           connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
/// Swagger UI is one page with its script and style inside.
const SWAGGER_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                              img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";

const INDEX: &[u8] = include_bytes!("../../ui-static/index.html");
const SCRIPT: &[u8] = include_bytes!("../../ui-static/app.js");
const STYLE: &[u8] = include_bytes!("../../ui-static/style.css");

/// The web page at `/`, its files, and `rest` for every other path.
pub(crate) struct Files<E> {
    pub(crate) rest: E,
}

impl<E: Endpoint> Endpoint for Files<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let (path, content_type, body) = match request.uri().path() {
            "/" => ("/", "text/html; charset=utf-8", INDEX),
            "/app.js" => ("/app.js", "text/javascript; charset=utf-8", SCRIPT),
            "/style.css" => ("/style.css", "text/css; charset=utf-8", STYLE),
            _ => return self.rest.call(request).await.map(IntoResponse::into_response),
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(MethodNotAllowedError.into());
        }
        let mut response = document(content_type, PAGE_POLICY, Bytes::from_static(body));
        response.set_data(PathPattern(path.into()));
        Ok(response)
    }
}

/// Swagger UI.
pub(crate) fn swagger(html: String) -> impl Endpoint {
    let html = Bytes::from(html);
    make_sync(move |_| document("text/html; charset=utf-8", SWAGGER_POLICY, html.clone()))
}

/// A JSON document.
pub(crate) fn json(text: String) -> impl Endpoint {
    let text = Bytes::from(text);
    make_sync(move |_| document("application/json", PAGE_POLICY, text.clone()))
}

/// What Prometheus reads.
pub(crate) fn metrics(metrics: Arc<Metrics>) -> impl Endpoint {
    make_sync(move |_| match metrics.render() {
        Ok(text) => document("application/openmetrics-text; version=1.0.0; charset=utf-8", PAGE_POLICY, text.into()),
        Err(_) => Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).finish(),
    })
}

fn document(content_type: &'static str, policy: &'static str, body: Bytes) -> Response {
    Response::builder()
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CONTENT_SECURITY_POLICY, policy)
        .header(header::CONTENT_LENGTH, body.len())
        .body(body)
}
