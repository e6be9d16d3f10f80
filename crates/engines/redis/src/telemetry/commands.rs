//! INFO commandstats and latencystats: how often each command was called, and how long that took.

use super::Histogram;
use crate::ops::{COMMANDS, Command, commands_count, number_of};

/// What is counted of one command.
#[derive(Debug, Default)]
pub(crate) struct CommandRow {
    pub(crate) calls: u64,
    pub(crate) nanoseconds: u64,
    /// Refused before they were executed.
    pub(crate) rejected: u64,
    /// Executed, and answered with an error.
    pub(crate) failed: u64,
    /// How long its calls took; None before the first that was measured.
    pub(crate) histogram: Option<Box<Histogram>>,
}

/// A row for each command and subcommand, made when the first is counted.
#[derive(Debug, Default)]
pub(crate) struct CommandStats {
    rows: Vec<CommandRow>,
}

impl CommandStats {
    /// The row of a command, by its number.
    #[inline]
    pub(crate) fn row(&mut self, number: usize) -> &mut CommandRow {
        if self.rows.is_empty() {
            self.rows.resize_with(commands_count(), CommandRow::default);
        }
        &mut self.rows[number]
    }

    /// What was counted of a command, if anything was.
    pub(crate) fn of(&self, command: &'static Command) -> Option<&CommandRow> {
        self.rows.get(number_of(command)).filter(|row| row.calls + row.rejected + row.failed > 0)
    }

    /// All commands of which anything was counted, containers before their subcommands.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static Command, &CommandRow)> {
        let all = COMMANDS.iter().flat_map(|command| std::iter::once(command).chain(command.subcommands()));
        all.filter_map(|command| Some((command, self.of(command)?)))
    }
}
