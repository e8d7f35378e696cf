//! Keys: read from files, fetched from an address, and read again when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use crate::access::claims::Expected;
use crate::access::key::Key;
use crate::access::keyring::{ApiKey, Keyring};
use crate::access::pass::{KeyId, Pass};
use crate::access::verified::{Verified, token_id};
use crate::model::refusal::Refusal;
use crate::runtime::clock::unix_now;
use crate::runtime::config::{Config, KeyFile};
use crate::runtime::jwks::Jwks;

/// The interval of looks at the files. By their content: a mounted secret changes by a link far up in its path.
pub const LOOK: Duration = Duration::from_secs(2);

/// The most bytes of a file with keys.
const MAX_FILE: u64 = 64 * 1024;

/// The memory of verified tokens: some 16,000.
const VERIFIED_BYTES: usize = 16 << 20;

/// The keys that count now.
pub struct Keys {
    files: Vec<KeyFile>,
    api_files: Vec<PathBuf>,
    expected: Expected,
    jwks: Option<Jwks>,
    current: RwLock<Arc<Keyring>>,
    /// Counts the changes.
    version: AtomicU64,
    verified: Mutex<Verified>,
    /// Verifications that go on at once: half of the processors. A flood of forged tokens leaves the other half to others.
    turns: Semaphore,
    verifications: AtomicU64,
    /// The last trouble with the files, told once.
    trouble: Mutex<Option<String>>,
}

impl Keys {
    /// Reads the keys that `config` names.
    ///
    /// # Errors
    ///
    /// A sentence about the first file that cannot be read, or has no usable key, or about the address.
    pub fn load(config: &Config) -> Result<Self, String> {
        let expected = Expected { audience: config.token_audience.clone(), issuer: config.token_issuer.clone() };
        let jwks = config.jwks.as_deref().map(|url| Jwks::new(url, config.jwks_ca.as_deref())).transpose()?;
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let empty = Keyring::new(Vec::new(), Vec::new(), expected.clone());
        let keys = Keys {
            files: config.keys.clone(),
            api_files: config.api_keys.clone(),
            expected,
            jwks,
            current: RwLock::new(Arc::new(empty)),
            version: AtomicU64::new(0),
            verified: Mutex::new(Verified::new(VERIFIED_BYTES)),
            turns: Semaphore::new((processors / 2).max(1)),
            verifications: AtomicU64::new(0),
            trouble: Mutex::new(None),
        };
        let read = keys.read()?;
        *keys.current.write() = Arc::new(read);
        Ok(keys)
    }

    fn read(&self) -> Result<Keyring, String> {
        let mut keys = self.jwks.as_ref().map(Jwks::keys).unwrap_or_default();
        for KeyFile { kid, path } in &self.files {
            let read = Key::read(&contents(path)?, kid.as_deref());
            keys.extend(read.map_err(|error| format!("--key: {} {error}", path.display()))?);
        }
        let mut api_keys = Vec::new();
        for path in &self.api_files {
            let text =
                String::from_utf8(contents(path)?).map_err(|_| format!("--api-key: {} is not text", path.display()))?;
            api_keys.extend(ApiKey::read(&text).map_err(|error| format!("--api-key: {}: {error}", path.display()))?);
        }
        Ok(Keyring::new(keys, api_keys, self.expected.clone()))
    }

    /// Reads all files again. The old keys stay where that fails.
    pub fn reload(&self) {
        let read = self.read();
        let trouble = read.as_ref().err().cloned();
        if *self.trouble.lock() != trouble {
            match &trouble {
                Some(error) => error!("the keys stay as they are: {error}"),
                None => info!("the keys can be read again"),
            }
            *self.trouble.lock() = trouble;
        }
        let Ok(read) = read else {
            return;
        };
        if read.is_like(&self.current.read()) {
            return;
        }
        let (keys, api_keys) = read.names();
        info!(?keys, api_keys, "the keys have changed");
        *self.current.write() = Arc::new(read);
        self.version.fetch_add(1, Relaxed);
    }

    /// Keeps the keys as they are outside: looks at the files, and fetches the address when that is due.
    pub async fn keep(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Some(jwks) = &self.jwks {
                jwks.fetch_if_due().await;
            }
            self.reload();
        }
    }

    /// The keys that count now.
    pub fn current(&self) -> Arc<Keyring> {
        self.current.read().clone()
    }

    /// The number of changes so far.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// The number of signatures that were verified, cached ones aside.
    pub fn verifications(&self) -> u64 {
        self.verifications.load(Relaxed)
    }

    /// Whether a key counts now.
    pub fn knows(&self, key: KeyId) -> bool {
        self.current.read().knows(key)
    }

    /// Whether the keys of the address were fetched, if there is one.
    pub fn are_ready(&self) -> bool {
        self.jwks.as_ref().is_none_or(Jwks::is_ready)
    }

    /// Judges an API key or a token. Fetches keys where the token names an unknown one.
    ///
    /// # Errors
    ///
    /// `token_expired`, or `token_invalid` with the check that failed.
    pub async fn judge(&self, credential: &str) -> Result<Arc<Pass>, Refusal> {
        let known = self.judge_now(credential).await;
        let Some(jwks) = &self.jwks else {
            return known;
        };
        match known {
            Err(refusal) if matches!(refusal.check, Some("kid" | "keys")) => {
                if jwks.fetch_for_unknown().await {
                    self.reload();
                    return self.judge_now(credential).await;
                }
                match jwks.is_ready() {
                    true => Err(refusal),
                    false => {
                        Err(Refusal::check("keys", "the keys at --jwks could not be fetched yet; try again later"))
                    }
                }
            }
            judged => judged,
        }
    }

    async fn judge_now(&self, credential: &str) -> Result<Arc<Pass>, Refusal> {
        let (version, keyring) = (self.version(), self.current());
        let id = token_id(credential);
        if let Some(pass) = self.verified.lock().find(id, version) {
            return Ok(pass);
        }
        if let Some(pass) = keyring.api_key(credential) {
            return Ok(pass);
        }
        // Closed only at the end of the process.
        let _turn = self.turns.acquire().await;
        self.verifications.fetch_add(1, Relaxed);
        let pass = keyring.token(credential, unix_now())?;
        self.verified.lock().keep(id, credential.len(), pass.clone(), version);
        Ok(pass)
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |why: &dyn fmt::Display| format!("cannot read the keys in {}: {why}", path.display());
    let size = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
    if size > MAX_FILE {
        return Err(cannot(&format!("{size} bytes are more than {MAX_FILE}")));
    }
    std::fs::read(path).map_err(|error| cannot(&error))
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("files", &self.files).field("api_files", &self.api_files).finish_non_exhaustive()
    }
}
