//! Logs of the long-running parts: to standard error, as text or as one JSON object a line.

use std::io;

use opentelemetry::{Context, trace::TraceContextExt as _};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormattedFields,
        format::{Format, Json, JsonFields, Writer},
    },
    registry::LookupSpan,
};

use crate::settings::names;

/// The default. The SDK's core logs task tokens and payloads with its warnings, so only its errors are logged. The exporter
/// of traces would log every batch.
const FILTER: &str = "info,temporalio_sdk_core=error,temporalio_client=error,opentelemetry=warn,opentelemetry_sdk=warn,\
                      opentelemetry-otlp=warn,opentelemetry_otlp=warn";

/// Crates whose spans are logged. Spans of the SDK may hold payloads.
const OURS: [&str; 2] = ["activities", "api"];

/// Starts logging. Call it once in a process.
///
/// `RUST_LOG` adds to [`FILTER`]: the SDK logs only errors unless `RUST_LOG` names it.
pub(crate) fn start() {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Log);
    if std::env::var(names::LOG_FORMAT).is_ok_and(|format| format == "json") {
        builder.json().event_format(WithIds::new()).init();
    } else {
        builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init();
    }
    // The default hook prints a panic's own words, which may quote a comment: where it happened is enough.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
}

fn filter(added: Option<&str>) -> EnvFilter {
    let added = added.filter(|added| !added.is_empty()).map(|added| EnvFilter::try_new(format!("{FILTER},{added}")));
    added.and_then(Result::ok).unwrap_or_else(|| FILTER.into())
}

/// Standard error, which may be a file on a full disk: a line that cannot be written is lost, and the process goes on.
struct Log;

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // An error would be printed to standard error, which panics where that cannot be written.
        let _ = io::stderr().write_all(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON lines that begin with ids: `trace_id` and `span_id`, `request_id`, and the fields of the spans around the line, such
/// as `workflow_id` and `run_id`. An id that does not apply is absent.
struct WithIds(Format<Json>);

impl WithIds {
    fn new() -> Self {
        Self(tracing_subscriber::fmt::format().json().with_current_span(false).with_span_list(false))
    }
}

impl<S> FormatEvent<S, JsonFields> for WithIds
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writer.write_char('{')?;
        let current = Context::current();
        let span = current.span().span_context().clone();
        if span.is_valid() {
            write!(writer, r#""trace_id":"{}","span_id":"{}","#, span.trace_id(), span.span_id())?;
        }
        if let Some(id) = api::request_id() {
            // It has no character that JSON escapes.
            write!(writer, r#""request_id":"{id}","#)?;
        }
        let spans = context.event_scope().into_iter().flatten();
        for span in spans.filter(|span| OURS.iter().any(|ours| span.metadata().target().starts_with(ours))) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>().map_or("", |fields| &fields.fields);
            let members = fields.trim().trim_start_matches('{').trim_end_matches('}');
            if !members.is_empty() {
                write!(writer, "{members},")?;
            }
        }
        writer.write_str(line.strip_prefix('{').unwrap_or(&line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rust_log_says_is_added_and_the_sdk_stays_quiet() {
        let levels = |added| filter(added).to_string();
        for (added, expected) in [
            (None, "info"),
            (Some(""), "info"),
            (Some("debug"), "debug"),
            (Some("api=debug"), "info"),
            (Some("not a filter=="), "info"),
        ] {
            let text = levels(added);
            let all: Vec<&str> = text.split(',').collect();
            assert!(all.contains(&expected) && all.contains(&"temporalio_sdk_core=error"), "{added:?}: {text}");
        }
        assert!(levels(Some("api=debug")).contains("api=debug"));
        assert!(levels(Some("temporalio_sdk_core=debug")).contains("temporalio_sdk_core=debug"));
    }
}
