//! Extensions by another program: trainers, feature extractors, gate checks and dataset sources.
//!
//! Trainers and extractors are registered for the whole process, because workflows and artifacts refer to them by name.
//! Checks and sources are used only by activities and are passed by value.

use std::fmt;

use model::{
    features::{self, Extractor},
    gate::{CHECKS, Check},
    plugins::{Refused, check_names},
    trainers::{self, Trainer},
};

use crate::sources::{SOURCES, Source};

/// A program's plug-ins before they are registered.
#[derive(Clone, Default)]
pub struct Extensions {
    trainers: Vec<&'static dyn Trainer>,
    extractors: Vec<&'static dyn Extractor>,
    checks: Vec<&'static dyn Check>,
    sources: Vec<&'static dyn Source>,
}

impl Extensions {
    /// No plug-ins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a trainer. Training requests may name it.
    #[must_use]
    pub fn trainer(mut self, trainer: &'static dyn Trainer) -> Self {
        self.trainers.push(trainer);
        self
    }

    /// Adds a feature extractor. Models may use it.
    #[must_use]
    pub fn extractor(mut self, extractor: &'static dyn Extractor) -> Self {
        self.extractors.push(extractor);
        self
    }

    /// Adds a gate check. Every candidate must pass it.
    #[must_use]
    pub fn check(mut self, check: &'static dyn Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds a dataset source. It is tried before the built-in ones, and training requests may name it.
    #[must_use]
    pub fn source(mut self, source: &'static dyn Source) -> Self {
        self.sources.push(source);
        self
    }

    /// Registers trainers and extractors in this process. Checks and sources are returned.
    ///
    /// Call it once per process, before anything is trained, loaded or checked. A repeated call with the same plug-ins
    /// changes nothing. Other plug-ins, and names that are taken or not plain, are refused.
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

/// Registered plug-ins, for [`crate::plugin`].
#[derive(Clone, Default)]
pub struct Added {
    checks: Vec<&'static dyn Check>,
    sources: Vec<&'static dyn Source>,
}

impl Added {
    /// Every check: the built-in ones, then the added ones.
    pub(crate) fn checks(&self) -> Vec<&'static dyn Check> {
        CHECKS.iter().chain(&self.checks).copied().collect()
    }

    /// Every source, in the order in which they are tried: the added ones, then the built-in ones.
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
