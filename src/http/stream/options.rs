//! Stream options: the parameters of a stream's URL, apart from the room.

use crate::http::call::Call;
use crate::http::query::{Query, bad};
use crate::model::cursor::Cursor;
use crate::model::id::ClientId;
use crate::model::meta::Meta;
use crate::model::name::Name;
use crate::model::refusal::Refusal;
use crate::model::statement::{Rank, Statement};

/// The options of a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    /// The cursor to resume after.
    pub since: Option<Cursor>,
    /// The user to hold while the stream is open, and what the hold says.
    pub holds: Option<(Name, Option<Statement>)>,
    /// The client that opens one such stream after the other.
    pub client: Option<ClientId>,
    /// Whether keep-alives include a message that scripts can see.
    pub alive: bool,
    /// Whether members who are suspect are shown as such.
    pub suspects: bool,
}

impl StreamOptions {
    /// Reads the options from a stream's `query`, and the client from its `call`.
    ///
    /// # Errors
    ///
    /// `bad_parameter`, `bad_name`, `bad_meta` or `bad_rank`.
    pub fn of(call: &Call, query: &Query) -> Result<Self, Refusal> {
        let user = query.get("as").map(|user| Name::new("as", user)).transpose()?;
        let meta = query.get("meta").map(Meta::read).transpose()?;
        if meta.is_some() && user.is_none() {
            return Err(bad("meta", "needs \"as\", and that is missing"));
        }
        let statement = Statement::of(meta, query.get("rank").map(Rank::read).transpose()?)?;
        Ok(StreamOptions {
            since: query.get("since").and_then(|text| text.parse().ok()),
            holds: user.map(|user| (user, statement)),
            client: call.client(query)?,
            alive: query.flag("alive")?,
            suspects: query.flag("suspect")?,
        })
    }
}
