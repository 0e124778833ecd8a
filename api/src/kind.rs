//! The kinds of problems, and the page of each under `/problems`.

use std::fmt::Write as _;

/// What kind of problem it is.
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

    /// The address of its page: the member `type` of a problem.
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
                "The body is no JSON object of the form that /docs shows, or a parameter or header is missing or \
                 malformed. The detail names the field, or the place where the JSON is broken. Change the request; the \
                 same one will be refused again.",
            ),
            Self::InvalidInput => (
                "invalid-input",
                "The input is invalid",
                "The request could be read, and a value in it cannot be used: an empty comment, a comment that is too \
                 long, a name that does not exist. The detail names the field. Change the request.",
            ),
            Self::PayloadTooLarge => (
                "payload-too-large",
                "The request is too large",
                "The body has more bytes than the service accepts. The detail says how many it may have. An operator can \
                 change that with THREATWATCH_MAX_BODY_BYTES.",
            ),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                "The content type is not supported",
                "Bodies must be JSON, not compressed. Send the header Content-Type: application/json and no \
                 Content-Encoding.",
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                "The method is not allowed here",
                "The path exists, for other methods. The header Allow names them.",
            ),
            Self::NotFound => (
                "not-found",
                "Not found",
                "Nothing is at this path, or what was named does not exist (any more). GET /models lists the versions, \
                 /docs the paths.",
            ),
            Self::Unauthorized => (
                "unauthorized",
                "An API key is needed",
                "The request has no API key, or one that is wrong or revoked. Send it as Authorization: Bearer KEY, or \
                 as X-API-Key: KEY. An operator makes one with `threatwatch keys new NAME --role ROLE`.",
            ),
            Self::Forbidden => (
                "forbidden",
                "The API key does not allow this",
                "The key is good and lacks the role that the detail names. An operator makes a key with another role \
                 with `threatwatch keys new NAME --role ROLE`.",
            ),
            Self::ForeignOrigin => (
                "foreign-origin",
                "The request comes from another site's page",
                "A browser sent the request on behalf of a page of another origin. The service takes changes only from \
                 its own page and from programs. An operator can allow an origin with `serve --cors-origin ORIGIN`.",
            ),
            Self::Misdirected => (
                "misdirected",
                "The service is not known under this name",
                "The header Host names another host than those that the service is served under. An operator can add \
                 one with `serve --host NAME`.",
            ),
            Self::TooManyRequests => (
                "too-many-requests",
                "Too many requests",
                "The key asks more often than it may, or the service answers as many requests at once as it may. Wait \
                 the seconds of the header Retry-After, then send the request again.",
            ),
            Self::Conflict => (
                "conflict",
                "Production has changed",
                "Production is not at the generation that was expected, or somebody else promoted at the same time. \
                 Nothing was changed. Look at GET /models/history, then decide again.",
            ),
            Self::OperationInProgress => (
                "operation-in-progress",
                "Another promotion or rollback is running",
                "One promotion or rollback runs at a time. The detail says what is running and for whom. Wait for its \
                 end, then send the request again.",
            ),
            Self::NotWaiting => (
                "not-waiting",
                "The run does not wait for approval",
                "The run has not come to its approval yet, or somebody decided already. GET /runs/status says where it \
                 stands.",
            ),
            Self::GateFailed => (
                "gate-failed",
                "The gate refuses the model",
                "At least one check of the gate failed; the detail names it. Nothing was changed. A dry run of POST \
                 /promote shows the whole report.",
            ),
            Self::NoRollbackTarget => (
                "no-rollback-target",
                "There is nothing to go back to",
                "The history has no other version, or not the one that was named. GET /models/history lists what was in \
                 production.",
            ),
            Self::Corrupt => (
                "corrupt",
                "Stored bytes are corrupt",
                "An object in the store does not have the bytes that were written. It is not used, and the model that \
                 serves goes on. An operator finds the object in the detail; `threatwatch models verify` checks all.",
            ),
            Self::NoModel => (
                "no-model",
                "No model is in production",
                "The store answers. Either no version was ever promoted: train one with POST /train, then promote it with \
                 POST /promote. Or the newest one cannot be loaded: the detail says why.",
            ),
            Self::StoreUnavailable => (
                "store-unavailable",
                "The object store does not answer",
                "What was asked for needs the object store, and that does not answer. The service goes on trying and \
                 recovers by itself. Wait the seconds of the header Retry-After, then send the request again. \
                 `threatwatch doctor` says more.",
            ),
            Self::StoreUnsafe => (
                "store-unsafe",
                "The object store cannot be trusted with promotions",
                "The store breaks a promise that promotions rest on; the detail says which. Nothing is promoted on it. \
                 Use another store.",
            ),
            Self::OrchestratorUnavailable => (
                "orchestrator-unavailable",
                "Temporal does not answer",
                "Training, promotion, rollback and approval need Temporal, and that does not answer. Comments are \
                 judged as before. Wait the seconds of the header Retry-After, then send the request again. `threatwatch \
                 doctor` says more.",
            ),
            Self::Stopping => (
                "stopping",
                "The service is stopping",
                "This replica was told to stop. It still answers what arrives and takes no part in what comes next. \
                 Send requests to another replica.",
            ),
            Self::Timeout => (
                "timeout",
                "The request took too long",
                "The body did not arrive in time, or the answer was not ready in time. What was started may still be \
                 going on: look before you send the request again.",
            ),
            Self::Internal => (
                "internal",
                "Internal error",
                "The service made a mistake. Tell its operator the request id: the log has a line with it.",
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

/// Our own words, with code between backticks.
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
