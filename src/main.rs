//! Presently, the program: options, logs, signals, exit codes.

use std::io::{IsTerminal, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use presently::LogFormat;
use presently::tokens;
use presently::{Address, Config, Log, Secrets, Server, StartError, bench};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Streams live for hours among short requests. This allocator keeps sizes apart: the memory of a storm of requests is
/// free for the next storm, and later returns to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Timeout of a health check.
const HEALTH_WITHIN: Duration = Duration::from_secs(3);

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
#[tokio::main]
async fn main() -> ExitCode {
    let mut program = match Program::try_parse() {
        Ok(program) => program,
        Err(error) => return refuse_options(&error),
    };
    program.config.secrets = Secrets::read(|name| std::env::var(name).ok());
    match program.other {
        Some(Other::Health) => health(&program.config).await,
        Some(Other::Bench(options)) => load(options).await,
        Some(Other::Token(wanted)) => print(tokens::make(&program.config, &wanted)),
        Some(Other::CheckToken) => print(tokens::check(&program.config).await),
        None => serve(program.config).await,
    }
}

async fn serve(config: Config) -> ExitCode {
    let log = match log(&config) {
        Ok(log) => log,
        Err(error) => return failed(2, &error),
    };
    let served = async {
        let stop = signals().map_err(|error| (1, format!("cannot listen for signals: {error}")))?;
        let server = Server::bind(config).await.map_err(|error| (exit_code(&error), error.to_string()))?;
        server.run(stop).await;
        Ok::<_, (u8, String)>(())
    };
    let served = served.await;
    log.finish();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => failed(code, &error),
    }
}

/// A key that cannot be used is an invalid option.
fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Options(_) => 2,
        StartError::Listen { .. } | StartError::Users(_) => 1,
    }
}

/// Resolves when the gateway is to stop. Other signals that would end the process by default do nothing: they come from a
/// terminal that closes, a script's mistake, or the limit on the size of the log's file.
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    for ignored in [SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::alarm(), too_large] {
        // Once there is a handler, the default no longer applies, also without a receiver.
        drop(signal(ignored)?);
    }
    let (stop, mut hangup) = (stop_signal()?, signal(SignalKind::hangup())?);
    Ok(async move {
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                // The gateway reads the keys again.
                Some(()) = hangup.recv() => {}
            }
        }
    })
}

/// Resolves on SIGTERM or Ctrl-C.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Logs go to stderr. A panic is logged like any other error: one line, and the gateway goes on.
fn log(config: &Config) -> Result<Log, String> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| format!("--log: {error}"))?;
    let log = Log::to_stderr().map_err(|error| format!("cannot log to standard error: {error}"))?;
    // Libraries print whole messages, and whatever is in them.
    let told = filter_fn(|line| line.target().starts_with("presently") || *line.level() <= Level::INFO);
    // A line that cannot be formatted would be reported on stderr, by a macro that panics where stderr is broken.
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(log.clone()).log_internal_errors(false);
    let no_color = std::env::var_os("NO_COLOR");
    let coloured = config.log_format.coloured(std::io::stderr().is_terminal(), no_color.as_deref());
    match config.log_format {
        LogFormat::Auto | LogFormat::Plain => logs.with_ansi(coloured).with_target(false).finish().with(told).init(),
        LogFormat::Json => logs.json().finish().with(told).init(),
    }
    log.catch_panics(config.log_format == LogFormat::Json);
    Ok(log)
}

/// Prints help and version as clap formats them, and a mistake as one sentence.
fn refuse_options(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Fails only when the reader has closed the pipe, as `head` does.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let sentence = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    failed(2, &format!("{sentence}; see presently --help"))
}

/// Prints what a command says on standard output, or why it cannot.
fn print(said: Result<String, (u8, String)>) -> ExitCode {
    match said {
        Ok(text) => {
            // Fails only when the reader has closed the pipe.
            let _ = std::io::stdout().write_all((text + "\n").as_bytes());
            ExitCode::SUCCESS
        }
        Err((code, sentence)) => failed(code, &sentence),
    }
}

/// Runs a bench, and prints the report.
async fn load(options: bench::Options) -> ExitCode {
    let stop = match stop_signal() {
        Ok(stop) => stop,
        Err(error) => return failed(1, &format!("cannot listen for signals: {error}")),
    };
    let json = options.json;
    match bench::run(options, stop).await {
        Ok(report) => {
            let text = if json { report.json() + "\n" } else { report.to_string() };
            // Fails only when the reader has closed the pipe.
            let _ = std::io::stdout().write_all(text.as_bytes());
            report.faults().first().map_or(ExitCode::SUCCESS, |fault| failed(1, fault))
        }
        Err(bench::BenchError::Options(sentence)) => failed(2, &sentence),
        Err(bench::BenchError::Gateway(sentence)) => failed(1, &sentence),
    }
}

/// Prints the reason of a failure as one sentence, and exits all the same where stderr is broken or not read.
fn failed(code: u8, sentence: &str) -> ExitCode {
    if let Ok(log) = Log::to_stderr() {
        log.line(format!("presently: {sentence}\n").as_bytes());
        log.finish();
    }
    ExitCode::from(code)
}

/// Checks the health of the gateway of `config`.
async fn health(config: &Config) -> ExitCode {
    let Some(address) = config.admin.as_ref().or(config.listen.first()) else {
        return failed(2, "--listen names no address");
    };
    let unhealthy = |why: &str| failed(1, &format!("the gateway at {address} is not healthy: {why}"));
    match timeout(HEALTH_WITHIN, ask(address)).await {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 ") => {
            if let Some(most) = full(&answer) {
                let sentence =
                    format!("healthy, but all {most} places for connections are taken; see --max-connections\n");
                // Fails only when the reader has closed the pipe.
                let _ = std::io::stdout().write_all(sentence.as_bytes());
            }
            ExitCode::SUCCESS
        }
        Ok(Ok(answer)) => unhealthy(answer.lines().next().unwrap_or("closed without an answer")),
        Ok(Err(error)) => unhealthy(&error.to_string()),
        Err(_) => unhealthy("no answer in 3 s"),
    }
}

/// The bound on connections, if that many are open.
fn full(answer: &str) -> Option<u64> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let health: serde_json::Value = serde_json::from_str(body).ok()?;
    let most = health["max_connections"].as_u64()?;
    (health["connections"].as_u64()? >= most).then_some(most)
}

/// Asks the gateway that listens on `address`.
async fn ask(address: &Address) -> std::io::Result<String> {
    match address {
        Address::Unix(path) => talk(UnixStream::connect(path).await?).await,
        Address::Socket(_) | Address::Name(..) | Address::All(_) => {
            talk(TcpStream::connect(&address.reachable().await?[..]).await?).await
        }
    }
}

async fn talk(mut socket: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<String> {
    // Health is told under any host.
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    socket.take(16 * 1024).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
