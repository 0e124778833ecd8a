//! Traces: one for an HTTP request, its workflow, the activities, and their calls of the object store.
//!
//! [`ENDPOINT`] names a collector, which gets them by OTLP: protobuf over HTTP. Without it nothing is traced. If the
//! collector is down, spans are lost, and requests are not slowed.

use std::{sync::OnceLock, time::Duration};

use anyhow::{Context as _, bail};
use opentelemetry::{KeyValue, global, trace::Status};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, SpanData, SpanEvents, SpanExporter as Exporter},
};
use temporalio_sdk::{
    SimplePlugin,
    opentelemetry::{OpenTelemetryPlugin, WorkflowIdGenerator},
};

/// OpenTelemetry's variables that we document. Its libraries read more of the same prefix.
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

/// Longest wait at the end for spans that are not sent yet.
const PATIENCE: Duration = Duration::from_secs(2);

static PLUGIN: OnceLock<SimplePlugin> = OnceLock::new();

/// Sends traces until it is dropped. The drop sends the last ones.
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Starts tracing if a collector is configured. `service` is the default of [`SERVICE_NAME`].
    ///
    /// Fails on wrong settings and names the variable. It does not connect to the collector.
    pub(crate) fn start(service: &'static str) -> anyhow::Result<Self> {
        let Some(endpoint) = [ENDPOINT_OF_TRACES, ENDPOINT].into_iter().find(|name| set(name).is_some()) else {
            return Ok(Self(None));
        };
        if set(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Self(None));
        }
        for name in PROTOCOLS {
            if let Some(protocol) = set(name).filter(|protocol| protocol != "http/protobuf") {
                bail!("{name} is {protocol}: only http/protobuf is supported");
            }
        }
        // The exporter would take its default in place of an address that it cannot read.
        let address = set(endpoint).and_then(|address| reqwest::Url::parse(address.trim()).ok());
        let Some(address) = address.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) else {
            bail!("{endpoint} is not a URL such as http://127.0.0.1:4318");
        };
        if !address.username().is_empty() || address.password().is_some() {
            bail!("{endpoint} has a name or a password, which would not be sent: use OTEL_EXPORTER_OTLP_HEADERS");
        }
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
        let exporter = exporter.with_endpoint(url_of_traces(endpoint, &address)).build().map(WithoutMessages);
        let exporter = exporter.with_context(|| format!("trace to the collector that {endpoint} names"))?;
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let has_name = set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|pairs| pairs.contains("service.name="));
        if set(SERVICE_NAME).is_none() && !has_name {
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
        tracing::info!(collector = address.host_str(), port = address.port_or_known_default(), "traces are sent");
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

/// The plug-in that carries trace contexts to Temporal and back, if traces are on.
pub(crate) fn plugin() -> Option<SimplePlugin> {
    PLUGIN.get().cloned()
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The URL that spans are sent to: the one of traces as it is, else below the general one.
fn url_of_traces(setting: &str, address: &reqwest::Url) -> String {
    if setting == ENDPOINT_OF_TRACES {
        return address.to_string();
    }
    format!("{}/v1/traces", address.as_str().trim_end_matches('/'))
}

/// Sends spans without error messages: those of activities may hold names of objects and people, which payload
/// encryption hides from Temporal.
#[derive(Debug)]
struct WithoutMessages<E>(E);

impl<E: Exporter> Exporter for WithoutMessages<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        for span in &mut batch {
            span.events = SpanEvents::default();
            if matches!(span.status, Status::Error { .. }) {
                span.status = Status::error("");
            }
        }
        self.0.export(batch).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_go_to_the_path_of_traces() {
        for (setting, address, expected) in [
            (ENDPOINT, "http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            (ENDPOINT, "https://collector/otlp/", "https://collector/otlp/v1/traces"),
            (ENDPOINT_OF_TRACES, "https://collector/spans", "https://collector/spans"),
        ] {
            assert_eq!(url_of_traces(setting, &address.parse().unwrap()), expected);
        }
    }
}
