//! `/models`: reads the registry.

use std::{collections::BTreeMap, sync::Arc};

use model::{Version, evaluation::Pair};
use poem::http::StatusCode;
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    payload::{Json, PlainText},
};
use registry::ModelManifest;
use tokio::sync::Mutex;

use super::{Tag, answers};
use crate::{
    caller::{By, Read},
    context::Context,
    figures::{ModelSummary, PromotionSummary, millis},
    judging::version_of,
    kind::Kind,
    problem::Problem,
};

/// Most versions of a page.
const LARGEST_PAGE: u32 = 1000;

pub(crate) struct Models {
    context: Context,
    /// Manifests that were read before. They never change.
    known: Mutex<BTreeMap<Version, Arc<ModelManifest>>>,
}

impl From<(&'static str, Pair)> for FigureDifference {
    fn from((rows, pair): (&'static str, Pair)) -> Self {
        let [rows, unit, figure] = [rows, pair.unit, pair.figure].map(str::to_owned);
        let (a, b) = (pair.a.value, pair.b.value);
        Self { rows, unit, figure, a, b, difference: b - a, intervals_overlap: pair.intervals_overlap() }
    }
}

/// The registered versions and production.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct ModelList {
    /// The newest promotion.
    production: Option<PromotionSummary>,
    /// The version that this replica answers with. It follows production within two seconds.
    serving: Option<ServingModel>,
    /// Why no version can be promoted: the guarantee that the object store lacks.
    promotion_refused: Option<String>,
    /// Number of registered versions.
    total: u64,
    /// The value of `after` for the next page. None on the last page.
    next: Option<String>,
    /// Newest first.
    models: Vec<ModelSummary>,
}

/// Two versions side by side.
#[derive(Debug, Object)]
struct Comparison {
    /// The one version.
    a: ModelSummary,
    /// The other version.
    b: ModelSummary,
    /// Inputs of their training that differ.
    differences: Vec<Difference>,
    /// The figures of both, and how much those of `b` are higher.
    figures: Vec<FigureDifference>,
}

/// A training input that differs between two versions.
#[derive(Debug, Object)]
struct Difference {
    /// `dataset`, `trainer`, `preset`, ...
    fact: String,
    /// Its value for `a`.
    a: String,
    /// Its value for `b`.
    b: String,
}

/// A figure of two versions.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct FigureDifference {
    /// `cross_validation` or `held_out`.
    rows: String,
    /// `sentence` or `comment`.
    unit: String,
    /// `pr_auc`, `f1`, ...
    figure: String,
    /// The figure of `a`.
    a: f64,
    /// The figure of `b`.
    b: f64,
    /// `b` minus `a`.
    difference: f64,
    /// Whether the 95% intervals overlap. If they do, the difference may be chance.
    intervals_overlap: Option<bool>,
}

/// The version that a replica answers with.
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
    /// Answers of `GET /models/compare`.
    CompareAnswer {
        /// Both versions.
        #[oai(status = 200)]
        Ok(Json<Comparison>),
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

answers! {
    /// Answers of `GET /models/{version}/card`.
    CardAnswer {
        /// The card, in Markdown.
        #[oai(status = 200, content_type = "text/markdown; charset=utf-8")]
        Ok(PlainText<String>),
    }
}

#[OpenApi(prefix_path = "/models", tag = "Tag::Models")]
impl Models {
    /// List the registered versions, newest first.
    #[oai(path = "/", method = "get")]
    async fn list(
        &self,
        _by: By<Read>,
        /// Most versions to return, from 1 to 1000. The default is all.
        limit: Query<Option<u32>>,
        /// The `next` of the previous page.
        after: Query<Option<String>>,
    ) -> ListAnswer {
        if limit.0.is_some_and(|limit| !(1..=LARGEST_PAGE).contains(&limit)) {
            return Problem::invalid(format!("`limit` must be from 1 to {LARGEST_PAGE}.")).into();
        }
        let after = match after.0.as_deref().map(version_of).transpose() {
            Ok(after) => after,
            Err(problem) => return problem.into(),
        };
        let page = Page { limit: limit.0.map_or(usize::MAX, |limit| limit as usize), after };
        match self.context.ask_store(self.read_list(&page)).await {
            Ok(list) => ListAnswer::Ok(Json(list)),
            Err(error) => error.into(),
        }
    }

    /// Show the version in production, now or at a given time.
    #[oai(path = "/production", method = "get")]
    async fn production(
        &self,
        _by: By<Read>,
        /// A time, e.g. `2026-11-23T10:00:00Z`. The default is now.
        at: Query<Option<String>>,
    ) -> ProductionAnswer {
        let found = match at.0 {
            None => self.context.ask_store(self.context.registry.production()).await,
            Some(at) => {
                let millis = match millis("at", &at) {
                    Ok(millis) => millis,
                    Err(problem) => return problem.into(),
                };
                match self.context.ask_store(self.context.registry.production_at(millis)).await {
                    Ok(None) => {
                        let detail = "Nothing was in production at that time.";
                        return Problem::new(StatusCode::NOT_FOUND, Kind::NotFound, detail).into();
                    }
                    found => found,
                }
            }
        };
        match found {
            Ok(Some(promotion)) => ProductionAnswer::Ok(Json(promotion.record.into())),
            Ok(None) => Problem::no_model().into(),
            Err(error) => error.into(),
        }
    }

    /// Compare two versions: their figures, data and parameters.
    #[oai(path = "/compare", method = "get")]
    async fn compare(
        &self,
        _by: By<Read>,
        /// One version.
        a: Query<String>,
        /// The other version.
        b: Query<String>,
    ) -> CompareAnswer {
        let (Ok(a), Ok(b)) = (Version::parse(&a.0), Version::parse(&b.0)) else {
            return Problem::invalid("`a` and `b` must be versions like 20261123T021009Z-3f9c2a1b.").into();
        };
        match self.context.ask_store(self.read_both(&a, &b)).await {
            Ok(comparison) => CompareAnswer::Ok(Json(comparison)),
            Err(error) => error.into(),
        }
    }

    /// Show every promotion, newest first.
    #[oai(path = "/history", method = "get")]
    async fn history(&self, _by: By<Read>) -> HistoryAnswer {
        match self.context.ask_store(self.context.registry.history()).await {
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
        _by: By<Read>,
        /// The version, e.g. `20261123T021009Z-3f9c2a1b`.
        version: Path<String>,
    ) -> ModelAnswer {
        let version = match version_of(&version.0) {
            Ok(version) => version,
            Err(problem) => return problem.into(),
        };
        match self.context.ask_store(self.read_model(&version)).await {
            Ok(model) => ModelAnswer::Ok(Json(model)),
            Err(error) => error.into(),
        }
    }

    /// Show a version's model card: intended use, data, figures, limits.
    #[oai(path = "/:version/card", method = "get")]
    async fn card(
        &self,
        _by: By<Read>,
        /// The version, e.g. `20261123T021009Z-3f9c2a1b`.
        version: Path<String>,
    ) -> CardAnswer {
        let version = match version_of(&version.0) {
            Ok(version) => version,
            Err(problem) => return problem.into(),
        };
        match self.context.ask_store(self.context.registry.card(&version)).await {
            Ok(card) => CardAnswer::Ok(PlainText(card)),
            Err(error) => error.into(),
        }
    }
}

/// The requested page.
struct Page {
    limit: usize,
    /// Only versions older than this one.
    after: Option<Version>,
}

impl Models {
    pub(crate) fn new(context: Context) -> Self {
        Self { context, known: Mutex::default() }
    }

    async fn read_list(&self, page: &Page) -> Result<ModelList, registry::Error> {
        let production = self.context.registry.production().await?.map(|promotion| promotion.record);
        let is_live = |version: &Version| production.as_ref().is_some_and(|record| record.version == *version);
        let mut known = self.known.lock().await;
        self.context.registry.follow_manifests(&mut known).await?;
        let total = known.len() as u64;
        let older = known.values().rev().filter(|it| page.after.as_ref().is_none_or(|after| it.version < *after));
        let mut shown: Vec<Arc<ModelManifest>> = older.take(page.limit.saturating_add(1)).cloned().collect();
        drop(known);
        let is_last = shown.len() <= page.limit;
        shown.truncate(page.limit);
        let next = shown.last().filter(|_| !is_last).map(|manifest| manifest.version.to_string());
        let models = shown.into_iter().map(|manifest| {
            let in_production = is_live(&manifest.version);
            ModelSummary::new(Arc::unwrap_or_clone(manifest), in_production)
        });
        let models = models.collect();
        let serving = self
            .context
            .serving
            .live()
            .map(|live| ServingModel { version: live.manifest.version.to_string(), generation: live.generation.0 });
        let promotion_refused = self.context.trust.known_objection();
        Ok(ModelList { production: production.map(Into::into), serving, promotion_refused, total, next, models })
    }

    async fn read_both(&self, a: &Version, b: &Version) -> Result<Comparison, registry::Error> {
        let [(of_a, _), (of_b, _)] =
            [self.context.registry.manifest(a).await?, self.context.registry.manifest(b).await?];
        let difference = |(fact, a, b): (&'static str, String, String)| Difference { fact: fact.to_owned(), a, b };
        let differences = of_a.differences(&of_b).into_iter().map(difference).collect();
        let figures = of_a.figures_beside(&of_b).into_iter().map(Into::into).collect();
        let production = self.context.registry.production().await?;
        let is_live = |version: &Version| production.as_ref().is_some_and(|p| p.record.version == *version);
        let (a, b) = (ModelSummary::new(of_a, is_live(a)), ModelSummary::new(of_b, is_live(b)));
        Ok(Comparison { a, b, differences, figures })
    }

    async fn read_model(&self, version: &Version) -> Result<ModelSummary, registry::Error> {
        let (manifest, _) = self.context.registry.manifest(version).await?;
        let production = self.context.registry.production().await?;
        Ok(ModelSummary::new(manifest, production.is_some_and(|p| p.record.version == *version)))
    }
}
