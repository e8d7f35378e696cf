//! Keys that verify tokens, each with exactly one algorithm.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::access::pass::KeyId;
use crate::model::json::Entries;

/// The least bytes of a secret: as many as a SHA-256 digest has (RFC 7518, 3.2).
pub const MIN_SECRET: usize = 32;

/// The least bits of an RSA modulus (RFC 7518, 3.3).
const MIN_RSA_BITS: usize = 2_048;

/// The most bits of an RSA modulus: a larger one verifies nothing in this library.
const MAX_RSA_BITS: usize = 8_192;

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
    /// A digest of what the key is made of.
    material: KeyId,
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
pub struct KeyError(pub(super) String);

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
        match Content::of(bytes)? {
            Content::Set(text) => Key::of_file_set(text, kid),
            Content::Pem(text) => Ok(vec![Key::of_pem(text, kid)?]),
            Content::Secret(secret) => {
                let key = DecodingKey::from_secret(secret);
                Ok(vec![Key::new(Algorithm::HS256, key, secret, kid.map(str::to_owned))])
            }
        }
    }

    /// The keys of a set in a file. `kid` names a set's only key.
    fn of_file_set(text: &str, kid: Option<&str>) -> Result<Vec<Key>, KeyError> {
        let (mut keys, skipped) = Key::read_set(text, Origin::File)?;
        match (kid, &mut keys[..]) {
            (_, []) => return Err(KeyError(format!("has no usable key: {}", skipped.join("; ")))),
            (Some(kid), [only]) => *only = only.renamed(kid),
            (Some(_), _) => return Err(KeyError("is a set of several keys, which have names of their own".into())),
            (None, _) => {}
        }
        Ok(keys)
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
        let mut entries: Entries<'_> = serde_json::from_str(text).map_err(|_| KeyError("is no object".into()))?;
        if entries.sort().is_some() {
            return Err(KeyError("has a member twice".into()));
        }
        if entries.only("d").is_some() {
            return Err(KeyError("is a private key (d), and verifying needs the public one".into()));
        }
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
        // RFC 7517, 4.4: alg may be missing. Where it is there, it is the only one. Read by its own text, since the library does
        // not know all names.
        let named = entries.only("alg").map(|named| serde_json::from_str::<String>(named.get()).ok());
        if named.is_some_and(|named| named.as_deref().and_then(algorithm_of) != Some(algorithm)) {
            return Err(KeyError("names an algorithm (alg) other than HS256, RS256, ES256, EdDSA and Ed25519".into()));
        }
        Ok(Key::new(algorithm, key, &material, common.key_id.clone()))
    }

    fn of_pem(text: &str, kid: Option<&str>) -> Result<Key, KeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError("is a private key, and verifying needs the public one".into()));
        }
        if text.matches("-----BEGIN ").count() > 1 {
            return Err(KeyError("has several PEM blocks; give each key a file, or write a JWK set".into()));
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
        let material = key_id(digest(&SHA256, material).as_ref());
        Key { id: id_of(algorithm, kid.as_deref(), material), kid, algorithm, material, verifying }
    }

    /// The same key with the name `kid`, by which it is another one.
    fn renamed(&self, kid: &str) -> Self {
        Key { id: id_of(self.algorithm, Some(kid), self.material), kid: Some(kid.to_owned()), ..self.clone() }
    }

    /// Whether `signature` is this key's of `message`.
    pub fn verifies(&self, message: &str, signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.verifying, self.algorithm).unwrap_or(false)
    }
}

/// The algorithm of a name. RFC 9864 renames EdDSA with this curve.
pub fn algorithm_of(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" | "Ed25519" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

fn id_of(algorithm: Algorithm, kid: Option<&str>, material: KeyId) -> KeyId {
    let name = format!("{algorithm:?}\n{}\n", kid.map_or("-".to_owned(), |kid| format!("={kid}")));
    key_id(digest(&SHA256, &[name.as_bytes(), &material.0[..]].concat()).as_ref())
}

/// The identity of a digest.
pub fn key_id(digest: &[u8]) -> KeyId {
    let mut id = [0; 32];
    id.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    KeyId(id)
}

/// What a file has.
pub(super) enum Content<'a> {
    /// A JWK or a JWK set.
    Set(&'a str),
    /// PEM.
    Pem(&'a str),
    /// The bytes of a secret.
    Secret(&'a [u8]),
}

impl<'a> Content<'a> {
    /// Tells what `bytes` are. Nothing that looks like a public key is a secret: everybody may know it, and sign with it.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim_start_matches('\u{FEFF}').trim();
        if text.starts_with(['{', '[']) {
            return Ok(Content::Set(text));
        }
        if text.contains("-----BEGIN ") {
            return Ok(Content::Pem(text));
        }
        let other = if is_der(bytes) {
            Some("DER")
        } else if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
            Some("UTF-16")
        } else if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.contains("BEGIN SSH2") {
            Some("in the format of ssh")
        } else {
            None
        };
        if let Some(format) = other {
            return Err(KeyError(format!("is {format}; write the key as PEM, as a JWK set, or as raw bytes")));
        }
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let secret = secret.strip_suffix(b"\r").filter(|_| secret.len() < bytes.len()).unwrap_or(secret);
        match secret.len() >= MIN_SECRET {
            true => Ok(Content::Secret(secret)),
            false => Err(KeyError(format!("has {} bytes; a secret for HS256 has at least {MIN_SECRET}", secret.len()))),
        }
    }
}

/// Whether `bytes` are one ASN.1 sequence, as a public key in DER (X.690, 8.1.3).
fn is_der(bytes: &[u8]) -> bool {
    let Some((&[0x30, first], rest)) = bytes.split_first_chunk() else {
        return false;
    };
    let more = usize::from(first & 0x7F);
    match first {
        0..0x80 => rest.len() == more,
        _ => rest.split_at_checked(more).filter(|_| more <= 4).is_some_and(|(length, content)| {
            content.len() == length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        }),
    }
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
            let (n, e) = (decode(&key.n)?, decode(&key.e)?);
            let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
            if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
                let message = format!("is an RSA key of {bits} bits, and not of {MIN_RSA_BITS} to {MAX_RSA_BITS}");
                return Err(KeyError(message));
            }
            let components = RsaPublicKeyComponents { n: &n, e: &e };
            parsed(components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256))?;
            Ok((Algorithm::RS256, [n, e].concat()))
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            let point = [vec![4], decode(&key.x)?, decode(&key.y)?].concat();
            parsed(ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point))?;
            Ok((Algorithm::ES256, point))
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            let point = decode(&key.x)?;
            parsed(ParsedPublicKey::new(&ED25519, &point))?;
            Ok((Algorithm::EdDSA, point))
        }
        AlgorithmParameters::EllipticCurve(_)
        | AlgorithmParameters::OctetKeyPair(_)
        | AlgorithmParameters::Other(_)
        | _ => Err(KeyError("is of a kind or curve other than RSA, P-256, Ed25519 and secrets".into())),
    }
}

/// Looks for a key that no signature would ever fit.
fn parsed<T, E>(key: Result<T, E>) -> Result<(), KeyError> {
    key.map(drop).map_err(|_| KeyError("is not a valid public key".into()))
}

#[cfg(test)]
mod tests;
