//! `threatwatch setup`: bucket, search attributes and a first model, once; for stacks that start the parts themselves.

use std::time::Duration;

use anyhow::bail;

use crate::{
    settings::Settings,
    up::{first_model, supervisor::wait_until},
};

/// A stack whose servers are not up by then is broken.
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) async fn run(settings: &Settings) -> anyhow::Result<()> {
    let store = settings.store()?;
    wait_until("the object store", PATIENCE, || async { store.ensure_bucket().await.is_ok() }).await?;
    let registry = settings.registry().await?;
    if let Some(reason) = registry.probe().await? {
        bail!("the object store cannot be trusted with promotions: {reason}");
    }
    println!("the bucket is there, and of racing writers exactly one wins");
    let orchestrator = settings.orchestrator("setup");
    wait_until("Temporal", PATIENCE, || async { orchestrator.ensure_search_attributes().await.is_ok() }).await?;
    println!("the search attributes are there");
    match registry.production().await? {
        Some(promotion) => println!("{} is in production", promotion.record.version),
        None => first_model(settings, "threatwatch setup").await?,
    }
    Ok(())
}
