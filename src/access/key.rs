//! Keys that verify tokens, each with exactly one algorithm.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::access::pass::KeyId;

/// The least bytes of a secret: as many as a SHA-256 digest has (RFC 7518, 3.2).
pub const MIN_SECRET: usize = 32;

/// The least bits of an RSA modulus (RFC 7518, 3.3).
const MIN_RSA_BITS: usize = 2_048;

/// The most keys of one set: several of each of many services.
const MAX_KEYS: usize = 100;

/// A key, and the one algorithm for which it counts.
#[derive(Clone)]
pub struct Key {
    /// The key's identity: material, algorithm and name.
    pub id: KeyId,
    /// The name by which tokens refer to the key; without one, tokens name no key.
    pub kid: Option<String>,
    /// The algorithm.
    pub algorithm: Algorithm,
    verifying: DecodingKey,
}

/// Whether a set of keys is one's own, or anybody's who reads along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file, which may have secrets.
    File,
    /// An address, whose keys are public. A secret from there would be none.
    Address,
}

/// Why a text has no usable key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Key {
    /// The keys in the bytes of a file: JWKS, one JWK, PEM, or else a raw secret, of which a newline at the end is no part.
    ///
    /// # Errors
    ///
    /// A sentence about the content, which is not repeated.
    pub fn read(bytes: &[u8], kid: Option<&str>) -> Result<Vec<Key>, KeyError> {
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
        if text.starts_with('{') {
            let (mut keys, skipped) = Key::read_set(text, Origin::File)?;
            if let (Some(kid), [only]) = (kid, &mut keys[..]) {
                *only = only.renamed(Some(kid.to_owned()));
            } else if kid.is_some() {
                return Err(KeyError("is a set of several keys, which have names of their own".into()));
            }
            return match keys.is_empty() {
                true => Err(KeyError(format!("has no usable key: {}", skipped.join("; ")))),
                false => Ok(keys),
            };
        }
        if text.starts_with("-----BEGIN") {
            return Ok(vec![Key::of_pem(text, kid)?]);
        }
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let secret = secret.strip_suffix(b"\r").filter(|_| secret.len() < bytes.len()).unwrap_or(secret);
        if secret.len() < MIN_SECRET {
            let message = format!("has {} bytes; a secret for HS256 has at least {MIN_SECRET}", secret.len());
            return Err(KeyError(message));
        }
        let key = DecodingKey::from_secret(secret);
        Ok(vec![Key::new(Algorithm::HS256, key, secret, kid.map(str::to_owned))])
    }

    /// The usable keys of a JWKS (RFC 7517, 5) or of one JWK, each read by itself, and why others were skipped.
    ///
    /// # Errors
    ///
    /// A sentence where the text is no set.
    pub fn read_set(text: &str, origin: Origin) -> Result<(Vec<Key>, Vec<String>), KeyError> {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow)]
            keys: Option<Vec<&'a RawValue>>,
        }
        let set: Set<'_> = serde_json::from_str(text).map_err(|_| KeyError("is not a JWK set".into()))?;
        let one = || serde_json::from_str::<&RawValue>(text).into_iter().collect();
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (at, jwk) in set.keys.unwrap_or_else(one).into_iter().take(MAX_KEYS).enumerate() {
            match Key::of_jwk(jwk.get(), origin) {
                Ok(key) => keys.push(key),
                Err(KeyError(why)) => skipped.push(format!("key {at} {why}")),
            }
        }
        Ok((keys, skipped))
    }

    fn of_jwk(text: &str, origin: Origin) -> Result<Key, KeyError> {
        let jwk: Jwk = serde_json::from_str(text).map_err(|_| KeyError("is not a JWK".into()))?;
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|it| *it != PublicKeyUse::Signature) {
            return Err(KeyError("is not for signatures (use)".into()));
        }
        if common.key_operations.as_ref().is_some_and(|all| !all.contains(&KeyOperations::Verify)) {
            return Err(KeyError("is not for verifying (key_ops)".into()));
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| KeyError("is malformed".into()))?;
        let (algorithm, material) = material(&jwk.algorithm)?;
        if origin == Origin::Address && algorithm == Algorithm::HS256 {
            return Err(KeyError("is a secret, which no address may publish".into()));
        }
        // RFC 7517, 4.4: alg may be missing. Where it is there, it is the only one; RFC 9864 renames EdDSA.
        let is_named = |named: &KeyAlgorithm| {
            let name = named.to_string();
            name == format!("{algorithm:?}") || name == "Ed25519" && algorithm == Algorithm::EdDSA
        };
        if !common.key_algorithm.as_ref().is_none_or(is_named) {
            return Err(KeyError("names an algorithm (alg) other than HS256, RS256, ES256, EdDSA and Ed25519".into()));
        }
        Ok(Key::new(algorithm, key, &material, common.key_id.clone()))
    }

    fn of_pem(text: &str, kid: Option<&str>) -> Result<Key, KeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError("is a private key, and verifying needs the public one".into()));
        }
        let pem = text.as_bytes();
        let found = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem));
        let key = found.map_err(|_| KeyError("is not the PEM of an RSA, P-256 or Ed25519 public key".into()))?;
        let jwk = Jwk::from_decoding_key(&key, None).map_err(|_| KeyError("is a malformed public key".into()))?;
        let (algorithm, material) = material(&jwk.algorithm)?;
        Ok(Key::new(algorithm, key, &material, kid.map(str::to_owned)))
    }

    fn new(algorithm: Algorithm, verifying: DecodingKey, material: &[u8], kid: Option<String>) -> Self {
        let material = digest(&SHA256, material);
        let name = format!("{algorithm:?}\n{}\n", kid.as_deref().map_or("-".to_owned(), |kid| format!("={kid}")));
        let id = digest(&SHA256, &[name.as_bytes(), material.as_ref()].concat());
        Key { id: key_id(id.as_ref()), kid, algorithm, verifying }
    }

    fn renamed(&self, kid: Option<String>) -> Self {
        let id = digest(&SHA256, &[&self.id.0[..], kid.as_deref().unwrap_or_default().as_bytes()].concat());
        Key { id: key_id(id.as_ref()), kid, ..self.clone() }
    }

    /// Whether `signature` is this key's of `message`.
    pub fn verifies(&self, message: &str, signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.verifying, self.algorithm).unwrap_or(false)
    }
}

/// The identity of a digest.
pub fn key_id(digest: &[u8]) -> KeyId {
    let mut id = [0; 32];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    KeyId(id)
}

/// The algorithm of a key's parameters, and what identifies the key.
fn material(parameters: &AlgorithmParameters) -> Result<(Algorithm, Vec<u8>), KeyError> {
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError("is malformed".into()));
    match parameters {
        AlgorithmParameters::OctetKey(key) => {
            let secret = decode(&key.value)?;
            match secret.len() >= MIN_SECRET {
                true => Ok((Algorithm::HS256, secret)),
                false => Err(KeyError(format!("has a secret of less than {MIN_SECRET} bytes"))),
            }
        }
        AlgorithmParameters::RSA(key) => {
            let (modulus, exponent) = (decode(&key.n)?, decode(&key.e)?);
            let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
            match (modulus.len() - zeros) * 8 >= MIN_RSA_BITS {
                true => Ok((Algorithm::RS256, [modulus, exponent].concat())),
                false => Err(KeyError(format!("is an RSA key of less than {MIN_RSA_BITS} bits"))),
            }
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Ok((Algorithm::ES256, [decode(&key.x)?, decode(&key.y)?].concat()))
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Ok((Algorithm::EdDSA, decode(&key.x)?))
        }
        AlgorithmParameters::EllipticCurve(_)
        | AlgorithmParameters::OctetKeyPair(_)
        | AlgorithmParameters::Other(_)
        | _ => Err(KeyError("is of a kind or curve other than RSA, P-256, Ed25519 and secrets".into())),
    }
}
