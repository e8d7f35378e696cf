//! The journal's subcommands: what is in a directory, a repair, a copy. Errors come with an exit code, as everywhere in the
//! program.

use std::path::Path;

use crate::journal::error::OpenError;
use crate::journal::log::Read;
use crate::journal::repair::Judge;
use crate::journal::{backup as copying, checkpoint, codec, inspect as looking, repair as cutting};

/// The journal cannot be used.
const UNUSABLE: u8 = 1;

/// What `presently inspect` prints, and whether a gateway could start with it.
///
/// # Errors
///
/// The directory can't be read.
pub fn inspect(directory: &Path) -> Result<(String, bool), (u8, String)> {
    let inspected = looking::inspect(directory, judge()).map_err(|error| refusal(&error, directory))?;
    Ok((inspected.text, inspected.opens))
}

/// What `presently repair` prints: what was cut.
///
/// # Errors
///
/// A process uses the directory, a file is of a later version, or the system refused a step.
pub fn repair(directory: &Path) -> Result<String, (u8, String)> {
    let said = cutting::repair(directory, &judge).map_err(|error| refusal(&error, directory))?;
    Ok(if said.is_empty() { "nothing is damaged".to_owned() } else { said.join("\n") })
}

/// What `presently backup` prints: what was copied.
///
/// # Errors
///
/// The journal is damaged, the target is not empty, or the system refused a step.
pub fn backup(directory: &Path, target: &Path) -> Result<String, (u8, String)> {
    let copied = copying::backup(directory, target).map_err(|error| refusal(&error, directory))?;
    let (files, bytes, entries) = (copied.files, copied.bytes, copied.entries);
    Ok(match copied.of_node {
        true => format!(
            "copied the snapshot of a gateway with --cluster, {bytes} bytes; the log is at the servers of --cluster"
        ),
        false => format!("copied {files} files, {bytes} bytes, with {entries} entries after the checkpoint"),
    })
}

fn refusal(error: &OpenError, directory: &Path) -> (u8, String) {
    (UNUSABLE, error.sentence("DIR", directory))
}

/// Refuses what no gateway could fold.
fn judge() -> Judge {
    Box::new(|read| match read {
        Read::Part(part) => checkpoint::read(part, |_| Ok(())).map_err(|error| error.to_string()),
        Read::Record(record) => codec::decode(record.payload).map(drop).map_err(|error| error.to_string()),
    })
}
