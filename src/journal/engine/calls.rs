//! Questions to a node, as the node has them: waiting, taken, answered. Bounded, whatever carries them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use crate::journal::engine::values::Trouble;

/// The questions of one name that wait or are being answered. Each is a request of a client that another node has accepted: at 1 ms
/// for each, the last of them waits a second, which is as long as a client should wait. A question beyond is refused at once.
pub const WAITING: usize = 1_024;

/// The bytes of these questions: bounds the memory where questions are large.
pub const WAITING_BYTES: usize = 32 * 1024 * 1024;

/// The refusals on their way. Beyond, the asker runs out of time instead of hearing that the node is busy.
const REFUSALS: usize = 64;

/// The letters of a name.
const LETTERS: usize = 32;

/// Whether a text can name a node: 32 digits of base 16. Anything else could be a pattern, or the name of something else.
pub(super) fn is_name(name: &str) -> bool {
    name.len() == LETTERS && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The questions to a name, until dropped. Questions that nobody took by then are answered by "nobody serves the name".
#[derive(Debug)]
pub struct Calls(mpsc::Receiver<Call>);

/// A question. Dropped without an answer, it tells the asker so at once.
pub struct Call {
    /// What was asked.
    pub question: Bytes,
    /// When the asker has given up.
    deadline: Instant,
    most: usize,
    /// The reply if there is no answer.
    otherwise: Reply,
    back: Option<Back>,
}

/// Takes the reply to the asker, once.
type Back = Box<dyn FnOnce(Reply) + Send>;

/// What an asker hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The answer.
    Answer(Bytes),
    /// The node has too many questions, and did not take this one.
    Busy,
    /// Nobody serves the name, and nobody took the question.
    Gone,
    /// The node took the question, and gave no answer.
    Unanswered,
    /// The node took the question, and its answer has too many bytes.
    TooLarge,
}

/// A place among the questions, until the reply is sent.
#[derive(Debug)]
pub(super) struct Room {
    _place: OwnedSemaphorePermit,
    _bytes: Option<OwnedSemaphorePermit>,
}

/// A reply on its way to an asker, with the place of its question.
pub(super) type Outgoing<To> = (To, Reply, Room);

/// Where replies of one name are handed over: never full, because each has a [`Room`].
pub(super) fn outgoing<To>() -> (mpsc::Sender<Outgoing<To>>, mpsc::Receiver<Outgoing<To>>) {
    mpsc::channel(WAITING + REFUSALS)
}

/// Where the questions to a name come in. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    calls: mpsc::Sender<Call>,
    most: usize,
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Calls {
    /// Waits for the next question. A call that is dropped loses none. `None` when no more questions can come.
    pub async fn next(&mut self) -> Option<Call> {
        loop {
            let mut call = self.0.recv().await?;
            // Whoever asked has given up: an answer would be work for nobody, just when there is too much of it.
            if call.deadline > Instant::now() {
                call.otherwise = Reply::Unanswered;
                return Some(call);
            }
        }
    }

    /// No questions.
    pub(super) fn none() -> Calls {
        Calls(mpsc::channel(1).1)
    }
}

impl Call {
    /// Answers the question. Nobody may be waiting any longer. With more bytes than the engine takes, the asker hears of an answer that
    /// is too large.
    pub fn answer(mut self, bytes: Bytes) {
        self.otherwise = if bytes.len() > self.most { Reply::TooLarge } else { Reply::Answer(bytes) };
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            back(std::mem::replace(&mut self.otherwise, Reply::Unanswered));
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is asked may have secrets.
        write!(f, "Call({} bytes)", self.question.len())
    }
}

impl Reply {
    /// The letter that stands for the kind of a reply.
    pub fn letter(&self) -> &'static str {
        match self {
            Reply::Answer(_) => "a",
            Reply::Busy => "b",
            Reply::Gone => "g",
            Reply::Unanswered => "u",
            Reply::TooLarge => "l",
        }
    }

    /// The reply of a kind. One of an unknown kind has no answer.
    pub fn read(letter: &[u8], bytes: Bytes) -> Reply {
        match letter {
            b"a" => Reply::Answer(bytes),
            b"b" => Reply::Busy,
            b"g" => Reply::Gone,
            b"l" => Reply::TooLarge,
            _ => Reply::Unanswered,
        }
    }

    /// What the asker is told.
    pub fn told(self) -> Result<Option<Bytes>, Trouble> {
        let unknown = |why: &str| Err(Trouble::Unknown(why.to_owned()));
        match self {
            Reply::Answer(bytes) => Ok(Some(bytes)),
            Reply::Gone => Ok(None),
            Reply::Busy => Err(Trouble::Full),
            Reply::Unanswered => unknown("the node gave no answer"),
            Reply::TooLarge => unknown("the answer of the node is too large"),
        }
    }
}

impl Intake {
    /// Where questions come in, and where they come out. Answers have at most so many bytes.
    pub fn new(most: usize) -> (Intake, Calls) {
        let (calls, coming) = mpsc::channel(WAITING);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (places, bytes, refusals) = (semaphore(WAITING), semaphore(WAITING_BYTES), semaphore(REFUSALS));
        (Intake { calls, most, places, bytes, refusals }, Calls(coming))
    }

    /// Takes a question in, whose asker waits so long. Its reply goes `back` exactly once, unless too many refusals are on their way.
    pub fn take_in(&self, question: Bytes, within: Duration, back: impl FnOnce(Reply, Room) + Send + 'static) {
        let Some(room) = self.room(question.len()) else {
            if let Ok(place) = self.refusals.clone().try_acquire_owned() {
                back(Reply::Busy, Room { _place: place, _bytes: None });
            }
            return;
        };
        let (deadline, most, otherwise) = (Instant::now() + within, self.most, Reply::Gone);
        let back: Back = Box::new(|reply| back(reply, room));
        // There is a place for each that has room. If the other end is gone, the question is dropped, and says so.
        drop(self.calls.try_send(Call { question, deadline, most, otherwise, back: Some(back) }));
    }

    fn room(&self, bytes: usize) -> Option<Room> {
        let bytes = self.bytes.clone().try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()?;
        Some(Room { _place: self.places.clone().try_acquire_owned().ok()?, _bytes: Some(bytes) })
    }

    /// Whether nobody takes questions any longer.
    pub fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }

    /// Waits until nobody takes questions any longer.
    pub async fn closed(&self) {
        self.calls.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Takes questions in, and gives the replies.
    fn ask(intake: &Intake, questions: usize, bytes: usize, within: Duration) -> UnboundedReceiver<Reply> {
        let (sender, replies) = mpsc::unbounded_channel();
        for _ in 0..questions {
            let sender = sender.clone();
            intake.take_in(vec![7; bytes].into(), within, move |reply, _room| drop(sender.send(reply)));
        }
        replies
    }

    fn all(mut replies: UnboundedReceiver<Reply>) -> Vec<Reply> {
        std::iter::from_fn(|| replies.try_recv().ok()).collect()
    }

    #[tokio::test]
    async fn a_question_is_answered_once_or_said_to_have_no_answer() {
        let (intake, mut calls) = Intake::new(4);
        let mut replies = ask(&intake, 5, 1, LONG);
        calls.next().await.unwrap().answer(Bytes::from_static(b"1234"));
        calls.next().await.unwrap().answer(Bytes::from_static(b"12345"));
        drop(calls.next().await);
        for reply in [Reply::Answer(Bytes::from_static(b"1234")), Reply::TooLarge, Reply::Unanswered] {
            assert_eq!(replies.recv().await, Some(reply));
        }
        assert!(!intake.is_closed());
        let taken = calls.next().await.unwrap();
        drop(calls);
        assert_eq!(replies.recv().await, Some(Reply::Gone), "nobody took it");
        taken.answer(Bytes::new());
        assert_eq!(replies.recv().await, Some(Reply::Answer(Bytes::new())), "it was taken before");
        assert_eq!(replies.recv().await, None);
        assert!(intake.is_closed());
        assert_eq!(all(ask(&intake, 1, 1, LONG)), [Reply::Gone]);
    }

    #[tokio::test]
    async fn questions_are_bounded_in_number_and_bytes() {
        let (intake, mut calls) = Intake::new(4);
        let mut waiting = ask(&intake, WAITING, 1, LONG);
        assert_eq!(all(ask(&intake, 2, 1, LONG)), [Reply::Busy, Reply::Busy]);
        let taken = calls.next().await.unwrap();
        assert_eq!(all(ask(&intake, 1, 1, LONG)), [Reply::Busy], "a question that is being answered counts");
        taken.answer(Bytes::new());
        assert_eq!(waiting.recv().await, Some(Reply::Answer(Bytes::new())));
        let mut next = ask(&intake, 1, 1, LONG);
        assert!(next.try_recv().is_err(), "its place is free");
        let (intake, _calls) = Intake::new(4);
        let large = WAITING_BYTES / 8;
        let _waiting = ask(&intake, 8, large, LONG);
        assert_eq!(all(ask(&intake, 1, 1, LONG)), [Reply::Busy]);
    }

    #[tokio::test]
    async fn refusals_on_their_way_are_bounded() {
        let (intake, _calls) = Intake::new(4);
        let _waiting = ask(&intake, WAITING, 1, LONG);
        let (sender, mut replies) = outgoing();
        for _ in 0..2 * REFUSALS {
            let sender = sender.clone();
            intake.take_in(Bytes::new(), LONG, move |reply, room| sender.try_send(((), reply, room)).unwrap());
        }
        drop(sender);
        let mut refused = 0;
        while let Some((.., reply, _room)) = replies.recv().await {
            assert_eq!(reply, Reply::Busy);
            refused += 1;
        }
        assert_eq!(refused, REFUSALS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_not_taken_after_the_time_of_its_asker() {
        let (intake, mut calls) = Intake::new(4);
        let _late = ask(&intake, 3, 1, Duration::from_millis(10));
        tokio::time::advance(Duration::from_millis(10)).await;
        let _timely = ask(&intake, 1, 2, Duration::from_millis(10));
        assert_eq!(calls.next().await.unwrap().question.len(), 2);
    }

    #[test]
    fn replies_are_written_and_read() {
        let bytes = Bytes::from_static(b"x");
        for reply in [Reply::Answer(bytes.clone()), Reply::Busy, Reply::Gone, Reply::Unanswered, Reply::TooLarge] {
            assert_eq!(Reply::read(reply.letter().as_bytes(), bytes.clone()), reply);
        }
        assert_eq!(Reply::read(b"?", bytes), Reply::Unanswered, "of a newer version");
    }

    #[test]
    fn a_name_is_no_pattern() {
        assert!(is_name("0123456789abcdef0123456789abcdef"));
        for other in ["", "*", ">", "0123456789ABCDEF0123456789abcdef", "0123456789abcdef.123456789abcdef", "0123"] {
            assert!(!is_name(other), "{other}");
        }
    }
}
