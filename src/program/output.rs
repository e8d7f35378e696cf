//! What the program says on standard output, and on standard error before it exits.

use std::io::Write;
use std::process::ExitCode;

use presently::Log;

/// Prints help and version as clap formats them, and a mistake as one sentence.
pub fn refuse_options(error: &clap::Error) -> ExitCode {
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
pub fn print(said: Result<String, (u8, String)>) -> ExitCode {
    match said {
        Ok(text) => {
            // Fails only when the reader has closed the pipe.
            let _ = std::io::stdout().write_all((text + "\n").as_bytes());
            ExitCode::SUCCESS
        }
        Err((code, sentence)) => failed(code, &sentence),
    }
}

/// Prints the reason of a failure as one sentence, and exits all the same where stderr is broken or not read.
pub fn failed(code: u8, sentence: &str) -> ExitCode {
    if let Ok(log) = Log::to_stderr() {
        log.line(format!("presently: {sentence}\n").as_bytes());
        log.finish();
    }
    ExitCode::from(code)
}
