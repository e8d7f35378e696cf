//! Keys: read from files, fetched from an address, and read again when they change.

mod files;
mod jwks;
mod turns;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use crate::access::claims::Expected;
use crate::access::keyring::{Keyring, MAX_TOKEN, forged};
use crate::access::pass::{KeyId, Pass};
use crate::access::verified::{Known, Verified, token_id};
use crate::model::refusal::{Code, Refusal};
use crate::runtime::clock::unix_now;
use crate::runtime::config::Config;
use crate::runtime::keys::files::{Contents, Files};
use crate::runtime::keys::jwks::Jwks;
use crate::runtime::keys::turns::Turns;

pub use files::read;

/// The interval of looks at the files. By their content: a mounted secret changes by a link far up in its path.
const LOOK: Duration = Duration::from_secs(2);

/// The memory of verified tokens: some 16,000.
const VERIFIED_BYTES: usize = 16 << 20;

/// The checks that a token can fail, in the order of [`Keys::refused`].
pub const CHECKS: [&str; 12] =
    ["signature", "aud", "iss", "exp", "nbf", "iat", "kid", "alg", "keys", "claims", "crit", "format"];

/// The keys that count now.
pub struct Keys {
    files: Files,
    expected: Expected,
    jwks: Option<Jwks>,
    /// What the files had when they could be read last.
    read: Mutex<Contents>,
    /// The keys, and the number of their changes so far.
    current: RwLock<(Arc<Keyring>, u64)>,
    verified: Mutex<Verified>,
    turns: Turns,
    verifications: AtomicU64,
    refused: [AtomicU64; CHECKS.len()],
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
        let files = Files::of(config);
        let read = files.read()?;
        let keyring = Keyring::new(read.keys.clone(), read.api_keys.clone(), expected.clone());
        Ok(Keys {
            files,
            expected,
            jwks,
            read: Mutex::new(read),
            current: RwLock::new((Arc::new(keyring), 0)),
            verified: Mutex::new(Verified::new(VERIFIED_BYTES)),
            turns: Turns::new(),
            verifications: AtomicU64::new(0),
            refused: Default::default(),
            trouble: Mutex::new(None),
        })
    }

    /// Reads all files again. The old keys stay where that fails.
    pub async fn reload(&self) {
        // A file system may hang.
        let files = self.files.clone();
        let read = spawn_blocking(move || files.read()).await;
        let read = read.unwrap_or_else(|_| Err("the reading of the files was cut off".to_owned()));
        let trouble = read.as_ref().err().cloned();
        if *self.trouble.lock() != trouble {
            match &trouble {
                Some(error) => error!("the keys stay as they are: {error}"),
                None => info!("the keys can be read again"),
            }
            *self.trouble.lock() = trouble;
        }
        if let Ok(read) = read {
            *self.read.lock() = read;
            self.renew();
        }
    }

    /// Puts the keys of the files and of the address in the place of the present ones, if they differ.
    fn renew(&self) {
        let read = self.read.lock().clone();
        let fetched = self.jwks.as_ref().map(Jwks::keys).unwrap_or_default();
        let keys = fetched.into_iter().chain(read.keys).collect();
        let renewed = Keyring::new(keys, read.api_keys, self.expected.clone());
        let mut current = self.current.write();
        if renewed.is_like(&current.0) {
            return;
        }
        let (keys, api_keys) = renewed.names();
        info!(?keys, api_keys, "the keys have changed");
        *current = (Arc::new(renewed), current.1 + 1);
    }

    /// Keeps the keys as they are outside: looks at the files, and fetches the address when that is due.
    pub async fn keep(&self) {
        let looks = async {
            let mut looks = interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                self.reload().await;
            }
        };
        match &self.jwks {
            Some(jwks) => tokio::join!(looks, jwks.keep(|| self.renew())).0,
            None => looks.await,
        }
    }

    /// Fetches the keys at the address once, if there is one.
    ///
    /// # Errors
    ///
    /// A sentence about the address.
    pub async fn fetch(&self) -> Result<(), String> {
        if let Some(jwks) = &self.jwks {
            jwks.fetch().await?;
            self.renew();
        }
        Ok(())
    }

    /// The keys that count now.
    pub fn current(&self) -> Arc<Keyring> {
        self.current.read().0.clone()
    }

    /// The number of changes so far.
    pub fn version(&self) -> u64 {
        self.current.read().1
    }

    /// The number of signatures that were verified, cached ones aside.
    pub fn verifications(&self) -> u64 {
        self.verifications.load(Relaxed)
    }

    /// How many tokens failed each of [`CHECKS`].
    pub fn refused(&self) -> [u64; CHECKS.len()] {
        self.refused.each_ref().map(|count| count.load(Relaxed))
    }

    /// Whether a key counts now.
    pub fn knows(&self, key: KeyId) -> bool {
        self.current.read().0.knows(key)
    }

    /// Whether the keys of the address were fetched, if there is one.
    pub fn are_ready(&self) -> bool {
        self.jwks.as_ref().is_none_or(Jwks::is_ready)
    }

    /// Judges an API key or a token. Waits for a fetch where the token names an unknown key, and for a turn where many tokens
    /// are to be verified at once.
    ///
    /// # Errors
    ///
    /// `token_expired`, `token_invalid` with the check that failed, or `too_fast`.
    pub async fn judge(&self, credential: &str) -> Result<Arc<Pass>, Refusal> {
        let judged = self.judge_and_fetch(credential).await;
        let failed = judged.as_ref().err().and_then(|refusal| refusal.check);
        if let Some(at) = failed.and_then(|failed| CHECKS.iter().position(|check| *check == failed)) {
            self.refused[at].fetch_add(1, Relaxed);
        }
        judged
    }

    async fn judge_and_fetch(&self, credential: &str) -> Result<Arc<Pass>, Refusal> {
        let judged = self.judge_now(credential).await;
        let (Some(jwks), Err(refusal)) = (&self.jwks, &judged) else {
            return judged;
        };
        if !matches!(refusal.check, Some("kid" | "keys")) {
            return judged;
        }
        if jwks.fetched_for_unknown().await {
            return self.judge_now(credential).await;
        }
        match jwks.is_ready() {
            true => judged,
            false => Err(Refusal::check("keys", "the keys at --jwks could not be fetched yet; try again later")),
        }
    }

    async fn judge_now(&self, credential: &str) -> Result<Arc<Pass>, Refusal> {
        if credential.len() > MAX_TOKEN {
            let message = format!("the token has {} bytes, more than {MAX_TOKEN}", credential.len());
            return Err(Refusal::check("format", message));
        }
        let (keyring, version) = self.current.read().clone();
        let id = token_id(credential);
        match self.verified.lock().find(id, version) {
            Some(Known::Good(pass)) => return Ok(pass),
            Some(Known::Forged) => return Err(forged()),
            None => {}
        }
        if let Some(pass) = keyring.api_key(credential) {
            return Ok(pass);
        }
        let unverified = keyring.look(credential, unix_now())?;
        let Some(_turn) = self.turns.take().await else {
            let refusal = Refusal::new(Code::TooFast, "too many tokens are to be verified at once");
            return Err(Refusal { retry_after: Some(1), ..refusal });
        };
        self.verifications.fetch_add(1, Relaxed);
        let verified = unverified.verified();
        let mut known = self.verified.lock();
        match &verified {
            Ok(pass) => known.keep(id, credential.len(), pass.clone(), version),
            Err(refusal) if refusal.check == Some("signature") => known.keep_forged(id, version),
            Err(_) => {}
        }
        verified
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("files", &self.files).finish_non_exhaustive()
    }
}
