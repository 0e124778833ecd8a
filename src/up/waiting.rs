//! What `up` waits for, on a line: what it is for while it lasts, and how long it took when it is over.

use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use indicatif::{ProgressBar, ProgressStyle};

/// How often a wait is told of where no terminal shows a line that moves.
const REMINDER: Duration = Duration::from_secs(10);
/// How often the line moves.
const TICK: Duration = Duration::from_millis(120);

/// Does `work`, and says that it is for `part`, until the part does what `until` says ("answers on 127.0.0.1:7233").
pub(super) async fn waiting<T>(
    part: &str,
    until: &str,
    mut work: LocalBoxFuture<'_, anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    let line = ProgressBar::new_spinner().with_message(format!("{part}: waiting until it {until}"));
    line.set_style(ProgressStyle::with_template("  {spinner} {msg} ({elapsed})")?);
    line.enable_steady_tick(TICK);
    let mut reminder = tokio::time::interval(REMINDER);
    // The first tick is at once.
    reminder.tick().await;
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = reminder.tick() => {
                if line.is_hidden() {
                    say!("  {part}: still waiting until it {until} ({} s)", started.elapsed().as_secs());
                }
            }
        }
    };
    line.finish_and_clear();
    if done.is_ok() {
        say!("  {part:<14} {until} ({:.1} s)", started.elapsed().as_secs_f64());
    }
    done
}
