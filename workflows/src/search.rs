//! Search attributes, by which the Temporal Web UI can filter runs.
//!
//! They never contain a text or a person.

use temporalio_common::{
    protos::temporal::api::enums::v1::IndexedValueType,
    search_attributes::{SearchAttributeKey, SearchAttributeUpdate},
};

use crate::steps::Candidate;

pub(crate) const MODEL_VERSION: SearchAttributeKey<String> = SearchAttributeKey::keyword("ModelVersion");
pub(crate) const DATASET_SHA: SearchAttributeKey<String> = SearchAttributeKey::keyword("DatasetSha");
pub(crate) const STAGE: SearchAttributeKey<String> = SearchAttributeKey::keyword("Stage");
pub(crate) const GATE_RESULT: SearchAttributeKey<String> = SearchAttributeKey::keyword("GateResult");
pub(crate) const TRAINER: SearchAttributeKey<String> = SearchAttributeKey::keyword("Trainer");
pub(crate) const PR_AUC: SearchAttributeKey<f64> = SearchAttributeKey::float("PrAuc");
pub(crate) const F1: SearchAttributeKey<f64> = SearchAttributeKey::float("F1");

/// Values of `GateResult`.
pub(crate) fn verdict(passed: bool) -> &'static str {
    if passed { "passed" } else { "failed" }
}

/// The value of `GateResult` if the gate failed and the version is promoted by force.
pub(crate) const FORCED: &str = "forced";

/// The search attributes of a version.
pub(crate) fn of_candidate(candidate: &Candidate) -> [SearchAttributeUpdate; 4] {
    let figures = &candidate.cross_validation.sentence;
    [
        MODEL_VERSION.value_set(candidate.version.to_string()),
        TRAINER.value_set(candidate.trainer.clone()),
        PR_AUC.value_set(figures.pr_auc),
        F1.value_set(figures.f1),
    ]
}

/// Names and types. They must exist in the namespace before a worker starts: a run that sets a missing one hangs.
pub const ATTRIBUTES: [(&str, IndexedValueType); 7] = [
    ("ModelVersion", IndexedValueType::Keyword),
    ("DatasetSha", IndexedValueType::Keyword),
    ("Stage", IndexedValueType::Keyword),
    ("GateResult", IndexedValueType::Keyword),
    ("Trainer", IndexedValueType::Keyword),
    ("PrAuc", IndexedValueType::Double),
    ("F1", IndexedValueType::Double),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_a_workflow_sets_is_created_with_its_type() {
        let keywords = [MODEL_VERSION, DATASET_SHA, STAGE, GATE_RESULT, TRAINER];
        let keywords = keywords.iter().map(|key| (key.name(), IndexedValueType::Keyword));
        let doubles = [PR_AUC, F1].into_iter().map(|key| (key.name(), IndexedValueType::Double));
        let set: Vec<_> = keywords.chain(doubles).collect();
        assert_eq!(set, ATTRIBUTES);
    }
}
