//! Keys and tokens, made anew in each run. The unit tests use this file, too.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A key that signs.
pub enum Signer {
    Hs256(Vec<u8>),
    Rs256(Box<RsaKeyPair>),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    /// A key of each kind.
    pub fn all() -> [Signer; 4] {
        [Signer::hs256(), Signer::rs256_2048(), Signer::es256(), Signer::eddsa()]
    }

    pub fn hs256() -> Self {
        let mut secret = [0; 24];
        aws_lc_rs::rand::fill(&mut secret).expect("random bytes");
        Signer::Hs256(BASE64_STANDARD.encode(secret).into_bytes())
    }

    pub fn rs256(size: KeySize) -> Self {
        Signer::Rs256(Box::new(RsaKeyPair::generate(size).expect("a key")))
    }

    pub fn rs256_2048() -> Self {
        Signer::rs256(KeySize::Rsa2048)
    }

    pub fn es256() -> Self {
        Signer::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
    }

    pub fn eddsa() -> Self {
        Signer::EdDsa(Ed25519KeyPair::generate().expect("a key"))
    }

    pub fn alg(&self) -> &'static str {
        match self {
            Signer::Hs256(_) => "HS256",
            Signer::Rs256(_) => "RS256",
            Signer::Es256(_) => "ES256",
            Signer::EdDsa(_) => "EdDSA",
        }
    }

    /// What verifies the tokens: the secret, or the public key as PEM.
    pub fn verifying(&self) -> Vec<u8> {
        match self {
            Signer::Hs256(secret) => [&secret[..], b"\n"].concat(),
            Signer::Rs256(_) | Signer::Es256(_) | Signer::EdDsa(_) => {
                pem("PUBLIC KEY", &self.public_der()).into_bytes()
            }
        }
    }

    /// What signs the tokens: the secret, or the private key as PEM.
    pub fn signing(&self) -> Vec<u8> {
        let der = match self {
            Signer::Hs256(_) => return self.verifying(),
            Signer::Rs256(key) => AsDer::<Pkcs8V1Der<'_>>::as_der(&**key).expect("DER").as_ref().to_vec(),
            Signer::Es256(key) => key.to_pkcs8v1().expect("DER").as_ref().to_vec(),
            Signer::EdDsa(key) => key.to_pkcs8v1().expect("DER").as_ref().to_vec(),
        };
        pem("PRIVATE KEY", &der).into_bytes()
    }

    /// The public key in DER.
    pub fn public_der(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match self {
            Signer::Hs256(_) => panic!("a secret has no public key"),
            Signer::Rs256(key) => key.public_key().as_der().expect("DER"),
            Signer::Es256(key) => key.public_key().as_der().expect("DER"),
            Signer::EdDsa(key) => key.public_key().as_der().expect("DER"),
        };
        der.as_ref().to_vec()
    }

    /// The verifying key as a JWK.
    pub fn jwk(&self, kid: &str) -> Value {
        match self {
            Signer::Hs256(secret) => json!({"kty": "oct", "k": base64url(secret), "kid": kid}),
            Signer::Rs256(key) => {
                let (n, e) = (key.public_key().modulus(), key.public_key().exponent());
                let (n, e) =
                    (base64url(n.big_endian_without_leading_zero()), base64url(e.big_endian_without_leading_zero()));
                json!({"kty": "RSA", "n": n, "e": e, "kid": kid, "alg": "RS256", "use": "sig"})
            }
            Signer::Es256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y), "kid": kid})
            }
            Signer::EdDsa(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key()), "kid": kid, "alg": "Ed25519"})
            }
        }
    }

    /// The signature of `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Signer::Hs256(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec(),
            Signer::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("a signature");
                signature
            }
            Signer::Es256(key) => key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec(),
            Signer::EdDsa(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with exactly this head and these claims, as texts.
    pub fn token_of(&self, head: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64url(head), base64url(claims));
        format!("{message}.{}", base64url(self.sign(message.as_bytes())))
    }

    /// A token with these claims and, if there is one, this `kid`.
    pub fn token(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut head = json!({"alg": self.alg(), "typ": "JWT"});
        if let Some(kid) = kid {
            head["kid"] = kid.into();
        }
        self.token_of(&head.to_string(), &claims.to_string())
    }
}

/// The claims of a good token of `sub`, who may do everything in `room`.
pub fn claims(sub: &str, room: &str) -> Value {
    json!({
        "aud": "presently",
        "sub": sub,
        "iat": now(),
        "exp": now() + 3_600,
        "presently": {"rooms": [{"match": room, "can": ["manage"]}]},
    })
}

/// `claims` with `value` as `name`; without the claim where `value` is null.
pub fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    match value.is_null() {
        true => drop(claims.as_object_mut().expect("an object").remove(name)),
        false => claims[name] = value,
    }
    claims
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
