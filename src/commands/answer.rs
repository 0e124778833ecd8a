//! The answer of a command: words for people, or JSON for programs.

use serde::Serialize;

/// The form of a command's answer
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Answer {
    /// Print the answer as JSON, and nothing else on standard output
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl Answer {
    /// With `--json` prints the answer as JSON, otherwise calls `words` to print it.
    pub(super) fn give(self, answer: &impl Serialize, words: impl FnOnce()) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(answer)?);
        } else {
            words();
        }
        Ok(())
    }

    /// Prints progress: with `--json` on standard error, because standard output has only JSON.
    pub(super) fn say(self, words: &str) {
        if self.json {
            eprintln!("{words}");
        } else {
            println!("{words}");
        }
    }
}
