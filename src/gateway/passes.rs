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
use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::node::Answer;
use crate::journal::cluster::record::Record;
use crate::journal::codec;
use crate::journal::entry::Entry;
use crate::journal::queue::Journal;
use crate::model::cursor::Position;
use crate::model::moment::Tick;
use crate::model::refusal::{Code, Refusal};
use crate::rooms::Rooms;
use crate::rooms::changed::Kept;
use crate::rooms::cluster::{Cluster, no_answer};
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
    /// In a cluster, what changes is noted in its log.
    rooms: Arc<Rooms>,
    /// The version of the keys by which the live connections were judged last.
    judged: AtomicU64,
}

impl Passes {
    /// The passes that `keys` vouch for. What changes is noted in `journal`, by the time of `clock`, or in the log of the cluster of
    /// `rooms`.
    pub fn new(
        config: &Config,
        keys: Arc<Keys>,
        (journal, clock): (Arc<Journal>, Arc<Clock>),
        rooms: Arc<Rooms>,
    ) -> Self {
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
            rooms,
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
    pub fn make_ticket(&self, pass: Pass, now: Tick) -> Result<(String, Kept), Refusal> {
        let ticket = secret();
        let (id, pass) = (SecretId::of(&ticket), Arc::new(pass));
        self.tickets.lock().keep(id, pass.clone(), now + TICKET_LIFE, now)?;
        let record = |cluster: &Cluster| cluster.record(Record::Ticket { id, pass, end: cluster.end(TICKET_LIFE) });
        Ok((ticket, self.rooms.cluster().map_or_else(Kept::done, record)))
    }

    /// The pass of a ticket, which is used up then; in a cluster, by whoever uses it first.
    ///
    /// # Errors
    ///
    /// `not_durable` where the log of a cluster does not answer.
    pub async fn use_ticket(&self, ticket: &str) -> Result<Option<Arc<Pass>>, Refusal> {
        let id = SecretId::of(ticket);
        let Some(cluster) = self.rooms.cluster() else {
            return Ok(self.tickets.lock().take(id, self.clock.tick()));
        };
        let Some(pass) = self.see_ticket(ticket).await else { return Ok(None) };
        match cluster.ask(Record::TicketUsed(id)).await? {
            Answer::Used(true) => Ok(Some(pass)),
            Answer::Used(false) | Answer::Done(_) | Answer::Refused(_) | Answer::Recorded => Ok(None),
            Answer::Unknown => Err(no_answer()),
        }
    }

    /// The pass of a ticket, which stays good.
    pub async fn see_ticket(&self, ticket: &str) -> Option<Arc<Pass>> {
        let id = SecretId::of(ticket);
        self.rooms.found(|| self.tickets.lock().find(id, self.clock.tick())).await
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
    fn note(&self, entry: &Entry) -> Kept {
        self.journal.append(1, true, self.clock.now(), |out| codec::encode(entry, out)).ticket.into()
    }

    /// Notes a fact in the log of the cluster, if there is one, and else waits for the journal. Called without a lock.
    fn share(&self, noted: Kept, record: impl FnOnce(&Cluster) -> Record) -> Kept {
        match self.rooms.cluster() {
            Some(cluster) => cluster.record(record(cluster)),
            None => noted,
        }
    }

    /// Takes over what the log of the cluster says, whose time is at `log`.
    pub fn take(&self, fact: Record, log: Tick) {
        let now = self.clock.tick();
        let here = |end: Tick| now + end.since(log);
        match fact {
            Record::Cookie { id, pass, end } => self.cookies.write().keep_again(id, pass, here(end), now),
            Record::CookieEnded(id) => drop(self.cookies.write().take(id, now)),
            Record::Ticket { id, pass, end } => self.tickets.lock().keep_again(id, pass, here(end), now),
            Record::TicketUsed(id) => drop(self.tickets.lock().take(id, now)),
            Record::Revoked { revoked, before, at } => {
                self.revocations.write().extend(revoked, before, at);
                self.end_revoked();
            }
            Record::Up { .. } | Record::Retire(_) | Record::Down | Record::Suspect { .. } | Record::Reap { .. } => {}
            Record::Generation { .. } | Record::Claim(_) | Record::Restore { .. } | Record::Restored => {}
            Record::Change { .. } | Record::Came { .. } | Record::Denied { .. } | Record::Rules(_) => {}
            Record::Asks { .. } => {}
        }
    }

    /// Begins with what the log of the cluster says so far.
    pub fn begin_with(&self, shared: &Shared) {
        let (lists, log, now) = (shared.lists(), shared.roll.clock, self.clock.tick());
        let here = |end: Tick| now + end.since(log);
        let mut cookies = self.cookies.write();
        lists.cookies.all().for_each(|(id, pass, end)| cookies.put(id, pass.clone(), here(end)));
        let mut tickets = self.tickets.lock();
        shared.tickets().all().for_each(|(id, pass, end)| tickets.put(id, pass.clone(), here(end)));
        let mut revocations = self.revocations.write();
        lists.revocations.all().for_each(|(revoked, before, until)| revocations.put(revoked.clone(), before, until));
    }

    /// Makes a cookie that gives `pass` until the pass ends. It is kept once the ticket is ready.
    ///
    /// # Errors
    ///
    /// `too_many_passes`, or `not_durable`.
    pub fn make_cookie(&self, pass: Arc<Pass>, now: Tick) -> Result<(String, Kept), Refusal> {
        self.journal.admits()?;
        let text = secret();
        let id = SecretId::of(&text);
        let left = pass.expires.map_or(LONGEST_LIFE, |end| (end + LEEWAY).saturating_sub(unix_now()));
        let life = Duration::from_secs(left);
        let mut cookies = self.cookies.write();
        cookies.keep(id, pass.clone(), now + life, now)?;
        let kept = self.note(&Entry::Cookie { id, pass: pass.clone(), end: now + life });
        drop(cookies);
        let kept = self.share(kept, |cluster| Record::Cookie { id, pass, end: cluster.end(life) });
        Ok((text, kept))
    }

    /// The pass of the first cookie that is known.
    pub async fn find_cookie(&self, ids: &[&str]) -> Option<Arc<Pass>> {
        if ids.is_empty() {
            return None;
        }
        let find = || {
            let (cookies, now) = (self.cookies.read(), self.clock.tick());
            ids.iter().find_map(|id| cookies.find(SecretId::of(id), now))
        };
        self.rooms.found(find).await
    }

    /// Ends a cookie, for good once the ticket is ready; `None` for an unknown one.
    pub fn end_cookie(&self, id: &str, now: Tick) -> Option<Kept> {
        let id = SecretId::of(id);
        let mut cookies = self.cookies.write();
        let noted = cookies.take(id, now).map(|_| self.note(&Entry::CookieEnded { id }))?;
        drop(cookies);
        Some(self.share(noted, |_| Record::CookieEnded(id)))
    }

    /// Revokes tokens issued until `before`, and ends the connections with such tokens. A revocation is never refused for
    /// want of a disk; it outlasts the process once the ticket is ready.
    ///
    /// # Errors
    ///
    /// `too_many_passes`.
    pub fn revoke(&self, revoked: Revoked, before: UnixTime) -> Result<Kept, Refusal> {
        let at = unix_now();
        let mut revocations = self.revocations.write();
        revocations.add(revoked.clone(), before, at)?;
        let kept = self.note(&Entry::Revoked { revoked: revoked.clone(), before, at });
        drop(revocations);
        let kept = self.share(kept, |_| Record::Revoked { revoked, before, at });
        self.end_revoked();
        Ok(kept)
    }

    fn end_revoked(&self) {
        let revocations = self.revocations.read();
        self.live.end(Code::Revoked, |pass| revocations.revokes(pass));
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
