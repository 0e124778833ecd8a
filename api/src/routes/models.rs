//! `/models`: the registry, read-only.

use model::Version;
use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use super::{Tag, answers};
use crate::{
    Context,
    figures::{ModelSummary, PromotionSummary},
    problem::Problem,
};

pub(crate) struct Models(pub(crate) Context);

/// Every registered version and what is in production.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct ModelList {
    /// The newest promotion.
    production: Option<PromotionSummary>,
    /// What this service answers with; it follows production within two seconds.
    serving: Option<ServingModel>,
    /// Every version, newest first.
    models: Vec<ModelSummary>,
}

/// What a service answers with.
#[derive(Debug, Object)]
struct ServingModel {
    /// The version.
    version: String,
    /// The generation.
    generation: u64,
}

/// Every promotion.
#[derive(Debug, Object)]
struct History {
    /// Newest first.
    promotions: Vec<PromotionSummary>,
}

answers! {
    /// Answers of `GET /models`.
    ListAnswer {
        /// The list.
        #[oai(status = 200)]
        Ok(Json<ModelList>),
    }
}
answers! {
    /// Answers of `GET /models/{version}`.
    ModelAnswer {
        /// The version.
        #[oai(status = 200)]
        Ok(Json<ModelSummary>),
    }
}
answers! {
    /// Answers of `GET /models/production`.
    ProductionAnswer {
        /// The newest promotion.
        #[oai(status = 200)]
        Ok(Json<PromotionSummary>),
    }
}
answers! {
    /// Answers of `GET /models/history`.
    HistoryAnswer {
        /// Every promotion.
        #[oai(status = 200)]
        Ok(Json<History>),
    }
}

#[OpenApi(prefix_path = "/models", tag = "Tag::Models")]
impl Models {
    /// List the registered versions.
    #[oai(path = "/", method = "get")]
    async fn list(&self) -> ListAnswer {
        match self.read_list().await {
            Ok(list) => ListAnswer::Ok(Json(list)),
            Err(error) => error.into(),
        }
    }

    /// Show what is in production.
    #[oai(path = "/production", method = "get")]
    async fn production(&self) -> ProductionAnswer {
        match self.0.registry.production().await {
            Ok(Some(promotion)) => ProductionAnswer::Ok(Json(promotion.record.into())),
            Ok(None) => Problem::no_model().into(),
            Err(error) => error.into(),
        }
    }

    /// Show every promotion, newest first.
    #[oai(path = "/history", method = "get")]
    async fn history(&self) -> HistoryAnswer {
        match self.0.registry.history().await {
            Ok(history) => {
                let promotions = history.into_iter().rev().map(|promotion| promotion.record.into()).collect();
                HistoryAnswer::Ok(Json(History { promotions }))
            }
            Err(error) => error.into(),
        }
    }

    /// Show one version.
    #[oai(path = "/:version", method = "get")]
    async fn show(
        &self,
        /// The version, e.g. `20261123T021009Z-3f9c2a1b`.
        version: Path<String>,
    ) -> ModelAnswer {
        let Ok(version) = Version::parse(&version.0) else {
            return Problem::invalid("The version does not look like 20261123T021009Z-3f9c2a1b.").into();
        };
        match self.read_model(&version).await {
            Ok(model) => ModelAnswer::Ok(Json(model)),
            Err(error) => error.into(),
        }
    }
}

impl Models {
    async fn read_list(&self) -> Result<ModelList, registry::Error> {
        let production = self.0.registry.production().await?.map(|promotion| promotion.record);
        let is_live = |version: &Version| production.as_ref().is_some_and(|record| record.version == *version);
        let manifests = self.0.registry.manifests().await?;
        let models = manifests.into_iter().map(|manifest| {
            let in_production = is_live(&manifest.version);
            ModelSummary::new(manifest, in_production)
        });
        let models = models.collect();
        let serving = self
            .0
            .serving
            .live()
            .map(|live| ServingModel { version: live.manifest.version.to_string(), generation: live.generation.0 });
        Ok(ModelList { production: production.map(Into::into), serving, models })
    }

    async fn read_model(&self, version: &Version) -> Result<ModelSummary, registry::Error> {
        let (manifest, _) = self.0.registry.manifest(version).await?;
        let production = self.0.registry.production().await?;
        Ok(ModelSummary::new(manifest, production.is_some_and(|p| p.record.version == *version)))
    }
}
