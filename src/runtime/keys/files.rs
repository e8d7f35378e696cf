//! The files with keys.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::access::key::Key;
use crate::access::keyring::ApiKey;
use crate::runtime::config::Config;
use crate::runtime::key_source::{KeyFile, Secrets};

/// The most bytes of a file with keys: 100 keys of a set are some 40 KiB.
const MAX_FILE: u64 = 64 * 1024;

/// The files that the options name.
#[derive(Clone, Debug)]
pub struct Files {
    keys: Vec<KeyFile>,
    api_keys: Vec<PathBuf>,
    secrets: Secrets,
}

/// The keys in the files.
#[derive(Clone, Default)]
pub struct Contents {
    /// Keys that verify tokens.
    pub keys: Vec<Key>,
    /// API keys.
    pub api_keys: Vec<ApiKey>,
}

impl Files {
    /// The files that `config` names.
    pub fn of(config: &Config) -> Self {
        Files { keys: config.keys.clone(), api_keys: config.api_keys.clone(), secrets: config.secrets.clone() }
    }

    /// Reads all files. Blocks.
    ///
    /// # Errors
    ///
    /// A sentence about the first file that cannot be read, or has no usable key. No content is repeated.
    pub fn read(&self) -> Result<Contents, String> {
        let mut all = Contents::default();
        for KeyFile { kid, path } in &self.keys {
            let read = Key::read(&read(path)?, kid.as_deref());
            all.keys.extend(read.map_err(|error| format!("--key: {} {error}", path.display()))?);
        }
        if let Some(secret) = &self.secrets.key {
            let read = Key::read(secret.as_bytes(), None);
            all.keys.extend(read.map_err(|error| format!("{} {error}", Secrets::KEY))?);
        }
        if let Some(secret) = &self.secrets.api_key {
            all.api_keys.extend(ApiKey::read(secret).map_err(|error| format!("{}: {error}", Secrets::API_KEY))?);
        }
        for path in &self.api_keys {
            let bad = |why: &dyn fmt::Display| format!("--api-key: {}: {why}", path.display());
            let text = String::from_utf8(read(path)?).map_err(|_| bad(&"the file is not text in UTF-8"))?;
            all.api_keys.extend(ApiKey::read(&text).map_err(|error| bad(&error))?);
        }
        Ok(all)
    }
}

/// The bytes of one file. Bounded while they are read, since a pipe or a device has no size.
///
/// # Errors
///
/// A sentence with the file's name.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |why: &dyn fmt::Display| format!("cannot read the keys in {}: {why}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| cannot(&error))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(cannot(&format!("a file of keys has at most {MAX_FILE} bytes"))),
        false => Ok(bytes),
    }
}
