//! What a program adds to threatwatch: trainers, feature extractors, gate checks and dataset sources of its own.
//!
//! Trainers and extractors become known to the whole process: workflows and artifacts name them, and neither has a place
//! where a table could be handed in. Checks and sources are asked by activities alone and go there by value.

use std::fmt;

use model::{
    features::{self, Extractor},
    gate::{CHECKS, Check},
    plugins::{Refused, check_names},
    trainers::{self, Trainer},
};

use crate::sources::{SOURCES, Source};

/// Plug-ins of a program, not yet known to it.
#[derive(Clone, Default)]
pub struct Extensions {
    trainers: Vec<&'static dyn Trainer>,
    extractors: Vec<&'static dyn Extractor>,
    checks: Vec<&'static dyn Check>,
    sources: Vec<&'static dyn Source>,
}

impl Extensions {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a trainer: training requests may name it.
    #[must_use]
    pub fn trainer(mut self, trainer: &'static dyn Trainer) -> Self {
        self.trainers.push(trainer);
        self
    }

    /// Adds a feature extractor: models may be made of it.
    #[must_use]
    pub fn extractor(mut self, extractor: &'static dyn Extractor) -> Self {
        self.extractors.push(extractor);
        self
    }

    /// Adds a gate check: every candidate must pass it.
    #[must_use]
    pub fn check(mut self, check: &'static dyn Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds a dataset source: it is asked before ours, and training requests may name it.
    #[must_use]
    pub fn source(mut self, source: &'static dyn Source) -> Self {
        self.sources.push(source);
        self
    }

    /// Makes trainers and extractors known to this process; the rest is handed on by value.
    ///
    /// Once a process, before anything is trained, loaded or checked. The same again changes nothing; others, and a name
    /// that is taken or not plain, are refused.
    pub fn register(self) -> Result<Added, Refused> {
        check_names::<dyn Check>("gate check", Check::name, CHECKS, &self.checks)?;
        check_names::<dyn Source>("dataset source", Source::name, SOURCES, &self.sources)?;
        features::extend(&self.extractors)?;
        trainers::extend(&self.trainers)?;
        Ok(Added { checks: self.checks, sources: self.sources })
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions")
            .field("trainers", &self.trainers.iter().map(|trainer| trainer.name()).collect::<Vec<_>>())
            .field("extractors", &self.extractors.iter().map(|extractor| extractor.name()).collect::<Vec<_>>())
            .field("checks", &self.checks.iter().map(|check| check.name()).collect::<Vec<_>>())
            .field("sources", &self.sources.iter().map(|source| source.name()).collect::<Vec<_>>())
            .finish()
    }
}

/// Plug-ins that this process knows; [`crate::plugin`] takes them.
#[derive(Clone, Default)]
pub struct Added {
    checks: Vec<&'static dyn Check>,
    sources: Vec<&'static dyn Source>,
}

impl Added {
    /// Every check: ours, then those that were added.
    pub(crate) fn checks(&self) -> Vec<&'static dyn Check> {
        CHECKS.iter().chain(&self.checks).copied().collect()
    }

    /// Every source, in the order in which they are asked: those that were added, then ours.
    pub(crate) fn sources(&self) -> Vec<&'static dyn Source> {
        self.sources.iter().chain(SOURCES).copied().collect()
    }
}

impl fmt::Debug for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Added")
            .field("checks", &self.checks.iter().map(|check| check.name()).collect::<Vec<_>>())
            .field("sources", &self.sources.iter().map(|source| source.name()).collect::<Vec<_>>())
            .finish()
    }
}
