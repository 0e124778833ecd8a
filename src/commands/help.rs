//! The help of `threatwatch` without a command: first steps, then all commands in groups.

use clap::Command;

/// The help without clap's long list of commands: the groups replace it.
pub(super) const TEMPLATE: &str = "{about}\n\n{usage-heading} {usage}\n\n{before-help}Options:\n{options}{after-help}";

const FIRST_STEPS: &str = "\
First steps:
  threatwatch up                            start every part on this machine and train a first model
  threatwatch predict \"I will find you.\"    judge a comment
  threatwatch train --wait                  train on the newest data
  threatwatch promote VERSION               put a version into production; `rollback` goes back
  threatwatch doctor                        find out what is wrong
";

/// The groups. Every visible command is in one of them.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Comments", &["predict", "label"]),
    ("Models", &["train", "approve", "reject", "promote", "rollback", "shadow", "backtest", "models", "schedule"]),
    ("Data", &["dataset", "evaluate", "experiment"]),
    ("Running it", &["up", "doctor", "backup", "restore", "setup", "worker", "serve", "healthy"]),
    ("Keys and records", &["keys", "audit", "history"]),
    ("The terminal", &["completions"]),
];

/// Adds first steps and groups to the help.
pub(super) fn grouped(command: Command) -> Command {
    let mut text = FIRST_STEPS.to_owned();
    for (title, names) in GROUPS {
        text += &format!("\n{title}:\n");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
            text += &format!("  {name:<12} {}\n", about.unwrap_or_default());
        }
    }
    text += "\n`threatwatch COMMAND --help` says what a command takes.\n";
    command.before_help(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_command_is_in_one_group_and_explained() {
        let command = crate::commands::Cli::command();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        grouped.sort_unstable();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        let mut shown: Vec<&str> = shown.map(Command::get_name).collect();
        shown.sort_unstable();
        assert_eq!(grouped, shown);
        let help = super::grouped(command.clone()).render_help().to_string();
        for name in shown {
            assert!(help.lines().any(|line| line.starts_with(&format!("  {name:<12} ")) && line.len() > 20), "{name}");
        }
    }
}
