//! Why a member is present.

use serde::Serialize;

/// One reason why a member is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Hold {
    /// Made over HTTP, until sign-out; at most one for each user and room.
    SignIn,
}

/// The holds of one member, who stays while there is one. They stand beside the member and not in
/// it, since readers never see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    signed_in: bool,
}

impl Holds {
    /// A first hold.
    pub fn of(hold: Hold) -> Self {
        let mut holds = Holds::default();
        holds.add(hold);
        holds
    }

    /// Adds a hold; a sign-in that is there already is renewed.
    pub fn add(&mut self, hold: Hold) {
        match hold {
            Hold::SignIn => self.signed_in = true,
        }
    }

    /// Whether this hold is there.
    pub fn has(&self, hold: Hold) -> bool {
        match hold {
            Hold::SignIn => self.signed_in,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Hold> {
        self.signed_in.then_some(Hold::SignIn).into_iter()
    }
}
