//! Keyrings: all keys that count at one time, and the judgement of a credential by them.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::Algorithm;

use crate::access::claims::{self, Expected, Head};
use crate::access::key::{Key, MIN_SECRET, key_id};
use crate::access::pass::{KeyId, Pass, UnixTime};
use crate::model::refusal::Refusal;

/// The most bytes of a token: it travels with requests, whose heads are bounded.
pub const MAX_TOKEN: usize = 8 * 1024;

/// The most keys without a name that one token is tried with.
const MAX_TRIED: usize = 8;

/// An API key, of which only a digest is kept.
#[derive(Clone)]
pub struct ApiKey {
    digest: KeyId,
    only_reads: bool,
}

/// The keys. A change makes another keyring.
#[derive(Clone)]
pub struct Keyring {
    keys: Vec<Key>,
    api_keys: Vec<ApiKey>,
    expected: Expected,
}

impl ApiKey {
    /// Reads a file's text: one key on each line, `read ` before a key makes it read-only; empty lines and those that begin
    /// with `#` count for nothing.
    ///
    /// # Errors
    ///
    /// A sentence about a line, which is not repeated.
    pub fn read(text: &str) -> Result<Vec<ApiKey>, String> {
        let mut keys = Vec::new();
        for (at, line) in
            text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        {
            let (key, only_reads) = line.strip_prefix("read ").map_or((line, false), |key| (key.trim(), true));
            if key.len() < MIN_SECRET {
                return Err(format!("line {}: an API key has at least {MIN_SECRET} bytes", at + 1));
            }
            if key.contains(char::is_whitespace) {
                return Err(format!("line {}: an API key has no spaces", at + 1));
            }
            keys.push(ApiKey { digest: digest_of(key), only_reads });
        }
        match keys.is_empty() {
            true => Err("there is no API key in it".to_owned()),
            false => Ok(keys),
        }
    }

    /// The identity of the key in passes: a digest of the digest, and of what the key may do.
    fn id(&self) -> KeyId {
        let kind: &[u8] = if self.only_reads { b"api read" } else { b"api" };
        key_id(digest(&SHA256, &[&self.digest.0[..], kind].concat()).as_ref())
    }
}

impl Keyring {
    /// The keyring of `keys` and `api_keys`.
    pub fn new(keys: Vec<Key>, api_keys: Vec<ApiKey>, expected: Expected) -> Self {
        Keyring { keys, api_keys, expected }
    }

    /// The names and algorithms of the keys, and the number of API keys, for the log.
    pub fn names(&self) -> (Vec<String>, usize) {
        let name = |key: &Key| format!("{} {:?}", key.kid.as_deref().unwrap_or("-"), key.algorithm);
        (self.keys.iter().map(name).collect(), self.api_keys.len())
    }

    /// Whether a key counts now.
    pub fn knows(&self, id: KeyId) -> bool {
        self.keys.iter().any(|key| key.id == id) || self.api_keys.iter().any(|key| key.id() == id)
    }

    /// Whether both have the same keys.
    pub fn is_like(&self, other: &Keyring) -> bool {
        let ids = |ring: &Keyring| -> Vec<KeyId> {
            ring.keys.iter().map(|key| key.id).chain(ring.api_keys.iter().map(ApiKey::id)).collect()
        };
        ids(self) == ids(other)
    }

    /// The pass of an API key.
    pub fn api_key(&self, credential: &str) -> Option<Arc<Pass>> {
        let given = digest_of(credential);
        // All are compared, so that the time tells nothing.
        let same = |key: &ApiKey| verify_slices_are_equal(&key.digest.0, &given.0).is_ok();
        let found = self.api_keys.iter().fold(None, |found, key| if same(key) { Some(key) } else { found })?;
        Some(Arc::new(Pass::api_key(found.id(), found.only_reads)))
    }

    /// Judges a token at the time `now`.
    ///
    /// # Errors
    ///
    /// `token_expired`, or `token_invalid` with the check that failed.
    pub fn token(&self, token: &str, now: UnixTime) -> Result<Arc<Pass>, Refusal> {
        if token.len() > MAX_TOKEN {
            let message = format!("the token has {} bytes, more than {MAX_TOKEN}", token.len());
            return Err(Refusal::check("format", message));
        }
        let not_three =
            || Refusal::check("format", "this is neither an API key of this gateway nor a token of three parts");
        let (message, signature) = token.rsplit_once('.').ok_or_else(not_three)?;
        let (head, claims) =
            message.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or_else(not_three)?;
        let keys = self.keys_of(&Head::read(head)?)?;
        // The claims cost nothing, a signature 50 us.
        let pass = claims::judge(claims, &self.expected, keys[0].id, now)?;
        match keys.iter().find(|key| key.verifies(message, signature)) {
            Some(key) => Ok(Arc::new(Pass { key: Some(key.id), ..pass })),
            None => Err(Refusal::check("signature", "the token's signature is not that of the key")),
        }
    }

    /// The keys that a token with this head may be signed with; at least one.
    fn keys_of(&self, head: &Head) -> Result<Vec<&Key>, Refusal> {
        if self.keys.is_empty() {
            return Err(Refusal::check("keys", "the gateway has no key for tokens, only API keys"));
        }
        let named: Vec<_> = match &head.kid {
            Some(kid) => self.keys.iter().filter(|key| key.kid.as_ref() == Some(kid)).collect(),
            // A key with a name also serves tokens that name none.
            None => self.keys.iter().take(MAX_TRIED).collect(),
        };
        if named.is_empty() {
            return Err(Refusal::check("kid", "the token's kid names no key of this gateway"));
        }
        let algorithm = algorithm(&head.algorithm);
        let fitting: Vec<_> = named.into_iter().filter(|key| Some(key.algorithm) == algorithm).collect();
        match fitting.is_empty() {
            true => Err(Refusal::check("alg", "the token's alg is not that of the key")),
            false => Ok(fitting),
        }
    }
}

/// The algorithm of a name. RFC 9864 renames EdDSA with this curve.
fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" | "Ed25519" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

fn digest_of(text: &str) -> KeyId {
    key_id(digest(&SHA256, text.as_bytes()).as_ref())
}
