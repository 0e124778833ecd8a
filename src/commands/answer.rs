//! What a command answers: words for people, or JSON for programs.

use serde::Serialize;

/// How a command answers
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Answer {
    /// Print the answer as JSON, and nothing else on standard output
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl Answer {
    /// Prints the answer as JSON, if that was asked for, else as `words` print it.
    pub(super) fn give(self, answer: &impl Serialize, words: impl FnOnce()) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(answer)?);
        } else {
            words();
        }
        Ok(())
    }

    /// Says how far a command is: on standard error where standard output is for JSON.
    pub(super) fn say(self, words: &str) {
        if self.json {
            eprintln!("{words}");
        } else {
            println!("{words}");
        }
    }
}
