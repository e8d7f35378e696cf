//! The gateway's side of a conversation: a client's messages, done and answered, whichever way they came.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;

use crate::access::pass::Pass;
use crate::access::verb::Verb;
use crate::delivery::asks::Asks;
use crate::delivery::connection::Ending;
use crate::delivery::conversation::{Flow, Talk};
use crate::delivery::count_reader::CountReader;
use crate::delivery::outbox::Unsubscribed;
use crate::delivery::reader::{Place, Reader};
use crate::delivery::step::Follower;
use crate::http::gate::{Holds, Visitor};
use crate::http::stream::message::{self, Lost, Message, Reference};
use crate::http::stream::options::StreamOptions;
use crate::model::count::Prefix;
use crate::model::cursor::{Cursor, Offset};
use crate::model::id::ClientId;
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::refusal::{Code, Refusal};
use crate::model::statement::Statement;
use crate::rooms::changed::{Changed, Kept};
use crate::rooms::key::RoomKey;
use crate::rooms::room::Following;

/// The prefixes whose counts one connection may read. One is enough for most, and each is asked for every change.
const MAX_COUNTS: usize = 16;

/// Does what one client asks for, by its stream's URL and by messages.
pub struct Speaker {
    visitor: Visitor,
    /// The client's id, for holds whose message names none.
    client: Option<ClientId>,
    holds: Holds,
    /// What the stream's URL asks for, while that waits for `auth`.
    wish: Option<Box<(Name, StreamOptions)>>,
    /// What the next message waits for.
    pause: Option<Box<Pause>>,
    /// Whether the connection is about to be closed: nothing more is done then.
    is_over: bool,
}

type Judged = Result<Arc<Pass>, Refusal>;

/// What the next message waits for: a credential that is being judged while keys are fetched, or a change that is being
/// written to the journal.
struct Pause {
    reference: Reference,
    until: Pin<Box<dyn Future<Output = Resumed> + Send>>,
    resumed: Option<Resumed>,
    /// The messages read meanwhile. Nothing more is read, so they are at most those of one read, or of one request.
    waiting: Vec<String>,
}

/// The end of a pause.
enum Resumed {
    /// A credential is judged.
    Judged(Judged),
    /// A change is kept as promised, or may be lost. If kept, the answer follows, with the room's place if only the wait told it.
    Kept(Result<Option<Cursor>, Refusal>, Then),
}

/// The answer to a change.
enum Then {
    /// `ok`, with the room's place.
    Ok(Cursor),
    /// The same behind the event at this place, if the room is read here.
    OkAfter(RoomKey, Cursor),
    /// The room's events, from a snapshot that includes the change.
    Begin(Box<Begin>),
    /// `ok` as the last message.
    End,
}

/// A room's events to begin with.
struct Begin {
    following: Following,
    since: Option<Cursor>,
    at_least: Offset,
    /// Whether `ok` comes first.
    answers: bool,
}

impl Speaker {
    /// The speaker of `visitor`, who holds nobody yet.
    pub fn new(visitor: Visitor, client: Option<ClientId>) -> Self {
        Speaker { visitor, client, holds: Holds::default(), wish: None, pause: None, is_over: false }
    }

    /// The client's user, if a credential names one.
    pub fn sub(&self) -> Option<&Name> {
        self.visitor.sub()
    }

    /// Begins, and does what the stream's URL asks for. What a stranger may not do waits for `auth`.
    ///
    /// # Errors
    ///
    /// The refusal that ends the connection.
    pub fn begin(&mut self, room: Option<Name>, options: StreamOptions, talk: &mut Talk<'_>) -> Result<(), Refusal> {
        self.visitor.begin(talk.connection());
        let Some(room) = room else {
            return Ok(());
        };
        match self.grant(&room, options.clone(), talk) {
            Err(refusal) if refusal.code == Code::TokenMissing => {
                self.wish = Some(Box::new((room, options)));
                Ok(())
            }
            granted => granted,
        }
    }

    /// Does what the stream's URL asks for. The hold comes first, so that the snapshot includes it.
    ///
    /// # Errors
    ///
    /// The refusal that ends the connection. A refusal of the hold alone is sent as a message.
    fn grant(&mut self, room: &Name, options: StreamOptions, talk: &mut Talk<'_>) -> Result<(), Refusal> {
        let user = options.holds.as_ref().map(|(user, _)| user);
        let watch = self.visitor.may_watch(room)?;
        // Nothing is done unless all of it may be.
        user.map(|user| self.visitor.may_join(room, user.clone())).transpose()?;
        let following = watch.follow(options.since, user, options.client, &self.holds)?;
        let (mut at_least, mut kept) = (Offset::default(), watch.reached(options.since));
        if let Some((user, statement)) = options.holds {
            match self.join(room, user, statement, None, talk) {
                Ok(joined) => {
                    at_least = joined.outcome.cursor.offset;
                    kept = if kept.is_done() { joined.kept } else { Kept::all(vec![kept, joined.kept]) };
                }
                Err(refusal) if refusal.only_watches() => {
                    self.visitor.refused(talk.connection().id(), &refusal);
                    talk.say(&Reference::default().refused(&refusal));
                }
                Err(refusal) => return Err(refusal),
            }
        }
        let begin = Begin { following, since: options.since, at_least, answers: false };
        self.when(kept, &Reference::default(), Then::Begin(Box::new(begin)), talk);
        Ok(())
    }

    /// Answers once the change behind `kept` is written, at once where nothing is.
    fn when(&mut self, kept: Kept, reference: &Reference, then: Then, talk: &mut Talk<'_>) -> Flow {
        if kept.is_done() {
            return Speaker::say(then, None, reference, talk);
        }
        let until = Box::pin(async { Resumed::Kept(kept.await, then) });
        self.pause_until(until, reference);
        Flow::Continue
    }

    fn pause_until(&mut self, until: Pin<Box<dyn Future<Output = Resumed> + Send>>, reference: &Reference) {
        let (reference, waiting) = (reference.clone(), Vec::new());
        self.pause = Some(Box::new(Pause { reference, until, resumed: None, waiting }));
    }

    /// `place` is the room's, if only the wait told it.
    fn say(then: Then, place: Option<Cursor>, reference: &Reference, talk: &mut Talk<'_>) -> Flow {
        match then {
            Then::Ok(cursor) => talk.say(&reference.ok(Some(place.unwrap_or(cursor)))),
            Then::OkAfter(room, cursor) => {
                let cursor = place.unwrap_or(cursor);
                talk.say_after(room, cursor.offset, &reference.ok(Some(cursor)));
            }
            Then::Begin(begin) => {
                let Begin { following, since, at_least, answers } = *begin;
                if answers {
                    talk.say(&reference.ok(Some(following.room().read(|presence| presence.head()))));
                }
                let at_least = place.map_or(at_least, |place| place.offset);
                let follower = Follower::resume(following, since, at_least);
                talk.begin(Reader::new(follower.for_suspects(talk.connection().format().suspects)));
            }
            Then::End => {
                talk.say(&reference.ok(None));
                return Flow::End;
            }
        }
        Flow::Continue
    }

    /// Ends all holds at once, because the client closed the connection cleanly.
    pub fn leave(&mut self) -> Kept {
        self.holds.leave_all()
    }

    /// Ends all holds at once, because the client's token was revoked.
    pub fn kick(&mut self) {
        self.holds.kick_all();
    }

    /// Does what a message's `text` asks for, and answers. [`Flow::End`] after the client's good-bye: the last message is then
    /// still to be queued.
    pub fn answer(&mut self, text: &str, talk: &mut Talk<'_>) -> Flow {
        if self.is_over {
            return Flow::Continue;
        }
        if let Some(pause) = &mut self.pause {
            pause.waiting.push(text.to_owned());
            return Flow::Continue;
        }
        self.visitor.heard();
        if let Some(asks) = talk.connection().asks() {
            asks.answered();
        }
        let (reference, message) = message::read(text);
        let done = message.and_then(|message| self.act(message, &reference, talk));
        self.told(done, &reference, talk)
    }

    /// Tells the client of a refusal.
    fn told(&self, done: Result<Flow, Refusal>, reference: &Reference, talk: &mut Talk<'_>) -> Flow {
        done.unwrap_or_else(|refusal| {
            self.visitor.refused(talk.connection().id(), &refusal);
            talk.say(&reference.refused(&refusal));
            Flow::Continue
        })
    }

    /// Whether nothing more may be read until [`Speaker::poll_resumed`] is ready.
    pub fn is_busy(&self) -> bool {
        self.pause.is_some()
    }

    /// Ready when the credential is judged, or the change written, for which the next message waits.
    pub fn poll_resumed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pause) = &mut self.pause else {
            return Poll::Pending;
        };
        if pause.resumed.is_none() {
            pause.resumed = Some(ready!(pause.until.as_mut().poll(cx)));
        }
        Poll::Ready(())
    }

    /// Goes on after a pause, with what waited for it.
    pub fn go_on(&mut self, talk: &mut Talk<'_>) -> Flow {
        let Some(pause) = self.pause.take_if(|pause| pause.resumed.is_some()) else {
            return Flow::Continue;
        };
        let Pause { reference, resumed, waiting, .. } = *pause;
        let mut flow = match resumed {
            Some(Resumed::Judged(judged)) => {
                let done = self.authed(judged, &reference, talk).map(|()| Flow::Continue);
                self.told(done, &reference, talk)
            }
            Some(Resumed::Kept(kept, then)) => self.kept(kept, then, &reference, talk),
            None => Flow::Continue,
        };
        for text in waiting {
            if flow != Flow::End {
                flow = self.answer(&text, talk);
            }
        }
        flow
    }

    /// Answers a change that is written. One that is not is done all the same, so a stream goes on, and the client's good-bye
    /// is one. A hold that a cluster refuses ends the stream that was to begin with it.
    fn kept(
        &mut self,
        kept: Result<Option<Cursor>, Refusal>,
        then: Then,
        reference: &Reference,
        talk: &mut Talk<'_>,
    ) -> Flow {
        let refusal = match kept {
            Ok(place) => return Speaker::say(then, place, reference, talk),
            Err(refusal) => refusal,
        };
        let goes_on = refusal.code == Code::NotDurable || refusal.only_watches();
        match then {
            Then::Ok(_) | Then::OkAfter(..) => self.told(Err(refusal), reference, talk),
            Then::Begin(begin) if goes_on => {
                self.told(Err(refusal), reference, talk);
                Speaker::say(Then::Begin(begin), None, reference, talk)
            }
            Then::Begin(_) => {
                self.refused(&refusal, talk);
                self.end(&refusal, talk);
                Flow::Continue
            }
            Then::End => {
                self.told(Err(refusal), reference, talk);
                Flow::End
            }
        }
    }

    /// The time to wait before more messages are read.
    pub fn pause(&self) -> Option<Duration> {
        self.visitor.pause()
    }

    /// Logs the refusal that ends the connection.
    pub fn refused(&self, refusal: &Refusal, talk: &Talk<'_>) {
        self.visitor.refused(talk.connection().id(), refusal);
    }

    /// Refuses what comes before `auth`, but for the end.
    fn admit(&self, message: Message) -> Result<Message, Refusal> {
        if !self.visitor.awaits_auth() || matches!(message, Message::Auth { .. } | Message::Close) {
            return Ok(message);
        }
        Err(Refusal::new(Code::TokenMissing, "the first message is auth, with a token or API key").of("action"))
    }

    /// Judges a credential, and takes it, at once unless keys have to be fetched.
    fn auth(&mut self, credential: String, reference: &Reference, talk: &mut Talk<'_>) -> Result<(), Refusal> {
        let mut judged = Box::pin(self.visitor.judge(credential));
        match judged.as_mut().now_or_never() {
            Some(judged) => self.authed(judged, reference, talk),
            None => {
                self.visitor.wait_on(talk.connection());
                self.pause_until(Box::pin(judged.map(Resumed::Judged)), reference);
                Ok(())
            }
        }
    }

    /// Takes a credential. Then comes what waited for it, and what it does not allow any more ends.
    fn authed(&mut self, judged: Judged, reference: &Reference, talk: &mut Talk<'_>) -> Result<(), Refusal> {
        let was_known = self.visitor.is_known();
        let authed = match judged.and_then(|pass| self.visitor.admit(pass, talk.connection())) {
            Ok(authed) => authed,
            Err(refusal) => {
                // A bad token is never taken for none. The old pass goes on to its own end.
                if !was_known {
                    self.end(&refusal, talk);
                }
                return Err(refusal);
            }
        };
        talk.say(&reference.authed(authed.sub.as_ref(), authed.expires_in));
        authed.info.iter().for_each(|info| self.holds.inform(info));
        self.withdraw(talk);
        if let Some((room, options)) = self.wish.take().map(|wish| *wish)
            && let Err(refusal) = self.grant(&room, options, talk)
        {
            self.refused(&refusal, talk);
            self.end(&refusal, talk);
        }
        Ok(())
    }

    /// Ends the subscriptions and holds that the present pass does not allow.
    fn withdraw(&mut self, talk: &mut Talk<'_>) {
        for (room, counts) in talk.watched() {
            let name = room.read(|presence| presence.room().clone());
            if let Err(refusal) = self.visitor.demand(if counts { Verb::Count } else { Verb::Watch }, &name) {
                talk.stop(room.key());
                talk.say(&Lost { room: Some(&name), ..Lost::default() }.refused(&refusal));
            }
        }
        for prefix in talk.prefixes() {
            if let Err(refusal) = self.visitor.may_list().and_then(|list| list.demand(&prefix)) {
                talk.stop_counts(&prefix);
                talk.say(&Lost { counts: Some(&prefix), ..Lost::default() }.refused(&refusal));
            }
        }
        for (room, user) in self.holds.held() {
            if let Err(refusal) = self.visitor.demand(Verb::Join, &room) {
                // Refused only if others have ended the hold already.
                let _ = self.holds.leave(&room, user.clone());
                talk.say(&Lost { room: Some(&room), user: Some(&user), counts: None }.refused(&refusal));
            }
        }
    }

    /// Closes the connection for the reason of `refusal`, after what was said.
    fn end(&mut self, refusal: &Refusal, talk: &Talk<'_>) {
        self.is_over = true;
        talk.connection().end(Ending::Ours(refusal.code));
    }

    fn act(&mut self, message: Message, reference: &Reference, talk: &mut Talk<'_>) -> Result<Flow, Refusal> {
        match self.admit(message)? {
            Message::Auth { token } => self.auth(token.0, reference, talk)?,
            Message::Join { room, user, statement, client } => {
                let Changed { outcome, kept } = self.join(&room, user, statement, client, talk)?;
                return Ok(self.when(kept, reference, Then::Ok(outcome.cursor), talk));
            }
            Message::Update { room, user, statement } => {
                self.visitor.may_update()?;
                let Changed { outcome, kept } = self.holds.update(&room, user, statement)?;
                return Ok(self.when(kept, reference, Then::Ok(outcome.cursor), talk));
            }
            Message::Leave { room, user } => {
                let Changed { outcome: Outcome { cursor, .. }, kept } = self.holds.leave(&room, user)?;
                // The member's `del` comes first, if the room is watched here.
                let then = match self.visitor.key(&room) {
                    Some(room) => Then::OkAfter(room, cursor),
                    None => Then::Ok(cursor),
                };
                return Ok(self.when(kept, reference, then, talk));
            }
            Message::Subscribe { room, since } => return self.subscribe(&room, since, reference, talk),
            Message::Unsubscribe { room } => {
                let key = self.visitor.key(&room);
                match key.map_or(Unsubscribed::NotSubscribed, |key| talk.stop(key)) {
                    Unsubscribed::At(Place::At(cursor)) => talk.say(&reference.ok(Some(cursor))),
                    Unsubscribed::At(Place::Nowhere) => talk.say(&reference.ok(None)),
                    Unsubscribed::NotSubscribed => {
                        let message = format!("this connection does not watch {room}");
                        return Err(Refusal::new(Code::NotSubscribed, message).of("room"));
                    }
                }
            }
            Message::SubscribeCounts { prefix } => self.subscribe_counts(prefix, reference, talk)?,
            Message::UnsubscribeCounts { prefix } => {
                if !talk.stop_counts(&prefix) {
                    let message = format!("this connection does not read the counts of {:?}", &*prefix);
                    return Err(Refusal::new(Code::NotSubscribed, message).of("counts"));
                }
                talk.say(&reference.ok(None));
            }
            Message::Alive => {
                // Who sends this knows the questions, and may be held to them.
                talk.connection().asks().into_iter().for_each(Asks::bind);
                talk.say(&reference.ok(None));
            }
            Message::Close => {
                let kept = self.leave();
                return Ok(self.when(kept, reference, Then::End, talk));
            }
        }
        Ok(Flow::Continue)
    }

    fn subscribe_counts(&self, prefix: Prefix, reference: &Reference, talk: &mut Talk<'_>) -> Result<(), Refusal> {
        let counting = self.visitor.may_list()?.follow_counts(&prefix, &self.holds)?;
        // Asked for again, all counts are read anew.
        if !talk.stop_counts(&prefix) && talk.count_readers() >= MAX_COUNTS {
            let message = format!("this connection reads the counts of {MAX_COUNTS} prefixes, which is the maximum");
            return Err(Refusal::new(Code::TooManySubscribed, message));
        }
        talk.say(&reference.ok(None));
        talk.begin_counts(CountReader::new(counting, prefix));
        Ok(())
    }

    fn subscribe(
        &mut self,
        room: &Name,
        since: Option<Cursor>,
        reference: &Reference,
        talk: &mut Talk<'_>,
    ) -> Result<Flow, Refusal> {
        let watch = self.visitor.may_watch(room)?;
        let (following, reached) = (watch.follow(since, None, None, &self.holds)?, watch.reached(since));
        let most = self.visitor.max_watched();
        // Asked for again, the room is read anew.
        if talk.stop(following.room().key()) == Unsubscribed::NotSubscribed && talk.rooms() >= most {
            let message = format!("this connection watches {most} rooms, which is the maximum");
            return Err(Refusal::new(Code::TooManySubscribed, message));
        }
        let begin = Begin { following, since, at_least: Offset::default(), answers: true };
        Ok(self.when(reached, reference, Then::Begin(Box::new(begin)), talk))
    }

    fn join(
        &mut self,
        room: &Name,
        user: Name,
        statement: Option<Statement>,
        client: Option<ClientId>,
        talk: &Talk<'_>,
    ) -> Result<Changed, Refusal> {
        let first = !self.holds.is_used();
        let connection = (talk.connection().id(), talk.connection().format().framing.transport());
        let join = self.visitor.may_join(room, user)?;
        let joined = join.hold(&mut self.holds, connection, statement, client.or(self.client));
        if first {
            self.holds.notify(talk.connection());
        }
        joined
    }
}
