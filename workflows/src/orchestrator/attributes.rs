//! The search attributes that must exist before a workflow runs.

use temporalio_client::{Client, NamespacedClient, tonic};
use temporalio_common::protos::temporal::api::{
    enums::v1::IndexedValueType,
    operatorservice::v1::{AddSearchAttributesRequest, ListSearchAttributesRequest},
};

use super::{Error, Orchestrator, refusal};
use crate::ATTRIBUTES;

type Attribute = (&'static str, IndexedValueType);

impl Orchestrator {
    /// The search attributes that are missing in the namespace.
    ///
    /// An attribute with another type is [`Error::Settings`]: runs that set it would hang.
    pub async fn missing_search_attributes(&self) -> Result<Vec<Attribute>, Error> {
        self.missing(&self.client().await?).await
    }

    /// Creates the search attributes unless they exist.
    pub async fn ensure_search_attributes(&self) -> Result<(), Error> {
        let client = self.client().await?;
        let missing = self.missing(&client).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let attributes = missing.iter().map(|(name, kind)| ((*name).to_owned(), *kind as i32)).collect();
        let request = AddSearchAttributesRequest { search_attributes: attributes, namespace: client.namespace() };
        match client.connection().operator_service().add_search_attributes(tonic::Request::new(request)).await {
            // Another worker may have created them meanwhile.
            Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(()),
            Err(status) if is_refused(&status) => {
                let command = self.command_for(&missing)?;
                Err(Error::Settings(format!(
                    "search attributes are missing, and this process may not create them: run `{command}`"
                )))
            }
            Err(status) => Err(refusal::of_status(&status, &self.place()?)),
            Ok(_) => Ok(()),
        }
    }

    /// The Temporal CLI command that creates search attributes.
    pub fn command_for(&self, attributes: &[Attribute]) -> Result<String, Error> {
        let (address, namespace) = (self.place()?, self.namespace()?);
        let flags = attributes.iter().map(|(name, kind)| format!(" --name {name} --type {}", words(*kind)));
        Ok(format!(
            "temporal operator search-attribute create --address {address} --namespace {namespace}{}",
            flags.collect::<String>()
        ))
    }

    async fn missing(&self, client: &Client) -> Result<Vec<Attribute>, Error> {
        let request = ListSearchAttributesRequest { namespace: client.namespace() };
        let listed = client.connection().operator_service().list_search_attributes(tonic::Request::new(request)).await;
        let known = match listed {
            Ok(listed) => listed.into_inner().custom_attributes,
            Err(status) => return Err(refusal::of_status(&status, &self.place()?)),
        };
        for (name, kind) in ATTRIBUTES {
            if let Some(other) = known.get(name).copied().filter(|known| *known != kind as i32) {
                let other = IndexedValueType::try_from(other).map_or("another one", words);
                return Err(Error::Settings(format!(
                    "the search attribute {name} of the namespace {} has the type {other}, but needs the type {}: use a \
                 namespace in which it has that type",
                    client.namespace(),
                    words(kind)
                )));
            }
        }
        Ok(ATTRIBUTES.into_iter().filter(|(name, _)| !known.contains_key(*name)).collect())
    }
}

/// The name of a type in the Temporal CLI.
fn words(kind: IndexedValueType) -> &'static str {
    match kind {
        IndexedValueType::Keyword => "Keyword",
        IndexedValueType::Double => "Double",
        IndexedValueType::Text => "Text",
        IndexedValueType::Int => "Int",
        IndexedValueType::Bool => "Bool",
        IndexedValueType::Datetime => "Datetime",
        IndexedValueType::KeywordList => "KeywordList",
        IndexedValueType::Unspecified => "Unspecified",
    }
}

fn is_refused(status: &tonic::Status) -> bool {
    matches!(status.code(), tonic::Code::PermissionDenied | tonic::Code::Unauthenticated | tonic::Code::Unimplemented)
}
