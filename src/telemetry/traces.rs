//! Traces: one from the HTTP request over the workflow and its activities to the calls of the object store.
//!
//! They are sent by OTLP, as protobuf over HTTP, where [`ENDPOINT`] names a collector; without it nothing is traced and
//! nothing is sent. A collector that is away costs the spans that were meant for it, and no request.

use std::{sync::OnceLock, time::Duration};

use anyhow::{Context as _, bail};
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use temporalio_sdk::{
    SimplePlugin,
    opentelemetry::{OpenTelemetryPlugin, WorkflowIdGenerator},
};

/// OpenTelemetry's variables that we answer for; its libraries read the others of the same prefix.
pub(crate) const VARIABLES: [&str; 7] = [
    ENDPOINT,
    ENDPOINT_OF_TRACES,
    "OTEL_EXPORTER_OTLP_HEADERS",
    SERVICE_NAME,
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const ENDPOINT_OF_TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"];
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// What is left to send at the end has this time.
const PATIENCE: Duration = Duration::from_secs(2);

static PLUGIN: OnceLock<SimplePlugin> = OnceLock::new();

/// Traces that are sent until this is dropped; then what is left is sent.
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Begins to trace, if a collector is named. `service` is what the collector calls this part where nobody says so.
    ///
    /// Fails on settings that make no sense, with the variable's name; asks nobody.
    pub(crate) fn start(service: &'static str) -> anyhow::Result<Self> {
        let Some(endpoint) = [ENDPOINT_OF_TRACES, ENDPOINT].into_iter().find(|name| set(name).is_some()) else {
            return Ok(Self(None));
        };
        if set(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Self(None));
        }
        for name in PROTOCOLS {
            if let Some(protocol) = set(name).filter(|protocol| protocol != "http/protobuf") {
                bail!("{name} is {protocol}: only http/protobuf is spoken");
            }
        }
        let address = set(endpoint).unwrap_or_default();
        if !address.starts_with("http://") && !address.starts_with("https://") {
            bail!("{endpoint} is not a URL such as http://127.0.0.1:4318");
        }
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build();
        let exporter = exporter.with_context(|| format!("trace to the collector that {endpoint} names"))?;
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if set(SERVICE_NAME).is_none() {
            resource = resource.with_service_name(service);
        }
        let provider = SdkTracerProvider::builder()
            .with_id_generator(WorkflowIdGenerator::default())
            .with_resource(resource.build())
            .with_batch_exporter(exporter)
            .build();
        global::set_tracer_provider(provider.clone());
        global::set_text_map_propagator(TraceContextPropagator::new());
        // Without baggage, which could say anything: histories keep what is carried.
        PLUGIN.get_or_init(|| OpenTelemetryPlugin::builder().propagator(TraceContextPropagator::new()).build());
        tracing::info!(collector = without_credentials(&address), "traces are sent");
        Ok(Self(Some(provider)))
    }

    /// Whether anything is traced.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|provider| provider.shutdown_with_timeout(PATIENCE)) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// What takes trace contexts to Temporal and back; none where nothing is traced.
pub(crate) fn plugin() -> Option<SimplePlugin> {
    PLUGIN.get().cloned()
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// An address without `user:password@`.
fn without_credentials(address: &str) -> String {
    match address.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://{host}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collectors_password_is_not_logged() {
        assert_eq!(without_credentials("https://me:secret@collector:4318"), "https://collector:4318");
        assert_eq!(without_credentials("http://127.0.0.1:4318"), "http://127.0.0.1:4318");
    }
}
