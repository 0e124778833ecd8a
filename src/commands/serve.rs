//! `threatwatch serve`: the API.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use registry::{Registry, ReplicaId};

use super::start_logging;
use crate::{
    process::Process,
    settings::{Settings, names},
    up::supervisor::stop_signal,
};

/// Settings of the API
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the API, the web page and Swagger are served
    #[arg(long, env = "THREATWATCH_ADDRESS", default_value = "127.0.0.1:8086")]
    address: SocketAddr,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    start_logging();
    let stop = stop_signal()?;
    let service = api::Service {
        // The bucket is made by others: the API starts and waits for it, however long that takes.
        registry: Registry::new(Arc::new(settings.store()?)),
        orchestrator: settings.orchestrator("api"),
        temporal_ui: settings.get(names::TEMPORAL_UI).map(|url| url.trim_end_matches('/').to_owned()),
        metrics: api::Metrics::with_process(Box::new(Process)),
        replica: ReplicaId::new(&rustix::system::uname().nodename().to_string_lossy()),
    };
    let bound = |address| tracing::info!(%address, "listening");
    api::serve(service, arguments.address, bound, async move { stop.received().await })
        .await
        .with_context(|| format!("serve the API on {}", arguments.address))
}
