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

/// The SDK's core logs task tokens and payloads with its warnings, and the exporter of traces each of its batches: errors
/// are enough.
const FILTER: &str = "info,temporalio_sdk_core=error,temporalio_client=error,opentelemetry=warn,opentelemetry_sdk=warn,\
                      opentelemetry-otlp=warn,opentelemetry_otlp=warn";

/// Crates whose spans are taken: the SDK's may hold what no log should.
const OURS: [&str; 2] = ["activities", "api"];

/// Begins to log. Once a process.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| FILTER.into());
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

/// JSON whose first members say what a line belongs to: `trace_id` and `span_id`, `request_id`, and the fields of the
/// spans around it, such as `workflow_id` and `run_id`. Those that do not apply are left out.
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
            // Of plain characters alone.
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
