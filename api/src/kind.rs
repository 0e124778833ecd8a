//! The kinds of problems, and a page for each under `/problems`.

use std::fmt::Write as _;

/// The kind of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MalformedRequest,
    InvalidInput,
    PayloadTooLarge,
    UnsupportedMediaType,
    MethodNotAllowed,
    NotFound,
    Unauthorized,
    Forbidden,
    ForeignOrigin,
    Misdirected,
    TooManyRequests,
    Conflict,
    OperationInProgress,
    NotWaiting,
    GateFailed,
    NoRollbackTarget,
    Corrupt,
    NoModel,
    StoreUnavailable,
    StoreUnsafe,
    OrchestratorUnavailable,
    Stopping,
    Timeout,
    Internal,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 24] = [
        Self::MalformedRequest,
        Self::InvalidInput,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::MethodNotAllowed,
        Self::NotFound,
        Self::Unauthorized,
        Self::Forbidden,
        Self::ForeignOrigin,
        Self::Misdirected,
        Self::TooManyRequests,
        Self::Conflict,
        Self::OperationInProgress,
        Self::NotWaiting,
        Self::GateFailed,
        Self::NoRollbackTarget,
        Self::Corrupt,
        Self::NoModel,
        Self::StoreUnavailable,
        Self::StoreUnsafe,
        Self::OrchestratorUnavailable,
        Self::Stopping,
        Self::Timeout,
        Self::Internal,
    ];

    /// The path of its page: the member `type` of a problem.
    pub(crate) fn path(self) -> String {
        format!("/problems/{}", self.name())
    }

    /// The kind of a name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        self.words().0
    }

    pub(crate) fn title(self) -> &'static str {
        self.words().1
    }

    /// Name, title, and what to do.
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::MalformedRequest => (
                "malformed-request",
                "The request cannot be read",
                "The body is not a JSON object of the form in /docs, or a parameter or header is missing or malformed. \
                 The detail names the field, or the position where the JSON is broken. Change the request: the same \
                 request will be refused again.",
            ),
            Self::InvalidInput => (
                "invalid-input",
                "The input is invalid",
                "The request has a value that cannot be used, such as an empty comment, a comment that is too long, or \
                 a name that does not exist. The detail names the field. Change the request.",
            ),
            Self::PayloadTooLarge => (
                "payload-too-large",
                "The request is too large",
                "The body has more bytes than the service accepts. The detail gives the limit. An operator can change \
                 the limit with THREATWATCH_MAX_BODY_BYTES, and for many comments with THREATWATCH_MAX_BATCH_BYTES.",
            ),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                "The content type is not supported",
                "The body must be JSON and not compressed. Send the header Content-Type: application/json and no \
                 Content-Encoding.",
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                "The method is not allowed here",
                "The path exists, but not for this method. The header Allow lists the methods.",
            ),
            Self::NotFound => (
                "not-found",
                "Not found",
                "There is nothing at this path, or the named version, run or entry does not exist or was deleted. \
                 /docs lists the paths. GET /models lists the versions.",
            ),
            Self::Unauthorized => (
                "unauthorized",
                "An API key is needed",
                "The request has no API key, or its key is wrong or revoked. Send the key as Authorization: Bearer KEY \
                 or as X-API-Key: KEY. An operator makes a key with `threatwatch keys new NAME --role ROLE`.",
            ),
            Self::Forbidden => (
                "forbidden",
                "The API key does not allow this",
                "The key is valid but lacks the role that the detail names. An operator makes a key with that role by \
                 `threatwatch keys new NAME --role ROLE`.",
            ),
            Self::ForeignOrigin => (
                "foreign-origin",
                "The request comes from another site's page",
                "A browser sent the request for a page of another origin. The service accepts changes only from its \
                 own page and from programs. An operator can allow an origin with `serve --cors-origin ORIGIN`.",
            ),
            Self::Misdirected => (
                "misdirected",
                "The service is not known under this name",
                "The header Host names a host that the service does not accept. An operator can add a host with \
                 `serve --host NAME`.",
            ),
            Self::TooManyRequests => (
                "too-many-requests",
                "Too many requests",
                "The key is over its rate limit, or the service is at one of its limits: concurrent requests, streams, or \
                 memory for bodies. Wait the seconds that the header Retry-After gives, then send the request again.",
            ),
            Self::Conflict => (
                "conflict",
                "Production has changed",
                "Production is not at the expected generation, or another promotion came first. Nothing was changed. \
                 Look at GET /models/history, then decide again.",
            ),
            Self::OperationInProgress => (
                "operation-in-progress",
                "Another promotion or rollback is running",
                "Only one promotion or rollback runs at a time. The detail names the running one and who requested it. \
                 Wait until it ends, then send the request again.",
            ),
            Self::NotWaiting => (
                "not-waiting",
                "The run does not wait for approval",
                "The run has not reached its approval yet, or it was already approved or rejected. GET /runs/status \
                 shows its state.",
            ),
            Self::GateFailed => (
                "gate-failed",
                "The gate refuses the model",
                "At least one check of the gate failed. The detail names it. Nothing was changed. A dry run of POST \
                 /promote shows the full report.",
            ),
            Self::NoRollbackTarget => (
                "no-rollback-target",
                "There is no version to roll back to",
                "The history has no earlier version, or not the named one. GET /models/history lists the versions that \
                 were in production.",
            ),
            Self::Corrupt => (
                "corrupt",
                "Stored bytes are corrupt",
                "An object in the store does not have the bytes that were written. It is not used. The model that \
                 serves stays in use. The detail names the object. `threatwatch models verify` checks all objects.",
            ),
            Self::NoModel => (
                "no-model",
                "No model is in production",
                "The object store answers, but there is no model. If no version was promoted yet, train one with POST \
                 /train and promote it with POST /promote. If the newest promoted version cannot be loaded, the detail \
                 says why.",
            ),
            Self::StoreUnavailable => (
                "store-unavailable",
                "The object store does not answer",
                "The request needs the object store, which does not answer. The service keeps trying and recovers by \
                 itself. Wait the seconds that the header Retry-After gives, then send the request again. `threatwatch \
                 doctor` shows the cause.",
            ),
            Self::StoreUnsafe => (
                "store-unsafe",
                "The object store cannot be trusted with promotions",
                "The store lacks a guarantee that promotions need. The detail names it. Nothing is promoted on this \
                 store. Use another store.",
            ),
            Self::OrchestratorUnavailable => (
                "orchestrator-unavailable",
                "Temporal does not answer",
                "Training, promotion, rollback and approval need Temporal, which does not answer. Comments are still \
                 judged. Wait the seconds that the header Retry-After gives, then send the request again. `threatwatch \
                 doctor` shows the cause.",
            ),
            Self::Stopping => (
                "stopping",
                "The service is stopping",
                "This replica is shutting down. It answers the requests that have arrived. Send new requests to \
                 another replica.",
            ),
            Self::Timeout => (
                "timeout",
                "The request took too long",
                "The body did not arrive in time, or the answer was not ready in time. A training run or a promotion \
                 that was started may still be running: check before you send the request again.",
            ),
            Self::Internal => (
                "internal",
                "Internal error",
                "The service failed. Give the request id to its operator: the log has a line with it.",
            ),
        }
    }

    /// Its page, as HTML.
    pub(crate) fn page(self) -> String {
        let (name, title, help) = self.words();
        let help = escaped(help);
        document(
            title,
            &format!("<p>{help}</p>\n<p><code>{name}</code></p>\n<p><a href=\"/problems\">All problems</a></p>"),
        )
    }
}

/// The list of all kinds, as HTML.
pub(crate) fn index() -> String {
    let mut items = String::from("<ul>\n");
    for kind in Kind::ALL {
        let (name, title) = (kind.name(), kind.title());
        let _ = writeln!(items, "<li><a href=\"/problems/{name}\">{title}</a></li>");
    }
    document("Problems that the API answers with", &(items + "</ul>"))
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title} · threatwatch</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n<main>\n\
         <section class=\"card prose\">\n<h1>{title}</h1>\n\
         {body}\n</section>\n</main>\n</body>\n</html>\n"
    )
}

/// Our own text as HTML, with code between backticks.
fn escaped(text: &str) -> String {
    let mut html = String::new();
    for (at, part) in text.split('`').enumerate() {
        let part = part.replace('&', "&amp;").replace('<', "&lt;");
        html += &if at % 2 == 1 { format!("<code>{part}</code>") } else { part };
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_page_of_its_own() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(Kind::of(kind.name()), Some(kind));
            assert_eq!(Kind::ALL.iter().position(|k| k.name() == kind.name()), Some(at), "two of one name");
            assert!(kind.page().contains(kind.title()) && index().contains(&kind.path()));
        }
        assert_eq!(Kind::of("x"), None);
    }
}
