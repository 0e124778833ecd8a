//! Judges stored comments with two versions, piece by piece, and writes the report.

use model::backtest::{self, Backtest, Report};
use workflows::steps::{JudgeCommentsInput, JudgedComments, PlanBacktestInput, PlannedBacktest, ReportBacktestInput};

use super::{Activities, now_millis};
use crate::{alive::compute, failure::Failure};

impl Activities {
    pub(super) async fn plan(&self, input: PlanBacktestInput) -> Result<PlannedBacktest, Failure> {
        let incumbent = self.registry.incumbent(input.incumbent).await?;
        if incumbent == input.candidate {
            return Err(Failure::SameVersion(incumbent));
        }
        for version in [&input.candidate, &incumbent] {
            self.registry.manifest(version).await?;
        }
        let pieces = self.registry.backtest_pieces(&input.source).await?;
        if pieces.is_empty() {
            Err(Failure::NoComments(input.source))
        } else {
            Ok(PlannedBacktest { incumbent, pieces })
        }
    }

    pub(super) async fn judge_piece(&self, input: JudgeCommentsInput) -> Result<JudgedComments, Failure> {
        let candidate = self.registry.load(&input.candidate).await?.model;
        let incumbent = self.registry.load(&input.incumbent).await?.model;
        let comments = self.registry.comments(&input.piece).await?;
        let (judged, threads) = (comments.len() as u64, self.threads);
        let cases = compute(move || Ok(backtest::judge(&candidate, &incumbent, &comments, threads))).await?;
        self.registry.put_cases(&input.candidate, &input.id, input.number, cases).await?;
        Ok(JudgedComments { comments: judged })
    }

    pub(super) async fn report(&self, input: ReportBacktestInput) -> Result<Backtest, Failure> {
        let (id, candidate) = (input.id.clone(), input.candidate.clone());
        // An earlier attempt may have written the report and deleted the verdicts already.
        let stored = if let Some(stored) = self.registry.backtest(&candidate, &id).await? {
            stored
        } else {
            let done = self.compare(input).await?;
            self.registry.put_backtest(&done).await?
        };
        self.registry.drop_cases(&candidate, &id).await?;
        let Report { comments, changed, .. } = &stored.report;
        tracing::info!(model.version = %candidate, backtest = %id, comments, changed, "backtested");
        Ok(stored)
    }

    /// Combines the results of the pieces.
    async fn compare(&self, input: ReportBacktestInput) -> Result<Backtest, Failure> {
        let ReportBacktestInput { id, candidate, incumbent, source, pieces } = input;
        let mut cases = Vec::new();
        for number in 0..pieces {
            cases.extend(self.registry.cases(&candidate, &id, number).await?);
        }
        if cases.is_empty() {
            return Err(Failure::NoComments(source));
        }
        let (of_candidate, _) = self.registry.manifest(&candidate).await?;
        let (of_incumbent, _) = self.registry.manifest(&incumbent).await?;
        let cases = self.registry.mark_learnt(cases, [&of_candidate, &of_incumbent]).await?;
        let report = compute(move || Ok(Report::of(&cases))).await?;
        let (at, code_version) = (now_millis(), env!("CARGO_PKG_VERSION").to_owned());
        Ok(Backtest { id, candidate, incumbent, source, at, code_version, report })
    }
}
