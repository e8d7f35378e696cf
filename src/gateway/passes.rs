//! Passes: what the gateway knows about credentials, and which of them are in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::access::pass::{Pass, UnixTime};
use crate::access::passbook::{Passbook, SecretId, TICKET_LIFE};
use crate::access::revocations::{LEEWAY, LONGEST_LIFE, Revocations, Revoked};
use crate::access::rights::{Admin, Rights};
use crate::gateway::live::Live;
use crate::journal::codec;
use crate::journal::entry::Entry;
use crate::journal::queue::Journal;
use crate::journal::ticket::Ticket;
use crate::model::cursor::Position;
use crate::model::moment::Tick;
use crate::model::refusal::{Code, Refusal};
use crate::runtime::clock::{Clock, unix_now};
use crate::runtime::config::Config;
use crate::runtime::keys::Keys;

/// The most unused tickets: 30 s of the rate of 2,000 new streams a second, some 20 MB.
const MAX_TICKETS: usize = 65_536;

/// The most cookies: as many people as a machine can have open pages, some 30 MB.
const MAX_COOKIES: usize = 100_000;

/// The passes of a gateway.
#[derive(Debug)]
pub struct Passes {
    keys: Arc<Keys>,
    /// The pass of those without a credential.
    anyone: Arc<Pass>,
    tickets: Mutex<Passbook>,
    cookies: RwLock<Passbook>,
    revocations: RwLock<Revocations>,
    live: Arc<Live>,
    journal: Arc<Journal>,
    clock: Arc<Clock>,
    /// The version of the keys by which the live connections were judged last.
    judged: AtomicU64,
}

impl Passes {
    /// The passes that `keys` vouch for. What changes is noted in `journal`, by the time of `clock`.
    pub fn new(config: &Config, keys: Arc<Keys>, journal: Arc<Journal>, clock: Arc<Clock>) -> Self {
        let anyone = match config.has_keys() {
            true => Pass::stranger(Rights::new(config.anyone.clone(), Admin::No)),
            false => Pass::open(),
        };
        Passes {
            keys,
            anyone: Arc::new(anyone),
            tickets: Mutex::new(Passbook::new(MAX_TICKETS)),
            cookies: RwLock::new(Passbook::new(MAX_COOKIES)),
            revocations: RwLock::default(),
            live: Arc::default(),
            journal,
            clock,
            judged: AtomicU64::new(0),
        }
    }

    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The pass of those without a credential.
    pub fn anyone(&self) -> &Arc<Pass> {
        &self.anyone
    }

    /// The live connections.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Judges a token or API key. Waits only while keys are fetched.
    ///
    /// # Errors
    ///
    /// `token_invalid`, `token_expired` or `revoked`.
    pub async fn judge_credential(&self, credential: &str) -> Result<Arc<Pass>, Refusal> {
        let pass = self.keys.judge(credential).await?;
        self.judge(&pass)?;
        Ok(pass)
    }

    /// Judges a pass that was found good before: it may be over, revoked, or its key withdrawn.
    ///
    /// # Errors
    ///
    /// `token_expired`, `revoked` or `token_invalid`.
    pub fn judge(&self, pass: &Pass) -> Result<(), Refusal> {
        if pass.expires.is_some_and(|end| end + LEEWAY <= unix_now()) {
            return Err(Refusal::new(Code::TokenExpired, "the token is over"));
        }
        if self.revocations.read().revokes(pass) {
            return Err(Refusal::new(Code::Revoked, "the token was revoked"));
        }
        match pass.key.is_none_or(|key| self.keys.knows(key)) {
            true => Ok(()),
            false => Err(Refusal::check("keys", "the key of the token was withdrawn")),
        }
    }

    /// Makes a ticket that gives `pass` once.
    ///
    /// # Errors
    ///
    /// `too_many_passes`.
    pub fn make_ticket(&self, pass: Pass, now: Tick) -> Result<String, Refusal> {
        let ticket = secret();
        self.tickets.lock().keep(SecretId::of(&ticket), Arc::new(pass), now + TICKET_LIFE, now)?;
        Ok(ticket)
    }

    /// The pass of a ticket, which is used up then.
    pub fn use_ticket(&self, ticket: &str, now: Tick) -> Option<Arc<Pass>> {
        self.tickets.lock().take(SecretId::of(ticket), now)
    }

    /// The pass of a ticket, which stays good.
    pub fn see_ticket(&self, ticket: &str, now: Tick) -> Option<Arc<Pass>> {
        self.tickets.lock().find(SecretId::of(ticket), now)
    }

    /// Puts back what was kept.
    pub fn restore(&self, cookies: &Passbook, revocations: Revocations) {
        let mut book = self.cookies.write();
        cookies.all().for_each(|(id, pass, end)| book.put(id, pass.clone(), end));
        *self.revocations.write() = revocations;
    }

    /// All cookies, and the position of the next entry about one.
    pub fn capture_cookies(&self) -> (Position, Vec<(SecretId, Arc<Pass>, Tick)>) {
        let cookies = self.cookies.read();
        let all = cookies.all().map(|(id, pass, end)| (id, pass.clone(), end)).collect();
        (self.journal.last().next(), all)
    }

    /// All revocations, and the position of the next entry about one.
    pub fn capture_revocations(&self) -> (Position, Vec<(Revoked, UnixTime, UnixTime)>) {
        let revocations = self.revocations.read();
        let all = revocations.all().map(|(revoked, before, until)| (revoked.clone(), before, until)).collect();
        (self.journal.last().next(), all)
    }

    /// Notes `entry`. Called under the lock of what the entry changes, so that a capture has it or comes before it.
    fn note(&self, entry: &Entry) -> Ticket {
        self.journal.append(1, true, self.clock.now(), |out| codec::encode(entry, out)).ticket
    }

    /// Makes a cookie that gives `pass` until the pass ends. It is kept once the ticket is ready.
    ///
    /// # Errors
    ///
    /// `too_many_passes`, or `not_durable`.
    pub fn make_cookie(&self, pass: Arc<Pass>, now: Tick) -> Result<(String, Ticket), Refusal> {
        self.journal.admits()?;
        let text = secret();
        let id = SecretId::of(&text);
        let left = pass.expires.map_or(LONGEST_LIFE, |end| (end + LEEWAY).saturating_sub(unix_now()));
        let end = now + Duration::from_secs(left);
        let mut cookies = self.cookies.write();
        cookies.keep(id, pass.clone(), end, now)?;
        let kept = self.note(&Entry::Cookie { id, pass, end });
        drop(cookies);
        Ok((text, kept))
    }

    /// The pass of a cookie.
    pub fn find_cookie(&self, id: &str, now: Tick) -> Option<Arc<Pass>> {
        self.cookies.read().find(SecretId::of(id), now)
    }

    /// Ends a cookie, for good once the ticket is ready; `None` for an unknown one.
    pub fn end_cookie(&self, id: &str, now: Tick) -> Option<Ticket> {
        let id = SecretId::of(id);
        let mut cookies = self.cookies.write();
        cookies.take(id, now).map(|_| self.note(&Entry::CookieEnded { id }))
    }

    /// Revokes tokens issued until `before`, and ends the connections with such tokens. A revocation is never refused for
    /// want of a disk; it outlasts the process once the ticket is ready.
    ///
    /// # Errors
    ///
    /// `too_many_passes`.
    pub fn revoke(&self, revoked: Revoked, before: UnixTime) -> Result<Ticket, Refusal> {
        let at = unix_now();
        let mut revocations = self.revocations.write();
        revocations.add(revoked.clone(), before, at)?;
        let kept = self.note(&Entry::Revoked { revoked, before, at });
        drop(revocations);
        let revocations = self.revocations.read();
        self.live.end(Code::Revoked, |pass| revocations.revokes(pass));
        Ok(kept)
    }

    /// At most `limit` revocations after `after`, in order.
    pub fn revocations(&self, after: Option<&Revoked>, limit: usize) -> Vec<(Revoked, UnixTime)> {
        self.revocations.read().list(after, limit)
    }

    /// Ends the connections whose key was withdrawn.
    fn judge_live(&self) {
        let version = self.keys.version();
        if self.judged.swap(version, Relaxed) == version {
            return;
        }
        self.live.end(Code::TokenInvalid, |pass| pass.key.is_some_and(|key| !self.keys.knows(key)));
    }

    /// Does what is due about the passes in use.
    pub fn look(&self) {
        let now = unix_now();
        self.judge_live();
        self.live.look(now);
        self.revocations.write().forget(now);
    }
}

/// A secret of 244 random bits.
fn secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}
