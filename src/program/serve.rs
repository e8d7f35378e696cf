//! `presently`: serves until a signal.

use std::io::IsTerminal;
use std::pin::pin;
use std::process::ExitCode;

use presently::{Config, Log, LogFormat, Server, StartError};
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::output::failed;

/// Serves as `config` says.
pub async fn serve(config: Config) -> ExitCode {
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
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
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
    if config.log_format == LogFormat::Json {
        log.be_json();
    }
    log.catch_panics();
    Ok(log)
}
