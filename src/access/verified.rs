//! Verified tokens, so that one token is verified once and not with each request.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use crate::access::key::key_id;
use crate::access::pass::{KeyId, Pass};

/// Passes by the digest of their token. In two generations: what is not used while the younger one fills up goes.
#[derive(Debug, Default)]
pub struct Verified {
    young: Generation,
    old: HashMap<KeyId, Arc<Pass>>,
    most_bytes: usize,
    /// The version of the keys.
    version: u64,
}

#[derive(Debug, Default)]
struct Generation {
    passes: HashMap<KeyId, Arc<Pass>>,
    bytes: usize,
}

/// The bytes of a short pass in the table.
const PASS_BYTES: usize = 512;

/// The digest by which a token is found.
pub fn token_id(token: &str) -> KeyId {
    key_id(digest(&SHA256, token.as_bytes()).as_ref())
}

impl Verified {
    /// Passes of at most `most_bytes`, about.
    pub fn new(most_bytes: usize) -> Self {
        Verified { most_bytes, ..Verified::default() }
    }

    /// The pass of a token that was verified with the keys of `version`.
    pub fn find(&mut self, token: KeyId, version: u64) -> Option<Arc<Pass>> {
        self.at(version);
        if let Some(pass) = self.young.passes.get(&token) {
            return Some(pass.clone());
        }
        let pass = self.old.get(&token)?.clone();
        self.put(token, pass.clone());
        Some(pass)
    }

    /// Keeps the pass of a token of so many bytes, which bound what it says, verified with the keys of `version`.
    pub fn keep(&mut self, token: KeyId, bytes: usize, pass: Arc<Pass>, version: u64) {
        // Verified with keys of before, it counts no more.
        if version >= self.version {
            self.at(version);
            self.young.bytes += 2 * bytes;
            self.put(token, pass);
        }
    }

    fn put(&mut self, token: KeyId, pass: Arc<Pass>) {
        self.young.bytes += PASS_BYTES;
        self.young.passes.insert(token, pass);
        if self.young.bytes >= self.most_bytes / 2 {
            self.old = std::mem::take(&mut self.young).passes;
        }
    }

    /// Forgets what other keys verified.
    fn at(&mut self, version: u64) {
        if version > self.version {
            (self.young, self.old, self.version) = (Generation::default(), HashMap::new(), version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::pass::Kind;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let (mut verified, pass) = (Verified::new(100 * PASS_BYTES), Arc::new(Pass::of(Kind::Token)));
        let id = |n: usize| token_id(&n.to_string());
        for n in 0..1_000 {
            verified.keep(id(n), 0, pass.clone(), 1);
            assert!(verified.find(id(0), 1).is_some(), "used again and again, {n}");
        }
        assert!(verified.find(id(999), 1).is_some() && verified.find(id(500), 1).is_none());
        assert!(verified.young.passes.len() + verified.old.len() <= 100);
        verified.keep(id(2_000), 50 * PASS_BYTES, pass, 1);
        assert!(verified.young.passes.is_empty(), "large ones count for more");
    }

    #[test]
    fn other_keys_begin_anew_and_late_judgements_do_not_count() {
        let (mut verified, pass) = (Verified::new(1 << 20), Arc::new(Pass::of(Kind::Token)));
        verified.keep(token_id("a"), 1, pass.clone(), 1);
        assert!(verified.find(token_id("a"), 2).is_none() && verified.find(token_id("a"), 1).is_none());
        verified.keep(token_id("b"), 1, pass, 1);
        assert!(verified.find(token_id("b"), 2).is_none());
    }
}
