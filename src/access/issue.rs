//! Making tokens, for backends without a library of their own and for trying things out.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::access::key::{Content, KeyError};
use crate::access::pass::UnixTime;
use crate::access::verb::{Verb, Verbs};
use crate::model::name::Name;

/// What a new token says.
#[derive(Debug)]
pub struct Issue {
    /// The user.
    pub sub: Name,
    /// The audience.
    pub audience: String,
    /// The issuer.
    pub issuer: Option<String>,
    /// The name of the token, for revocations.
    pub jti: String,
    /// The rooms, each as a pattern in which `{sub}` may stand, and what is allowed there.
    pub rooms: Vec<(String, Verbs)>,
    /// Whether what is outside of rooms is allowed.
    pub is_admin: bool,
    /// What is shown beside the user's `meta`, as JSON.
    pub info: Option<Box<RawValue>>,
    /// When the token is made.
    pub issued: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    sub: &'a str,
    iat: UnixTime,
    exp: UnixTime,
    jti: &'a str,
    presently: Own<'a>,
}

#[derive(Serialize)]
struct Own<'a> {
    rooms: Vec<Granted<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    admin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Granted<'a> {
    r#match: &'a str,
    can: &'a [&'static str],
}

impl Issue {
    /// The token, signed with the key in the bytes of a file: a raw secret, or a private key as PEM.
    ///
    /// # Errors
    ///
    /// A sentence about the key, which is not repeated.
    pub fn token(&self, key: &[u8], kid: Option<&str>) -> Result<String, KeyError> {
        let (algorithm, key) = signing(key)?;
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        let granted = |(rooms, can): &'_ (String, Verbs)| (rooms.clone(), can.iter().map(Verb::name).collect());
        let rooms: Vec<(String, Vec<_>)> = self.rooms.iter().map(granted).collect();
        let claims = Claims {
            aud: &self.audience,
            iss: self.issuer.as_deref(),
            sub: &self.sub,
            iat: self.issued,
            exp: self.expires,
            jti: &self.jti,
            presently: Own {
                rooms: rooms.iter().map(|(rooms, can)| Granted { r#match: rooms, can }).collect(),
                admin: self.is_admin,
                info: self.info.as_deref(),
            },
        };
        jsonwebtoken::encode(&header, &claims, &key).map_err(|_| {
            KeyError("cannot sign: it is not an RSA (from 2,048 bits), P-256 or Ed25519 private key".into())
        })
    }
}

fn signing(bytes: &[u8]) -> Result<(Algorithm, EncodingKey), KeyError> {
    let pem = match Content::of(bytes)? {
        Content::Secret(secret) => return Ok((Algorithm::HS256, EncodingKey::from_secret(secret))),
        Content::Set(_) => {
            return Err(KeyError("is a JWK set; signing needs a raw secret, or a private key as PEM".into()));
        }
        Content::Pem(text) => text,
    };
    if !pem.contains("PRIVATE KEY-----") {
        return Err(KeyError("is a public key; signing needs the private one".into()));
    }
    let rsa = EncodingKey::from_rsa_pem(pem.as_bytes()).map(|key| (Algorithm::RS256, key));
    let ec = || EncodingKey::from_ec_pem(pem.as_bytes()).map(|key| (Algorithm::ES256, key));
    let ed = || EncodingKey::from_ed_pem(pem.as_bytes()).map(|key| (Algorithm::EdDSA, key));
    rsa.or_else(|_| ec()).or_else(|_| ed()).map_err(|_| {
        let convert = "openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW";
        KeyError(format!("is not an RSA, P-256 or Ed25519 private key in PKCS#8; try {convert}"))
    })
}
