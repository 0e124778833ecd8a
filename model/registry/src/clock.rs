//! The store's clock, learned from its answers.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef},
    error::BoxError,
    primitives::{DateTime, DateTimeFormat},
};

use crate::now_millis;

/// How far the store's clock is ahead of this machine's, by its last header `Date`.
///
/// The SDK signs with the store's time, so the store accepts requests of a machine whose clock is an hour off. Times
/// that are compared with the store's times must therefore come from the store's clock, too.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreClock {
    ahead: Arc<AtomicI64>,
}

impl StoreClock {
    /// Milliseconds since 1970, exact to a second.
    ///
    /// Before the first answer it is this machine's time.
    pub(crate) fn now(&self) -> i64 {
        now_millis().saturating_add(self.ahead.load(Ordering::Relaxed))
    }

    fn learn(&self, date: &str, here: i64) {
        let date = DateTime::from_str(date, DateTimeFormat::HttpDate).ok();
        if let Some(there) = date.and_then(|date| date.to_millis().ok()) {
            // The header has whole seconds: half a second is lost on average.
            self.ahead.store(there.saturating_add(500).saturating_sub(here), Ordering::Relaxed);
        }
    }
}

impl Intercept for StoreClock {
    fn name(&self) -> &'static str {
        "StoreClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.learn(date, now_millis());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_the_stores_and_a_date_that_is_none_changes_nothing() {
        let clock = StoreClock::default();
        let hour = 3_600_000;
        let at = DateTime::from_millis(1_700_000_000_000).fmt(DateTimeFormat::HttpDate).unwrap();
        clock.learn(&at, 1_700_000_000_000 - hour);
        assert!((clock.now() - now_millis() - hour).abs() < 2000, "{clock:?}");
        clock.learn("yesterday", 0);
        assert!((clock.now() - now_millis() - hour).abs() < 2000, "{clock:?}");
    }
}
