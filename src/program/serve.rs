//! `presently`: serves until a signal.

use std::io::IsTerminal;
use std::process::ExitCode;

use presently::{Config, Inherited, Log, LogFormat, Server, StartError, is_told};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::output::failed;
use crate::signals::signals;

/// Serves as `config` says, also on the `inherited` sockets.
pub async fn serve(config: Config, inherited: Inherited) -> ExitCode {
    let log = match log(&config) {
        Ok(log) => log,
        Err(error) => return failed(2, &error),
    };
    let served = async {
        let stops = signals().map_err(|error| (1, format!("cannot listen for signals: {error}")))?;
        let server =
            Server::inherit(config, inherited).await.map_err(|error| (exit_code(&error), error.to_string()))?;
        server.run(stops).await;
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
        StartError::Listen { .. } | StartError::Data(_) | StartError::Takeover(_) | StartError::Users(_) => 1,
    }
}

/// Logs go to stderr. A panic is logged like any other error: one line, and the gateway goes on.
fn log(config: &Config) -> Result<Log, String> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| format!("--log: {error}"))?;
    let log = Log::to_stderr().map_err(|error| format!("cannot log to standard error: {error}"))?;
    let asked = config.log.clone();
    let told = filter_fn(move |line| is_told(&asked, line.target(), *line.level()));
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
