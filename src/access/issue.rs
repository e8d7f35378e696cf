//! Making tokens, for backends without a library of their own and for trying things out.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::access::pass::UnixTime;
use crate::access::rights::{Admin, Rights};
use crate::access::verb::Verb;
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
    /// The rights.
    pub rights: Rights,
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
    jti: String,
    presently: Own<'a>,
}

#[derive(Serialize)]
struct Own<'a> {
    rooms: Vec<Granted>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    admin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Granted {
    r#match: String,
    can: Vec<&'static str>,
}

impl Issue {
    /// The token, signed with the key in the bytes of a file: a raw secret, or a private key as PEM.
    ///
    /// # Errors
    ///
    /// A sentence about the key, which is not repeated.
    pub fn token(&self, key: &[u8], kid: Option<&str>) -> Result<String, String> {
        let (algorithm, key) = signing(key)?;
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        let granted = |grant: &crate::access::rights::Grant| Granted {
            r#match: grant.rooms.to_string(),
            can: grant.can.iter().map(Verb::name).collect(),
        };
        let claims = Claims {
            aud: &self.audience,
            iss: self.issuer.as_deref(),
            sub: &self.sub,
            iat: self.issued,
            exp: self.expires,
            jti: Uuid::new_v4().to_string(),
            presently: Own {
                rooms: self.rights.grants().iter().map(granted).collect(),
                admin: self.rights.admin() == Admin::Full,
                info: self.info.as_deref(),
            },
        };
        jsonwebtoken::encode(&header, &claims, &key).map_err(|_| "the key cannot sign".to_owned())
    }
}

fn signing(bytes: &[u8]) -> Result<(Algorithm, EncodingKey), String> {
    if !bytes.starts_with(b"-----BEGIN") {
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let most = crate::access::key::MIN_SECRET;
        return match secret.len() >= most {
            true => Ok((Algorithm::HS256, EncodingKey::from_secret(secret))),
            false => Err(format!("the secret has {} bytes; for HS256 it has at least {most}", secret.len())),
        };
    }
    let ec = || EncodingKey::from_ec_pem(bytes).map(|key| (Algorithm::ES256, key));
    let ed = || EncodingKey::from_ed_pem(bytes).map(|key| (Algorithm::EdDSA, key));
    let rsa = EncodingKey::from_rsa_pem(bytes).map(|key| (Algorithm::RS256, key));
    let key = rsa.or_else(|_| ec()).or_else(|_| ed());
    key.map_err(|_| "signing needs a raw secret, or an RSA, P-256 or Ed25519 private key as PEM (PKCS#8)".to_owned())
}
