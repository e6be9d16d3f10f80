//! The command tree. One file per family of commands in `cli/`; every command takes the options of [`Common`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::control::NodeAction;
use crate::error::{Code, Failure, Result};
use crate::output::{ColorChoice, Format, Output};

mod diagnosis;
mod faults;
mod kafka;
mod life;
pub(crate) mod query;
mod run;
mod target;

/// The distributed stack in one binary.
#[derive(Debug, Parser)]
#[command(name = "atoll", version, about, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// The options of every command.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The form of the data on standard output
    #[arg(short, long, value_enum, default_value_t, global = true, value_name = "FORMAT")]
    output: Format,
    /// The same as `--output json`
    #[arg(long, global = true)]
    json: bool,
    /// When to color
    #[arg(long, value_enum, default_value_t, global = true, value_name = "WHEN")]
    color: ColorChoice,
    /// The stack's name
    #[arg(long, global = true, env = "ATOLL_NAME")]
    name: Option<String>,
    /// The stack file, or the directory that it is in
    #[arg(long = "stack-file", visible_short_alias = 'C', global = true, value_name = "FILE")]
    stack_file: Option<PathBuf>,
}

impl Common {
    fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the stack, in the foreground unless detached
    Up(UpArguments),
    /// Stop the stack
    Down {
        /// Delete its data as well
        #[arg(long)]
        purge: bool,
    },
    /// Show nodes, engines, addresses and faults
    Status {
        /// Exit with 3 unless everything is up and well
        #[arg(long)]
        check: bool,
    },
    /// Print the addresses as environment variables: eval "$(atoll env)"
    Env,
    /// Run a command beside a stack of its own that ends with it
    Run {
        #[command(flatten)]
        stack: StackArguments,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Apply manifests to the Kubernetes API
    Apply {
        /// Files or directories of YAML or JSON; `-` is standard input
        #[arg(short, long = "filename", required = true, value_name = "FILE")]
        filename: Vec<PathBuf>,
    },
    /// Print what the parts of the stack log, merged
    Logs {
        /// Only these sources: `redis`, `faults`, `pod/orders` …
        sources: Vec<String>,
        /// Go on with what is logged from now on
        #[arg(short, long)]
        follow: bool,
        /// How many of the newest lines to begin with
        #[arg(long, default_value_t = 1000)]
        tail: usize,
    },
    /// Do something to a node
    Node {
        /// What to do
        action: NodeAction,
        /// The node's number
        node: u16,
    },
    /// Cut, slow or heal the link between two nodes, or between `client` and a node
    Link {
        #[command(subcommand)]
        action: LinkCommand,
    },
    /// Cut every link between groups of nodes: atoll partition "1|2,3"
    Partition {
        /// The groups, with `|` between them; nodes that are not named form one more
        groups: String,
    },
    /// Undo every fault
    Heal,
    /// Show what clients lost, read stale or got twice, and why
    Ledger {
        /// Only this part of the stack
        #[arg(long)]
        part: Option<String>,
        /// How many of the newest entries
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Exit with 3 if there is any entry
        #[arg(long)]
        check: bool,
    },
    /// Start the orders application on three nodes, with orders flowing
    Demo(crate::demo::DemoArguments),
    /// Break the running stack as an experiment says, and judge what came of it
    Chaos {
        #[command(subcommand)]
        action: ChaosCommand,
    },
    /// Look at the stack's Kafka, and produce or consume a few records
    Kafka {
        #[command(subcommand)]
        action: kafka::KafkaCommand,
    },
    /// Check whether this machine has what Atoll needs
    Doctor,
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How a stack is started.
#[derive(Clone, Debug, Args)]
struct StackArguments {
    /// How many nodes, whatever the stack file says
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=64))]
    nodes: Option<u8>,
    /// The seed of every random decision
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Clone, Debug, Args)]
struct UpArguments {
    /// The stack file
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Return once every listener is ready, and leave the stack running
    #[arg(short, long)]
    detach: bool,
    /// Keep everything in memory
    #[arg(long)]
    ephemeral: bool,
    #[command(flatten)]
    stack: StackArguments,
    #[arg(long, hide = true)]
    report_readiness: bool,
}

/// The two ends of a link.
#[derive(Clone, Debug, Args)]
struct LinkEnds {
    /// One end: a node's number or `client`
    from: String,
    /// The other end
    to: String,
    /// Only this direction
    #[arg(long)]
    one_way: bool,
    /// Only this part of the stack: `redis`, `kafka` …
    #[arg(long)]
    part: Option<String>,
}

#[derive(Debug, Subcommand)]
enum LinkCommand {
    /// Lose everything, in silence; or end connections with a reset
    Cut {
        #[command(flatten)]
        ends: LinkEnds,
        /// End connections with a reset instead
        #[arg(long)]
        reset: bool,
    },
    /// Deliver everything later
    Slow {
        #[command(flatten)]
        ends: LinkEnds,
        /// How much later, in milliseconds
        #[arg(long = "by", value_name = "MILLISECONDS", default_value_t = 200)]
        delay_ms: u64,
    },
    /// As before
    Heal {
        #[command(flatten)]
        ends: LinkEnds,
    },
}

#[derive(Debug, Subcommand)]
enum ChaosCommand {
    /// Run an experiment, and exit with 3 if a hypothesis does not hold
    Run(crate::demo::chaos::RunArguments),
    /// List the experiments of the running stack
    List,
}

/// Runs the command line and says how the process ends.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments),
    };
    let output = Output::new(cli.common.format(), cli.common.color);
    match dispatch(cli, output) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.code.exit_code())
        }
    }
}

/// The command tree itself, for completions and for the test that walks it.
pub fn tree() -> clap::Command {
    Cli::command()
}

fn dispatch(cli: Cli, output: Output) -> Result<u8> {
    let common = &cli.common;
    match cli.command {
        Command::Up(arguments) => life::up(common, arguments, output),
        Command::Down { purge } => life::down(common, purge, output),
        Command::Status { check } => query::status(common, check, output),
        Command::Env => query::env(common, output),
        Command::Run { stack, command } => run::run(common, &stack, command, output),
        Command::Apply { filename } => query::apply(common, &filename, output),
        Command::Logs { sources, follow, tail } => query::logs(common, sources, follow, tail, output),
        Command::Node { action, node } => faults::node(common, action, node, output),
        Command::Link { action } => faults::link(common, action, output),
        Command::Partition { groups } => faults::partition(common, &groups, output),
        Command::Heal => faults::heal(common, output),
        Command::Ledger { part, limit, check } => faults::ledger(common, part, limit, check, output),
        Command::Demo(arguments) => crate::demo::demo(&arguments, common.name.as_deref(), output),
        Command::Chaos { action: ChaosCommand::Run(arguments) } => {
            crate::demo::chaos::run(&target::find(common)?, &arguments, output)
        }
        Command::Chaos { action: ChaosCommand::List } => {
            crate::demo::chaos::list(&target::find(common)?.directory, output)
        }
        Command::Kafka { action } => kafka::run(common, action, output),
        Command::Doctor => diagnosis::doctor(output),
        Command::Completions { shell } => diagnosis::completions(shell, output),
    }
}

/// A command line that cannot be read: help and version go to standard output, mistakes to standard error.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    use clap::error::ErrorKind;
    let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let wants_json =
        arguments.iter().any(|argument| ["--json", "--output=json", "-ojson"].iter().any(|form| argument == form))
            || arguments.windows(2).any(|pair| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json");
    if wants_json && !is_answer {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let failure = Failure::new(Code::Usage, message).hint("see `atoll --help`");
        Output::new(Format::Json, ColorChoice::Never).failure(&failure);
    } else {
        // Nothing can be done if the terminal is gone.
        let _ = error.print();
    }
    ExitCode::from(if is_answer { 0 } else { Code::Usage.exit_code() })
}
