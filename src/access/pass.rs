//! Passes: who a caller is, and what the caller may do.

use crate::access::rights::Rights;
use crate::access::verb::Verb;
use crate::model::info::Info;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};

/// Seconds since 1970, UTC: the unit of a token's times (RFC 7519, 2).
pub type UnixTime = u64;

/// Identifies a key by a digest of its material, algorithm and name: the same key file read again gives the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; 32]);

/// What a credential says about its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The kind of credential.
    pub kind: Kind,
    /// The user. Absent with an API key, and without a credential.
    pub sub: Option<Name>,
    /// What the caller may do.
    pub rights: Rights,
    /// What the token says of the user.
    pub info: Option<Info>,
    /// The end, without leeway. `None` lasts.
    pub expires: Option<UnixTime>,
    /// The key that vouches for the credential. A pass ends when the key is withdrawn.
    pub key: Option<KeyId>,
    /// The token, for revocations.
    pub token: Option<TokenId>,
}

/// The kind of credential behind a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// None, while the gateway has no keys: everybody may do everything.
    Open,
    /// None, while the gateway has keys.
    Stranger,
    /// A backend's secret.
    ApiKey,
    /// A token, or what was made with it.
    Token,
}

/// What identifies a token to a revocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenId {
    /// The claim `jti`.
    pub jti: Option<Box<str>>,
    /// The claim `iat`; a token without one counts as issued at the beginning of time.
    pub issued: UnixTime,
}

impl Pass {
    /// The pass of everybody while the gateway has no keys.
    pub fn open() -> Self {
        Pass { rights: Rights::all(), ..Pass::of(Kind::Open) }
    }

    /// The pass of those without a credential, who have `rights`.
    pub fn stranger(rights: Rights) -> Self {
        Pass { rights, ..Pass::of(Kind::Stranger) }
    }

    /// The pass of the API key `key`.
    pub fn api_key(key: KeyId, only_reads: bool) -> Self {
        let rights = if only_reads { Rights::reading() } else { Rights::all() };
        Pass { rights, key: Some(key), ..Pass::of(Kind::ApiKey) }
    }

    /// A pass of `kind` without rights.
    pub fn of(kind: Kind) -> Self {
        Pass { kind, sub: None, rights: Rights::default(), info: None, expires: None, key: None, token: None }
    }

    /// Whether the caller may be present as any user, and not only as `sub`.
    pub fn is_anyone(&self) -> bool {
        match self.kind {
            Kind::Open | Kind::ApiKey => self.sub.is_none(),
            Kind::Stranger | Kind::Token => false,
        }
    }

    /// Whether the caller is `user`, or may be anyone.
    pub fn is(&self, user: &Name) -> bool {
        self.is_anyone() || self.sub.as_ref() == Some(user)
    }

    /// Whether nothing at all is allowed without a credential, and there is none.
    pub fn lacks_credential(&self) -> bool {
        self.kind == Kind::Stranger && self.rights.are_none()
    }

    /// Whether the pass may end before its bearer goes: by time, with its key, or by a revocation.
    pub fn may_end(&self) -> bool {
        self.expires.is_some() || self.key.is_some()
    }

    /// Demands `verb` in `room`.
    ///
    /// # Errors
    ///
    /// `not_allowed`, or `token_missing` without a credential; the same whether the room exists or not.
    pub fn demand(&self, verb: Verb, room: &Name) -> Result<(), Refusal> {
        match self.rights.may(verb, room) {
            true => Ok(()),
            false => Err(self.lacks(&format!("{verb} in {room}"))),
        }
    }

    /// The refusal of what needs `right`, which the caller lacks.
    pub fn lacks(&self, right: &str) -> Refusal {
        match (self.kind, &self.sub) {
            (Kind::Stranger, _) => {
                Refusal::new(Code::TokenMissing, format!("this needs {right}, and the request has no token"))
            }
            (_, Some(sub)) => Refusal::new(Code::NotAllowed, format!("{sub} may not: this needs {right}")),
            (_, None) => Refusal::new(Code::NotAllowed, format!("this key only reads: this needs {right}")),
        }
    }
}
