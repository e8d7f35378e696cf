//! Presently, the program: options, logs, signals, exit codes.

mod health;
mod load;
mod output;
mod serve;
mod signals;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use presently::{Config, Inherited, Secrets, bench, tokens};
use tokio::runtime::Builder;

use crate::health::health;
use crate::load::load;
use crate::output::{failed, print, refuse_options};
use crate::serve::serve;

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
    /// Read a token or API key on standard input, and say what it allows, or which check fails; exit code 0 means it is good
    CheckToken,
}

/// Exit codes: 0 when stopped by a signal (or healthy, or all was delivered), 1 when the gateway could not serve (or is
/// not healthy, or something was lost), 2 for a bad option.
fn main() -> ExitCode {
    // The runtime is built by hand: what reads or clears the environment must run before there are other threads.
    let (mut program, is_default) = match options() {
        Ok(options) => options,
        Err(error) => return refuse_options(&error),
    };
    let inherited = match Inherited::from_env() {
        Ok(inherited) => inherited,
        Err(sentence) => return failed(1, &sentence),
    };
    // Inherited sockets take the place of the default address, and not of others.
    if is_default && !inherited.is_empty() {
        program.config.listen.clear();
    }
    program.config.secrets = Secrets::read(|name| std::env::var(name).ok());
    match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(program, inherited)),
        Err(error) => failed(1, &format!("cannot start threads: {error}")),
    }
}

/// The options, and whether `--listen` has its default.
fn options() -> Result<(Program, bool), clap::Error> {
    let matches = Program::command().try_get_matches()?;
    let is_default = matches.value_source("listen") == Some(ValueSource::DefaultValue);
    Ok((Program::from_arg_matches(&matches)?, is_default))
}

async fn run(program: Program, inherited: Inherited) -> ExitCode {
    match program.other {
        Some(Other::Health) => health(&program.config).await,
        Some(Other::Bench(options)) => load(options).await,
        Some(Other::Token(wanted)) => print(tokens::make(&program.config, &wanted)),
        Some(Other::CheckToken) => print(tokens::check(&program.config).await),
        None => serve(program.config, inherited).await,
    }
}
