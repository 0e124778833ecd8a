//! How a command ends: its exit code.

use std::{fmt, process::ExitCode};

/// The command failed, or its answer is no.
pub(super) const FAILED: u8 = 1;
/// The command line is wrong; clap ends with the same code.
const USAGE: u8 = 2;
/// Done, but some comments could not be judged.
pub(super) const SOME_WRONG: u8 = 3;

/// The part of `--help` about exit codes.
pub(super) const HELP: &str = "\
Exit codes:
  0  done, and the answer is good
  1  it failed, or the answer is no: a part is unhealthy, a version is not as it
     was registered, or the gate refuses
  2  the command line is wrong; nothing was done
  3  done, but some comments of a file could not be judged";

/// A wrong command line: nothing was done.
#[derive(Debug)]
pub(super) struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The error for a wrong command line, with the reason.
pub(super) fn usage(why: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Usage(why.to_string()))
}

/// The exit code of an answer: good, or no.
pub(super) fn answer(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// The exit code of an error.
pub(crate) fn code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(if error.is::<Usage>() { USAGE } else { FAILED })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn only_a_wrong_command_line_is_told_apart_from_a_failure() {
        let of = |error: &anyhow::Error| format!("{:?}", code(error));
        assert_eq!(of(&usage("no such trainer")), format!("{:?}", ExitCode::from(2)));
        assert_eq!(of(&usage("no such trainer").context("read the flags")), format!("{:?}", ExitCode::from(2)));
        let failed = Err::<(), _>(std::io::Error::other("away")).context("ask").unwrap_err();
        assert_eq!(of(&failed), format!("{:?}", ExitCode::from(1)));
    }
}
