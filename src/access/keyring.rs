//! Keyrings: all keys that count at one time, and the judgement of a credential by them.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use crate::access::claims::{Claims, Expected, Head};
use crate::access::key::{Key, MIN_SECRET, algorithm_of, key_id};
use crate::access::pass::{KeyId, Pass, UnixTime};
use crate::model::refusal::Refusal;

/// The most bytes of a token: it travels with requests, whose heads are bounded.
pub const MAX_TOKEN: usize = 8 * 1024;

/// The most keys with which one token is tried that names none. More would make one forged token as costly as many.
const MAX_TRIED: usize = 4;

/// An API key, of which only a digest is kept.
#[derive(Clone)]
pub struct ApiKey {
    digest: KeyId,
    /// The identity of the key in passes: a digest of the digest, and of what the key may do.
    id: KeyId,
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
            keys.push(ApiKey::of(key, only_reads));
        }
        match keys.is_empty() {
            true => Err("there is no API key in it".to_owned()),
            false => Ok(keys),
        }
    }

    fn of(key: &str, only_reads: bool) -> Self {
        let (own, kind): (_, &[u8]) = (digest_of(key), if only_reads { b"api read" } else { b"api" });
        let id = key_id(digest(&SHA256, &[&own.0[..], kind].concat()).as_ref());
        ApiKey { digest: own, id, only_reads }
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
        self.keys.iter().any(|key| key.id == id) || self.api_keys.iter().any(|key| key.id == id)
    }

    /// Whether both have the same keys.
    pub fn is_like(&self, other: &Keyring) -> bool {
        let ids = |ring: &Keyring| -> Vec<KeyId> {
            ring.keys.iter().map(|key| key.id).chain(ring.api_keys.iter().map(|key| key.id)).collect()
        };
        ids(self) == ids(other)
    }

    /// The pass of an API key.
    pub fn api_key(&self, credential: &str) -> Option<Arc<Pass>> {
        let given = digest_of(credential);
        // All are compared, so that the time tells nothing.
        let same = |key: &ApiKey| verify_slices_are_equal(&key.digest.0, &given.0).is_ok();
        let found = self.api_keys.iter().fold(None, |found, key| if same(key) { Some(key) } else { found })?;
        Some(Arc::new(Pass::api_key(found.id, found.only_reads)))
    }

    /// Judges a token at the time `now`.
    ///
    /// # Errors
    ///
    /// `token_expired`, or `token_invalid` with the check that failed.
    pub fn token(&self, token: &str, now: UnixTime) -> Result<Arc<Pass>, Refusal> {
        self.look(token, now)?.verified()
    }

    /// Does the checks that cost nothing, beside a signature of 50 us: a token that fails one takes nobody's turn.
    ///
    /// # Errors
    ///
    /// `token_expired`, or `token_invalid` with the check that failed.
    pub fn look<'a>(&'a self, token: &'a str, now: UnixTime) -> Result<Unverified<'a>, Refusal> {
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
        let claims = Claims::read(claims, &self.expected, now)?;
        Ok(Unverified { keys, message, signature, claims })
    }

    /// The keys that a token with this head may be signed with; at least one.
    fn keys_of(&self, head: &Head) -> Result<Vec<&Key>, Refusal> {
        if self.keys.is_empty() {
            return Err(Refusal::check("keys", "the gateway has no key for tokens, only API keys"));
        }
        // A key with a name also serves tokens that name none; a key without a name serves only such tokens.
        let is_named = |key: &&Key| head.kid.is_none() || key.kid == head.kid;
        let named: Vec<_> = self.keys.iter().filter(is_named).collect();
        if named.is_empty() {
            return Err(Refusal::check("kid", "the token's kid names no key of this gateway"));
        }
        let algorithm = algorithm_of(&head.algorithm);
        let fitting: Vec<_> = named.into_iter().filter(|key| Some(key.algorithm) == algorithm).collect();
        match fitting.len() {
            0 => Err(Refusal::check("alg", "the token's alg is not that of the key")),
            1..=MAX_TRIED => Ok(fitting),
            many => Err(Refusal::check("kid", format!("the token has no kid, and {many} keys have its alg"))),
        }
    }
}

/// A token that passed the checks without the key.
pub struct Unverified<'a> {
    keys: Vec<&'a Key>,
    message: &'a str,
    signature: &'a str,
    claims: Claims,
}

impl Unverified<'_> {
    /// Verifies the signature, and reads what the token grants.
    ///
    /// # Errors
    ///
    /// `token_invalid`: `signature` or `claims`.
    pub fn verified(self) -> Result<Arc<Pass>, Refusal> {
        match self.keys.iter().find(|key| key.verifies(self.message, self.signature)) {
            Some(key) => self.claims.pass(key.id).map(Arc::new),
            None => Err(forged()),
        }
    }
}

/// The refusal of a token whose signature is bad.
pub fn forged() -> Refusal {
    Refusal::check("signature", "the token's signature is not that of the key")
}

fn digest_of(text: &str) -> KeyId {
    key_id(digest(&SHA256, text.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests;
