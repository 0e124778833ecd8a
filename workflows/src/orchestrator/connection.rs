//! The connection to Temporal.

use std::{path::Path, time::Duration};

use futures::future::BoxFuture;
use temporalio_client::{
    Client, ClientKeepAliveOptions, ClientOptions, Connection, ConnectionOptions, NamespacedClient, tonic,
};
use temporalio_common::{
    data_converters::{DataConverter, DefaultFailureConverter, PayloadConverter},
    envconfig::{DataSource, LoadClientConfigProfileOptions, load_client_config_profile},
    protos::temporal::api::workflowservice::v1::{DescribeNamespaceRequest, GetSystemInfoRequest},
};

use super::{Error, Orchestrator, refusal};

/// A server on the same network answers within this time or not at all.
const CONNECT: Duration = Duration::from_secs(2);
/// How often a connection is probed: as often as Temporal permits.
///
/// Without an answer it is closed, so a connection that
/// a firewall dropped is replaced within a quarter of a minute.
const PROBE: Duration = Duration::from_secs(10);
const PROBE_ANSWER: Duration = Duration::from_secs(5);
/// Temporal's default namespace.
const NAMESPACE: &str = "default";
/// Variables that name files.
const FILES: [&str; 3] =
    ["TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH", "TEMPORAL_TLS_SERVER_CA_CERT_PATH"];

impl Orchestrator {
    /// The client. Connects if it has not yet, within two seconds, and checks that the namespace exists.
    ///
    /// An error that a setting causes is [`Error::Settings`] and names the setting.
    ///
    /// Boxed, so that this crate compiles Temporal's client, and not each crate that waits for it.
    pub fn client(&self) -> BoxFuture<'_, Result<Client, Error>> {
        Box::pin(self.connected())
    }

    async fn connected(&self) -> Result<Client, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let (connection, mut options) = self.options()?;
        let address = connection.target.to_string();
        let connection = Connection::connect(connection).await.map_err(|error| refusal::of(&error, &address))?;
        // Messages of failures are encrypted, too: they may contain data.
        let failures = DefaultFailureConverter::new(self.codec.encrypts());
        options.data_converter = DataConverter::new(PayloadConverter::default(), failures, self.codec.clone());
        let client = Client::new(connection, options).map_err(|error| Error::Settings(error.to_string()))?;
        require_namespace(&client, &address).await?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// The namespace in the settings. Sends no request.
    pub fn namespace(&self) -> Result<String, Error> {
        Ok(self.options()?.1.namespace)
    }

    /// The address of Temporal in the settings, as `host:port`. Sends no request.
    pub fn place(&self) -> Result<String, Error> {
        let target = self.options()?.0.target;
        let host = target.host_str().unwrap_or_default();
        Ok(target.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    }

    /// Checks with one small request that Temporal answers.
    pub async fn ping(&self) -> Result<(), Error> {
        let mut service = self.client().await?.connection().workflow_service();
        let asked = service.get_system_info(tonic::Request::new(GetSystemInfoRequest {})).await;
        match asked {
            Ok(_) => Ok(()),
            Err(status) => Err(refusal::of_status(&status, &self.place()?)),
        }
    }

    fn options(&self) -> Result<(ConnectionOptions, ClientOptions), Error> {
        let wrong = |error: &dyn std::error::Error| Error::Settings(error.to_string());
        let variables = self.variables.clone().unwrap_or_default();
        for name in FILES {
            if let Some(path) = variables.get(name).filter(|path| !Path::new(path).is_file()) {
                return Err(Error::Settings(format!("{name} is {path}, but that file does not exist")));
            }
        }
        let profile = if self.variables.is_some() {
            LoadClientConfigProfileOptions::default()
        } else {
            // An empty configuration, instead of the user's.
            let nothing = DataSource::Data(b"[profile.default]\n".to_vec());
            LoadClientConfigProfileOptions::builder().config_source(nothing).disable_env(true).build()
        };
        let variables = variables.into_iter().collect();
        let profile = load_client_config_profile(profile, Some(&variables)).map_err(|error| wrong(&error))?;
        let namespace = profile.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned());
        let mut connection = ConnectionOptions::try_from(profile).map_err(|error| wrong(&error))?;
        if let Some(address) = &self.address {
            // Like the SDK: an address without a scheme uses TLS if TLS or an API key is configured.
            let is_encrypted = connection.tls_options.is_some() || connection.api_key.is_some();
            let scheme = if is_encrypted { "https" } else { "http" };
            let url = if address.contains("://") { address.clone() } else { format!("{scheme}://{address}") };
            connection.target = url.parse().map_err(|_| Error::Settings(format!("`{address}` is not an address")))?;
        }
        connection.identity.clone_from(&self.identity);
        connection.connect_timeout = Some(CONNECT);
        let probes = ClientKeepAliveOptions::builder().interval(PROBE).timeout(PROBE_ANSWER);
        connection.keep_alive = Some(probes.build());
        connection.metrics_meter.clone_from(&self.meter);
        let options = ClientOptions::new(namespace).plugins(self.traces.clone());
        Ok((connection, options.build()))
    }
}

async fn require_namespace(client: &Client, address: &str) -> Result<(), Error> {
    let namespace = client.namespace();
    let request = DescribeNamespaceRequest { namespace: namespace.clone(), ..Default::default() };
    let described = client.connection().workflow_service().describe_namespace(tonic::Request::new(request)).await;
    match described {
        Err(status) if status.code() == tonic::Code::NotFound => Err(refusal::no_namespace(&namespace, address)),
        Err(status) if matches!(status.code(), tonic::Code::Unauthenticated | tonic::Code::PermissionDenied) => {
            Err(refusal::of_status(&status, address))
        }
        // Other errors do not matter here: the next request reports a server that is away.
        _ => Ok(()),
    }
}
