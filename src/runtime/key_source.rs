//! Where keys come from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// A key's file, and the name of the key in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// The `kid`; absent where the file itself names keys, or tokens name none.
    pub kid: Option<String>,
    /// The file.
    pub path: PathBuf,
}

impl FromStr for KeyFile {
    type Err = String;

    /// Reads `FILE` or `KID=FILE`. A path with `=` can be written with a `./` in front, or below a `/`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (kid, path) = match text.split_once('=') {
            Some((kid, path)) if !kid.contains('/') => (Some(kid.to_owned()), path),
            Some(_) | None => (None, text),
        };
        if path.is_empty() || kid.as_deref().is_some_and(str::is_empty) {
            return Err("write FILE or KID=FILE".to_owned());
        }
        Ok(KeyFile { kid, path: path.into() })
    }
}

/// Secrets that are values of variables, for places that know no files. Never in arguments, which all users of a machine see.
#[derive(Clone, Default)]
pub struct Secrets {
    /// `PRESENTLY_KEY_VALUE`: what a file of `--key` has.
    pub key: Option<Arc<str>>,
    /// `PRESENTLY_API_KEY_VALUE`: what a file of `--api-key` has.
    pub api_key: Option<Arc<str>>,
}

impl Secrets {
    /// The variable with a key.
    pub const KEY: &str = "PRESENTLY_KEY_VALUE";
    /// The variable with API keys.
    pub const API_KEY: &str = "PRESENTLY_API_KEY_VALUE";

    /// The secrets among the variables that `get` gives. Empty ones are none.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name| get(name).filter(|value| !value.is_empty()).map(Arc::from);
        Secrets { key: value(Secrets::KEY), api_key: value(Secrets::API_KEY) }
    }

    /// Whether there are none.
    pub fn are_none(&self) -> bool {
        self.key.is_none() && self.api_key.is_none()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |secret: &Option<Arc<str>>| secret.as_ref().map(|_| "…");
        f.debug_struct("Secrets").field("key", &told(&self.key)).field("api_key", &told(&self.api_key)).finish()
    }
}
