//! A line for each wait of `up`: its purpose while it lasts, and its duration when it is over.

use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use indicatif::{ProgressBar, ProgressStyle};

/// Time between reminders of a wait, if no terminal shows a moving line.
const REMINDER: Duration = Duration::from_secs(10);
/// Time between two movements of the line.
const TICK: Duration = Duration::from_millis(120);

/// Runs `work` and shows that `up` waits for `part`, until the part "answers on 127.0.0.1:7233", or what `until` says.
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
