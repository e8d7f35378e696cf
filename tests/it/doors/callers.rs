//! Callers: each kind of credential, and each way to bring it.

use std::collections::BTreeSet;

use super::Table;
use super::table::{Door, Needs};
use crate::harness::{API_KEY, Keyed, READ_KEY, Token, raw};

/// How a caller brings the credential.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// `Authorization`.
    Header,
    Cookie,
    /// The message `auth`.
    Message,
    /// Not with the request, because its URL has a ticket.
    None,
}

#[derive(Clone, Debug, PartialEq)]
enum Credential {
    /// No keys: everybody may do everything.
    Needless,
    None,
    Token,
    ReadKey,
    ApiKey,
    /// A ticket, for the user of the maker.
    Ticket,
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub struct Caller {
    pub name: String,
    credential: Credential,
    /// Granted in the rooms `team-*` and in the lobby.
    can: Vec<&'static str>,
    admin: bool,
}

impl Caller {
    /// A stranger, tokens of no verb, of each verb and of some together, and API keys.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::stranger_with("")];
        let verbs = [&[][..], &["count"], &["watch"], &["join"], &["sign_in"], &["manage"], &["watch", "join"]];
        all.extend(verbs.map(|can| Self::of(Credential::Token, can, false)));
        all.push(Self::of(Credential::Token, &[], true));
        all.push(Self::of(Credential::ReadKey, &["watch"], true));
        all.push(Self::of(Credential::ApiKey, &["manage"], true));
        all
    }

    pub fn anybody() -> Self {
        Self::of(Credential::Needless, &["manage"], true)
    }

    /// A stranger where `--anyone` grants a verb.
    pub fn stranger_with(verb: &'static str) -> Self {
        let can = if verb.is_empty() { vec![] } else { vec![verb] };
        Self::of(Credential::None, &can, false)
    }

    fn of(credential: Credential, can: &[&'static str], admin: bool) -> Self {
        let name = format!("{credential:?} {}{}", can.join("+"), if admin { " admin" } else { "" });
        Self { name, credential, can: can.to_vec(), admin }
    }

    /// The bearer of the caller's ticket.
    pub fn with_ticket(&self, can: &[&'static str]) -> Self {
        Self::of(Credential::Ticket, can, false)
    }

    /// The ways to be tried: a stranger, who brings nothing, has one.
    pub fn ways(&self, ways: &[Way]) -> Vec<Way> {
        match self.is_stranger() {
            true => vec![Way::None],
            false => ways.to_vec(),
        }
    }

    /// Whether there is a token or API key.
    pub fn has_credential(&self) -> bool {
        match self.credential {
            Credential::Needless | Credential::None | Credential::Ticket => false,
            Credential::Token | Credential::ReadKey | Credential::ApiKey => true,
        }
    }

    pub fn is_stranger(&self) -> bool {
        self.credential == Credential::None
    }

    pub fn is_api_key(&self) -> bool {
        matches!(self.credential, Credential::ReadKey | Credential::ApiKey)
    }

    /// Whether the caller's verbs go beyond the granted rooms.
    fn is_everywhere(&self) -> bool {
        self.is_api_key() || self.credential == Credential::Needless
    }

    pub fn may_change_other(&self) -> bool {
        self.credential == Credential::ApiKey
    }

    pub fn admin(&self) -> bool {
        self.admin
    }

    pub fn sub(&self) -> Option<&'static str> {
        (self.credential == Credential::Token).then_some("ann")
    }

    /// The token or API key.
    pub fn credential(&self) -> String {
        self.token(false)
    }

    /// The caller's token, whose grants leave the lobby out on demand.
    fn token(&self, without_lobby: bool) -> String {
        match self.credential {
            Credential::ApiKey => return API_KEY.to_owned(),
            Credential::ReadKey => return READ_KEY.to_owned(),
            Credential::Token => {}
            Credential::Needless | Credential::None | Credential::Ticket => panic!("{} has no token", self.name),
        }
        let mut token = Token::of("ann");
        if !self.can.is_empty() {
            token = token.may("team-*", &self.can);
            token = token.may(if without_lobby { "elsewhere" } else { "lobby" }, &self.can);
        }
        if self.admin { token.admin().sign() } else { token.sign() }
    }

    /// The header lines that bring the credential.
    pub async fn headers(&self, gateway: &Keyed, way: Way, without_lobby: bool) -> String {
        if self.is_stranger() {
            return String::new();
        }
        let token = self.token(without_lobby);
        match way {
            Way::Header => format!("Authorization: Bearer {token}\r\n"),
            Way::Cookie => format!("Cookie: {}\r\n", cookie(gateway, &token).await),
            Way::Message | Way::None => String::new(),
        }
    }

    /// The headers of a request that opens a WebSocket or a session.
    pub async fn connection_headers(&self, gateway: &Keyed, way: Way) -> Vec<(&'static str, String)> {
        match way {
            Way::Header if !self.is_stranger() => vec![("authorization", format!("Bearer {}", self.credential()))],
            Way::Cookie => {
                let cookie = cookie(gateway, &self.credential()).await;
                vec![("cookie", cookie), ("origin", "http://localhost".to_owned())]
            }
            Way::Header | Way::Message | Way::None => vec![],
        }
    }

    /// The verbs in a room, with those that they include.
    pub fn verbs(&self, table: &Table, is_granted: bool) -> BTreeSet<String> {
        let here = is_granted || self.is_everywhere();
        table.closure(if here { &self.can } else { &[] })
    }

    /// What the table says of a door, in a room that the grants name or do not name.
    pub fn may(&self, table: &Table, door: &Door, is_granted: bool) -> Result<(), &'static str> {
        let lacks = if self.is_stranger() { "token_missing" } else { "not_allowed" };
        match &door.needs {
            Needs::Nothing => Ok(()),
            Needs::Anything if self.is_stranger() && self.can.is_empty() => Err(lacks),
            Needs::Anything => Ok(()),
            Needs::Credential if self.is_stranger() => Err(lacks),
            Needs::Credential => Ok(()),
            Needs::Verbs { verbs, by_api_key, any } => {
                let only_reads = self.credential == Credential::ReadKey && door.text.starts_with("POST ");
                let mut own = self.verbs(table, is_granted);
                if self.admin && !only_reads {
                    own.insert("admin".to_owned());
                }
                match verbs.is_subset(&own) || *any && !verbs.is_disjoint(&own) {
                    false => Err(lacks),
                    true if *by_api_key && !self.is_everywhere() => Err("wrong_user"),
                    true => Ok(()),
                }
            }
        }
    }
}

/// A cookie for a token or API key, as a browser sends it.
async fn cookie(gateway: &Keyed, token: &str) -> String {
    let head = "POST /api/cookie HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n";
    let answer = raw(gateway.addr, format!("{head}Authorization: Bearer {token}\r\n\r\n")).await.expect(204);
    let set = answer.header("set-cookie").expect("a cookie");
    set.split(';').next().expect("name and value").to_owned()
}
