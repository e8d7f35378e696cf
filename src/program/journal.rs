//! `presently inspect`, `presently repair` and `presently backup`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use presently::offline;

use crate::output::{failed, print};

/// The directory of a journal.
#[derive(Args)]
pub struct Directory {
    /// The directory of --data
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// The directory of a journal, and that of its copy.
#[derive(Args)]
pub struct Copied {
    /// The directory of --data
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// An empty directory; created if there is none
    #[arg(value_name = "TARGET")]
    target: PathBuf,
}

/// Prints what is in the directory; exit code 0 means that a gateway can start with it.
pub fn inspect(of: &Directory) -> ExitCode {
    match offline::inspect(&of.directory) {
        Ok((text, opens)) => {
            let printed = print(Ok(text.trim_end().to_owned()));
            if opens { printed } else { ExitCode::from(1) }
        }
        Err((code, sentence)) => failed(code, &sentence),
    }
}

/// Cuts a damaged journal, and prints what is lost.
pub fn repair(of: &Directory) -> ExitCode {
    print(offline::repair(&of.directory))
}

/// Copies a journal.
pub fn backup(of: &Copied) -> ExitCode {
    print(offline::backup(&of.directory, &of.target))
}
