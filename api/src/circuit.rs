//! Remembers that a part (object store, Temporal) is away, so that requests do not wait.
//!
//! A background task asks the part repeatedly and updates the circuit. While the part is known to be away, requests
//! that need it are refused at once. Requests that wait for it are refused as soon as the outage is known.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

/// A part that is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    /// The last time that the part answered.
    pub(crate) since: SystemTime,
    /// The error of the last try.
    pub(crate) reason: String,
}

/// Whether one part answers.
#[derive(Clone)]
pub(crate) struct Circuit {
    part: &'static str,
    up: Gauge,
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Debug)]
struct State {
    answered: SystemTime,
    outage: Option<Outage>,
}

impl Circuit {
    /// The part counts as up until a try fails.
    ///
    /// The gauge is 1 while the part is up, else 0.
    pub(crate) fn new(part: &'static str, up: Gauge) -> Self {
        let state = State { answered: SystemTime::now(), outage: None };
        up.set(1);
        Self { part, up, state: Arc::new(watch::Sender::new(state)) }
    }

    /// The outage, if the part is away.
    pub(crate) fn outage(&self) -> Option<Outage> {
        self.state.borrow().outage.clone()
    }

    /// When it answered last; before the first answer, when the circuit was made.
    pub(crate) fn answered(&self) -> SystemTime {
        self.state.borrow().answered
    }

    /// Waits until the part is not known to be away.
    pub(crate) async fn answering(&self) {
        // The sender lives as long as the circuit.
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| state.outage.is_none()).await;
    }

    /// The part answered.
    pub(crate) fn answers(&self) {
        self.up.set(1);
        self.state.send_modify(|state| {
            state.answered = SystemTime::now();
            if state.outage.take().is_some() {
                tracing::info!(part = self.part, "the part answers again");
            }
        });
    }

    /// The part did not answer. The log says so once per outage.
    pub(crate) fn fails(&self, reason: String) {
        self.up.set(0);
        self.state.send_modify(|state| {
            if state.outage.is_none() {
                tracing::warn!(part = self.part, reason, "the part does not answer; requests that need it are refused");
            }
            let since = state.outage.as_ref().map_or(state.answered, |outage| outage.since);
            state.outage = Some(Outage { since, reason });
        });
    }

    /// Does work that needs the part.
    ///
    /// Gives up as soon as the part is known to be away.
    ///
    /// The work is boxed at once, because futures that ask the store or Temporal are large.
    pub(crate) fn guard<T>(&self, work: impl Future<Output = T>) -> impl Future<Output = Result<T, Outage>> {
        let (mut state, work) = (self.state.subscribe(), Box::pin(work));
        async move {
            let away = async move {
                // The sender lives as long as the circuit.
                let _ = state.wait_for(|state| state.outage.is_some()).await;
            };
            tokio::select! {
                biased;
                () = away => {}
                done = work => return Ok(done),
            }
            // The part may have come back just now. The work is lost all the same.
            let back = || Outage { since: self.answered(), reason: "it was away for a moment".to_owned() };
            Err(self.outage().unwrap_or_else(back))
        }
    }

    /// Asks the part for ever, `pause` after each answer.
    ///
    /// It counts as away when two answers in a row take longer than `patience`: a single one may have been delayed in
    /// this process.
    pub(crate) async fn watch<F>(&self, pause: Duration, patience: Duration, ask: impl Fn() -> F)
    where
        F: Future<Output = Result<(), String>>,
    {
        let mut is_late = false;
        loop {
            match tokio::time::timeout(patience, ask()).await {
                Ok(Ok(())) => self.answers(),
                Ok(Err(reason)) => self.fails(reason),
                Err(_) if !is_late && self.outage().is_none() => {
                    is_late = true;
                    continue;
                }
                Err(_) => self.fails(format!("no answer within {} s", patience.as_secs_f64())),
            }
            is_late = false;
            tokio::time::sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_and_who_comes_later_does_not_wait() {
        let circuit = Circuit::new("a part", Gauge::default());
        assert_eq!(circuit.guard(async { 1 }).await, Ok(1));
        let waiting = tokio::spawn({
            let circuit = circuit.clone();
            async move { circuit.guard(std::future::pending::<()>()).await }
        });
        tokio::task::yield_now().await;
        circuit.fails("refused".to_owned());
        assert_eq!(circuit.up.get(), 0);
        let outage = waiting.await.unwrap().unwrap_err();
        assert_eq!(outage.reason, "refused");
        circuit.fails("silent".to_owned());
        let later = circuit.guard(async { 1 }).await.unwrap_err();
        assert_eq!((later.reason.as_str(), later.since), ("silent", outage.since));
        circuit.answers();
        assert_eq!(circuit.guard(async { 1 }).await, Ok(1));
        assert_eq!(circuit.outage(), None);
    }
}
