//! The store on S3: SeaweedFS, MinIO, AWS or any server that supports `If-None-Match: *`.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Region, StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_http_client::{
    pool::{Client as PooledClient, ConnectionPool},
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::{Created, Store, StoreError, clock::StoreClock, store::Entry, trace::traced};

/// Time limit for a connection: the server is on the same network.
const CONNECT: Duration = Duration::from_secs(2);
/// Time limit for one try.
///
/// Objects have at most some tens of MB, so a longer try is stuck.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Tries of an operation.
///
/// On a store that fails three calls of ten, 999 of a thousand operations succeed. If the store fails all calls, the
/// SDK's budget limits the repetitions: a hundred, and one more for every five successes.
const TRIES: u32 = 6;
/// The pause before the second try.
///
/// Each pause is twice the one before, times a random number below one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Tries of a body that breaks off or has a wrong checksum.
///
/// The SDK repeats a request only if its head fails.
const BODIES: u32 = 3;
/// Time limit for all tries and pauses: a promotion must not wait longer.
const OPERATION: Duration = Duration::from_secs(15);
/// Time limit for a listing, which has a page for each thousand objects.
const LISTING: Duration = Duration::from_mins(2);

/// Operations of a process at the same time.
///
/// Each has a connection, and a process may open only so many files.
const OPERATIONS_AT_ONCE: usize = 64;

/// An idle connection is probed this often, so a dropped one is noticed before use.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Where the bucket is, and the credentials for it.
///
/// ```
/// use registry::{S3Settings, Secret};
///
/// let settings = S3Settings {
///     endpoint: "http://127.0.0.1:9000/".to_owned(),
///     bucket: "threatwatch".to_owned(),
///     region: "us-east-1".to_owned(),
///     access_key_id: "threatwatch".to_owned(),
///     secret_access_key: Secret::new("a long secret".to_owned()),
/// };
/// assert_eq!(settings.place(), "http://127.0.0.1:9000/threatwatch");
/// assert!(!format!("{settings:?}").contains("a long secret"));
/// ```
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// `http://127.0.0.1:9000`; path-style addresses are used.
    pub endpoint: String,
    /// The bucket; it is created if it does not exist.
    pub bucket: String,
    /// `AWS_REGION`; any word for servers without regions.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Secret,
}

impl S3Settings {
    /// Endpoint and bucket, which identify the bucket.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}", self.endpoint.trim_end_matches('/'), self.bucket)
    }
}

/// A text that debug output never shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A bucket.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    bucket: String,
    places: Arc<Semaphore>,
    clock: StoreClock,
}

impl S3Store {
    /// A client for the bucket. Nothing is sent yet.
    #[must_use]
    pub fn new(settings: &S3Settings) -> Self {
        let pool = ConnectionPool::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tcp_keepalive(KEEP_ALIVE)
            .build_https()
            .expect("the settings of the pool are constant");
        let http = PooledClient::new(&pool).expect("the pool has one partition");
        let credentials = Credentials::new(
            &settings.access_key_id,
            settings.secret_access_key.expose(),
            None,
            None,
            "threatwatch settings",
        );
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build();
        // A body that stalls has the same time limit as a head.
        let stalled = StalledStreamProtectionConfig::enabled().grace_period(ATTEMPT).build();
        let clock = StoreClock::default();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .endpoint_url(&settings.endpoint)
            .force_path_style(true)
            .region(Region::new(settings.region.clone()))
            .credentials_provider(credentials)
            .timeout_config(timeouts)
            .stalled_stream_protection(stalled)
            .retry_config(retry(TRIES))
            .interceptor(clock.clone())
            .build();
        let places = Arc::new(Semaphore::new(OPERATIONS_AT_ONCE));
        Self { client: Client::from_conf(config), bucket: settings.bucket.clone(), places, clock }
    }

    /// Creates the bucket unless it exists. It has the time limit of any other operation.
    pub async fn ensure_bucket(&self) -> Result<(), StoreError> {
        let opening = async {
            if self.client.head_bucket().bucket(&self.bucket).send().await.is_ok() {
                return Ok(());
            }
            match self.client.create_bucket().bucket(&self.bucket).send().await {
                Ok(_) => Ok(()),
                Err(error) if matches!(error.code(), Some("BucketAlreadyOwnedByYou" | "BucketAlreadyExists")) => Ok(()),
                Err(error) => Err(failure("open", &self.bucket, error)),
            }
        };
        within(OPERATION, "open", &self.bucket, opening).await
    }
}

impl S3Store {
    /// Takes one of the places first. The time limit includes the wait for it.
    async fn within<T>(
        &self,
        time: Duration,
        operation: &'static str,
        name: &str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let work = async {
            let _place = self.places.acquire().await;
            work.await
        };
        traced(operation, &self.bucket, name, Box::pin(within(time, operation, name, work))).await
    }

    async fn try_get(&self, name: &str, tries: u32) -> Result<Option<Bytes>, StoreError> {
        let mut bodies = tries.min(BODIES);
        loop {
            let get = self.client.get_object().bucket(&self.bucket).key(name).customize();
            let object = match get.config_override(with_tries(tries)).send().await {
                Ok(object) => object,
                Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
                Err(error) => return Err(failure("read", name, error)),
            };
            bodies -= 1;
            match object.body.collect().await {
                Ok(body) => return Ok(Some(body.into_bytes())),
                Err(error) if bodies == 0 => return Err(broken_off("read", name, causes(&error), Some(error.into()))),
                Err(error) => tracing::debug!(name, reason = causes(&error), "a body is requested again"),
            }
        }
    }

    async fn try_create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        let put = self.client.put_object().bucket(&self.bucket).key(name).if_none_match("*").body(body.into());
        match put.send().await {
            Ok(_) => Ok(Created::New),
            Err(error) if status(&error) == Some(412) => Ok(Created::Exists),
            // 409: another write of this name is under way. Which one won is known when the object can be read.
            Err(error) if status(&error) == Some(409) => match self.try_get(name, TRIES).await? {
                Some(_) => Ok(Created::Exists),
                None => Err(StoreError { is_transient: true, ..failure("write", name, error) }),
            },
            Err(error) => Err(failure("write", name, error)),
        }
    }

    async fn try_entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        let mut pages = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        loop {
            let next = async {
                let page = pages.next().await.transpose();
                page.map_err(|error| failure("list", prefix, error))
            };
            let Some(page) = within(OPERATION, "list", prefix, next).await? else { break };
            let found = page.contents.unwrap_or_default().into_iter().filter_map(|object| {
                let written = object.last_modified.and_then(|at| at.to_millis().ok()).unwrap_or(i64::MAX);
                Some(Entry { name: object.key?, written, bytes: object.size.unwrap_or(0).max(0) as u64 })
            });
            entries.extend(found);
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    async fn try_delete(&self, name: &str, tries: u32) -> Result<(), StoreError> {
        let delete = self.client.delete_object().bucket(&self.bucket).key(name).customize();
        match delete.config_override(with_tries(tries)).send().await {
            Ok(_) => Ok(()),
            Err(error) if status(&error) == Some(404) => Ok(()),
            Err(error) => Err(failure("delete", name, error)),
        }
    }

    async fn try_refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError> {
        // The CRC-32 of nothing, and a body.
        let put = self.client.put_object().bucket(&self.bucket).key(name).checksum_crc32("AAAAAA==");
        match put.body(Bytes::from_static(b"a body").into()).send().await {
            Err(error) if status(&error).is_some_and(|code| (400..500).contains(&code)) => {
                Ok(self.try_get(name, TRIES).await?.is_none())
            }
            Ok(_) => Ok(false),
            Err(error) => Err(failure("write", name, error)),
        }
    }
}

#[async_trait]
impl Store for S3Store {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.within(OPERATION, "read", name, self.try_get(name, TRIES)).await
    }

    async fn get_at_once(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        // Takes no place: it checks whether the store answers.
        within(OPERATION, "read", name, self.try_get(name, 1)).await
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        self.within(OPERATION, "write", name, Box::pin(self.try_create(name, body))).await
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.within(LISTING, "list", prefix, self.try_entries(prefix)).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.within(OPERATION, "delete", name, self.try_delete(name, TRIES)).await
    }

    async fn delete_at_once(&self, name: &str) -> Result<(), StoreError> {
        self.within(OPERATION, "delete", name, self.try_delete(name, 1)).await
    }

    async fn refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError> {
        self.within(OPERATION, "write", name, Box::pin(self.try_refuses_a_wrong_checksum(name))).await
    }

    fn now(&self) -> i64 {
        self.clock.now()
    }
}

fn retry(tries: u32) -> RetryConfig {
    RetryConfig::standard().with_max_attempts(tries).with_initial_backoff(FIRST_PAUSE)
}

fn with_tries(tries: u32) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder().retry_config(retry(tries))
}

/// Ends an operation after a time, which includes tries and bodies.
async fn within<T>(
    time: Duration,
    operation: &'static str,
    name: &str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let given_up = |_| Err(broken_off(operation, name, format!("it did not finish within {} s", time.as_secs()), None));
    tokio::time::timeout(time, work).await.unwrap_or_else(given_up)
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// An error and its causes, from the outermost to the innermost.
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !words.last().is_some_and(|last| last.contains(&cause)) {
            words.push(cause);
        }
        next = error.source();
    }
    words.join(": ")
}

fn broken_off(
    operation: &'static str,
    name: &str,
    reason: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError { operation, name: name.to_owned(), reason, is_transient: true, source }
}

fn failure<E>(operation: &'static str, name: &str, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let is_transient = match status(&error) {
        Some(code) => code >= 500 || code == 429 || code == 408,
        None => !matches!(error, SdkError::ConstructionFailure(_)),
    };
    let reason = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => causes(&error),
    };
    StoreError { operation, name: name.to_owned(), reason, is_transient, source: Some(Box::new(error)) }
}
