//! `presently bench`.

use std::io::Write;
use std::process::ExitCode;

use presently::bench;

use crate::output::failed;
use crate::signals::stop_signal;

/// Runs a bench, and prints the report.
pub async fn load(options: bench::Options) -> ExitCode {
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
