//! Presently, the program: options, logs, signals, exit codes.

mod config;
mod file;
mod health;
mod journal;
mod load;
mod output;
mod serve;
mod settings;
mod signals;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use presently::{Config, Inherited, Password, Secrets, bench, tokens};
use tokio::runtime::Builder;

use crate::config::config;
use crate::health::health;
use crate::load::load;
use crate::output::{failed, print, refuse_options};
use crate::serve::serve;
use crate::settings::{Mistake, Settings};

/// Streams live for hours among short requests. This allocator keeps sizes apart: the memory of a storm of requests is
/// free for the next storm, and later returns to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "presently", version)]
struct Program {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    other: Option<Other>,
}

// Subcommands besides serving; a doc comment would become the text of --help.
#[derive(Subcommand)]
enum Other {
    /// Check the health of the gateway at --admin, or otherwise at --listen (the first of several); exit code 0 means healthy
    Health,
    /// Load a running gateway and measure its performance
    Bench(bench::Options),
    /// Print a token, signed with the key of --key, which is a raw secret of at least 32 bytes, or a private key as PEM
    Token(tokens::Wanted),
    /// Print the options in force as a file for --config, each with its origin
    ///
    /// The origin is an option, a variable, FILE:LINE or a default. Options may also stand behind the command. Values of keys
    /// (PRESENTLY_KEY_VALUE, PRESENTLY_API_KEY_VALUE) and the password of PRESENTLY_CLUSTER_PASSWORD are never printed; paths and
    /// addresses are. A file has at most 256 KiB.
    /// Exit code 2 and one sentence, with FILE:LINE, tell of an invalid option, variable or file.
    Config,
    /// Read a token or API key on standard input, and say what it allows, or which check fails; exit code 0 means it is good
    CheckToken,
    /// Describe the files of a journal, also one in use: entries, positions, times, damage; exit code 0 means that it can be opened
    Inspect(journal::Directory),
    /// Cut a damaged journal at the first damage, and print what is lost; everything cut off is kept in files named *.lost
    Repair(journal::Directory),
    /// Copy a journal, also one in use, to an empty directory; a gateway started there shares no cursors with the original
    Backup(journal::Copied),
}

/// Exit codes: 0 when stopped by a signal (or healthy, or all was delivered), 1 when the gateway could not serve (or is
/// not healthy, or something was lost), 2 for a bad option.
fn main() -> ExitCode {
    // The runtime is built by hand: what reads or clears the environment must run before there are other threads.
    let args: Vec<_> = std::env::args_os().collect();
    let mut settings = match Settings::read(&args) {
        Ok(settings) => settings,
        Err(Mistake::Options(error)) => return refuse_options(&error),
        Err(Mistake::File(sentence)) => return failed(2, &sentence),
    };
    let inherited = match Inherited::from_env() {
        Ok(inherited) => inherited,
        Err(sentence) => return failed(1, &sentence),
    };
    // Inherited sockets take the place of the default address, and not of others.
    if settings.is_default("listen") && !inherited.is_empty() {
        settings.program.config.listen.clear();
    }
    let variable = |name: &str| std::env::var(name).ok();
    settings.program.config.secrets = Secrets::read(variable);
    settings.program.config.cluster.password = Password::read(variable);
    match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(settings, inherited)),
        Err(error) => failed(1, &format!("cannot start threads: {error}")),
    }
}

async fn run(settings: Settings, inherited: Inherited) -> ExitCode {
    match settings.program.other {
        Some(Other::Health) => health(&settings.program.config).await,
        Some(Other::Bench(options)) => load(options).await,
        Some(Other::Token(wanted)) => print(tokens::make(&settings.program.config, &wanted)),
        Some(Other::Config) => print(Ok(config(&settings))),
        Some(Other::CheckToken) => print(tokens::check(&settings.program.config).await),
        Some(Other::Inspect(of)) => journal::inspect(&of),
        Some(Other::Repair(of)) => journal::repair(&of),
        Some(Other::Backup(of)) => journal::backup(&of),
        None => serve(settings.program.config, inherited).await,
    }
}
