//! The web page, Swagger UI and other documents.
//!
//! All are in the binary; nothing is loaded from other hosts.

use std::sync::Arc;

use bytes::Bytes;
use poem::{
    Endpoint, IntoResponse, PathPattern, Request, Response, Result,
    endpoint::make_sync,
    error::{MethodNotAllowedError, NotFoundError},
    http::{Method, StatusCode, header},
};

use crate::{
    kind::{self, Kind},
    metrics::Metrics,
};

/// The page may load its own files and call its own service, nothing else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                           connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
/// Swagger UI is one page with its script and style inside.
const SWAGGER_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                              img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A file of `ui-static/`: its path, its content type, its bytes.
type File = (&'static str, &'static str, &'static [u8]);

macro_rules! embedded {
    ($path:expr, $name:literal, $content_type:ident) => {
        ($path, $content_type, include_bytes!(concat!("../../ui-static/", $name)))
    };
    ($name:literal, $content_type:ident) => {
        embedded!(concat!("/", $name), $name, $content_type)
    };
}

/// Every file of the page, under its own name.
const FILES: &[File] = &[
    embedded!("/", "index.html", HTML),
    embedded!("style.css", STYLE),
    embedded!("access.js", SCRIPT),
    embedded!("action.js", SCRIPT),
    embedded!("api.js", SCRIPT),
    embedded!("app.js", SCRIPT),
    embedded!("backtests.js", SCRIPT),
    embedded!("batch.js", SCRIPT),
    embedded!("card.js", SCRIPT),
    embedded!("chart.js", SCRIPT),
    embedded!("comparison.js", SCRIPT),
    embedded!("csv.js", SCRIPT),
    embedded!("curves.js", SCRIPT),
    embedded!("decision.js", SCRIPT),
    embedded!("decisions.js", SCRIPT),
    embedded!("dialog.js", SCRIPT),
    embedded!("dom.js", SCRIPT),
    embedded!("drift.js", SCRIPT),
    embedded!("estimate.js", SCRIPT),
    embedded!("explained.js", SCRIPT),
    embedded!("explanation.js", SCRIPT),
    embedded!("export.js", SCRIPT),
    embedded!("feedback.js", SCRIPT),
    embedded!("figures.js", SCRIPT),
    embedded!("file-choice.js", SCRIPT),
    embedded!("file-run.js", SCRIPT),
    embedded!("flips.js", SCRIPT),
    embedded!("formats.js", SCRIPT),
    embedded!("gate.js", SCRIPT),
    embedded!("header.js", SCRIPT),
    embedded!("history.js", SCRIPT),
    embedded!("judging.js", SCRIPT),
    embedded!("key.js", SCRIPT),
    embedded!("label-result.js", SCRIPT),
    embedded!("label.js", SCRIPT),
    embedded!("live.js", SCRIPT),
    embedded!("markdown.js", SCRIPT),
    embedded!("models.js", SCRIPT),
    embedded!("notice.js", SCRIPT),
    embedded!("openmetrics.js", SCRIPT),
    embedded!("order.js", SCRIPT),
    embedded!("progress.js", SCRIPT),
    embedded!("promotion.js", SCRIPT),
    embedded!("queue-row.js", SCRIPT),
    embedded!("queue.js", SCRIPT),
    embedded!("reading.js", SCRIPT),
    embedded!("registry.js", SCRIPT),
    embedded!("review.js", SCRIPT),
    embedded!("rows.js", SCRIPT),
    embedded!("runs.js", SCRIPT),
    embedded!("sample.js", SCRIPT),
    embedded!("session.js", SCRIPT),
    embedded!("shadow.js", SCRIPT),
    embedded!("tabs.js", SCRIPT),
    embedded!("traffic.js", SCRIPT),
    embedded!("training.js", SCRIPT),
    embedded!("verdict.js", SCRIPT),
    embedded!("virtual-list.js", SCRIPT),
    embedded!("worker.js", SCRIPT),
    embedded!("vendor/uPlot.esm.js", SCRIPT),
    embedded!("vendor/uPlot.LICENSE.txt", TEXT),
    embedded!("vendor/uPlot.min.css", STYLE),
];

/// The web page at `/`, its files, and `rest` for every other path.
pub(crate) struct Files<E> {
    pub(crate) rest: E,
}

impl<E: Endpoint> Endpoint for Files<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let asked = request.uri().path();
        let Some(&(path, content_type, body)) = FILES.iter().find(|(path, ..)| *path == asked) else {
            return self.rest.call(request).await.map(IntoResponse::into_response);
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(MethodNotAllowedError.into());
        }
        let mut response = document(content_type, PAGE_POLICY, Bytes::from_static(body));
        response.set_data(PathPattern(path.into()));
        Ok(response)
    }
}

/// Swagger UI, with an icon: without one browsers ask for `/favicon.ico`.
pub(crate) fn swagger(html: String) -> impl Endpoint {
    let html = Bytes::from(html.replacen("<head>", "<head>\n<link rel=\"icon\" href=\"data:,\">", 1));
    make_sync(move |_| document(HTML, SWAGGER_POLICY, html.clone()))
}

/// A JSON document.
pub(crate) fn json(text: String) -> impl Endpoint {
    let text = Bytes::from(text);
    make_sync(move |_| document("application/json", PAGE_POLICY, text.clone()))
}

/// The list of all kinds of problems.
pub(crate) fn problems() -> impl Endpoint {
    make_sync(|_| document(HTML, PAGE_POLICY, kind::index().into()))
}

/// The page of a kind of problem, at the path in a problem's `type`.
pub(crate) fn problem() -> impl Endpoint {
    make_sync(|request: Request| match Kind::of(&request.path_params::<String>().unwrap_or_default()) {
        Some(kind) => Ok(document(HTML, PAGE_POLICY, kind.page().into())),
        None => Err(poem::Error::from(NotFoundError)),
    })
}

/// The metrics for Prometheus.
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
