//! The connection to Temporal, and what must be there before a workflow runs.

use std::time::Duration;

use temporalio_client::{
    Client, ClientKeepAliveOptions, ClientOptions, Connection, NamespacedClient,
    envconfig::{DataSource, LoadClientConfigProfileOptions},
    tonic,
};
use temporalio_common::protos::temporal::api::{
    operatorservice::v1::{AddSearchAttributesRequest, ListSearchAttributesRequest},
    workflowservice::v1::GetSystemInfoRequest,
};

use super::{Error, Orchestrator};
use crate::ATTRIBUTES;

/// A server on the same network answers within this time or not at all.
const CONNECT: Duration = Duration::from_secs(2);
/// A connection is probed this often, as often as Temporal permits, and given up when no answer comes: one that a
/// firewall forgot is made anew in a quarter of a minute.
const PROBE: Duration = Duration::from_secs(10);
const PROBE_ANSWER: Duration = Duration::from_secs(5);

/// The innermost cause: the SDK's own words quote the structure of what is in between.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

impl Orchestrator {
    /// The client; connects if it has not yet. Bounded: two seconds for the connection.
    pub async fn client(&self) -> Result<Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let profile = if self.reads_settings {
            LoadClientConfigProfileOptions::default()
        } else {
            // A configuration that says nothing, in place of the user's.
            let nothing = DataSource::Data(b"[profile.default]\n".to_vec());
            LoadClientConfigProfileOptions::builder().config_source(nothing).disable_env(true).build()
        };
        let (mut connection, options) =
            ClientOptions::load_from_config(profile).map_err(|error| Error::Settings(error.to_string()))?;
        if let Some(address) = &self.address {
            // As the SDK does: a bare address is encrypted if TLS or an API key is configured.
            let is_encrypted = connection.tls_options.is_some() || connection.api_key.is_some();
            let scheme = if is_encrypted { "https" } else { "http" };
            let url = if address.contains("://") { address.clone() } else { format!("{scheme}://{address}") };
            connection.target = url.parse().map_err(|_| Error::Settings(format!("`{address}` is no address")))?;
        }
        connection.identity.clone_from(&self.identity);
        connection.connect_timeout = Some(CONNECT);
        let probes = ClientKeepAliveOptions::builder().interval(PROBE).timeout(PROBE_ANSWER);
        connection.keep_alive = Some(probes.build());
        connection.metrics_meter.clone_from(&self.meter);
        let connection =
            Connection::connect(connection).await.map_err(|error| Error::Unreachable(innermost(&error)))?;
        let client = Client::new(connection, options).map_err(|error| Error::Settings(error.to_string()))?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// Does Temporal answer? One small request.
    pub async fn ping(&self) -> Result<(), Error> {
        let mut service = self.client().await?.connection().workflow_service();
        let asked = service.get_system_info(tonic::Request::new(GetSystemInfoRequest {})).await;
        asked.map(|_| ()).map_err(|status| Error::Unreachable(status.message().to_owned()))
    }

    /// Creates the search attributes unless they exist.
    pub async fn ensure_search_attributes(&self) -> Result<(), Error> {
        let client = self.client().await?;
        let namespace = client.namespace();
        let mut operator = client.connection().operator_service();
        let unreachable = |status: tonic::Status| Error::Unreachable(status.message().to_owned());
        let request = ListSearchAttributesRequest { namespace: namespace.clone() };
        let listed = operator.list_search_attributes(tonic::Request::new(request)).await.map_err(unreachable)?;
        let known = listed.into_inner().custom_attributes;
        let missing = ATTRIBUTES.iter().filter(|(name, _)| !known.contains_key(*name));
        let missing: Vec<(String, i32)> = missing.map(|(name, kind)| ((*name).to_owned(), *kind as i32)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let request = AddSearchAttributesRequest { search_attributes: missing.into_iter().collect(), namespace };
        match operator.add_search_attributes(tonic::Request::new(request)).await {
            // Another worker may have been quicker.
            Err(status) if status.code() != tonic::Code::AlreadyExists => Err(unreachable(status)),
            _ => Ok(()),
        }
    }
}
