//! Verbs: what a caller may do in a room.

use std::fmt;
use std::str::FromStr;

/// One kind of access to a room. The table in PROTOCOL tells what each verb opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reading the number of members.
    Count,
    /// Reading and following the members.
    Watch,
    /// Being present through a connection, as oneself.
    Join,
    /// Being present over HTTP, as oneself.
    SignIn,
    /// Changing the presence of others.
    Manage,
}

/// A set of verbs, together with the verbs that they include.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbs(u8);

impl Verb {
    /// All verbs.
    pub const ALL: [Verb; 5] = [Verb::Count, Verb::Watch, Verb::Join, Verb::SignIn, Verb::Manage];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Count => "count",
            Verb::Watch => "watch",
            Verb::Join => "join",
            Verb::SignIn => "sign_in",
            Verb::Manage => "manage",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The verb itself, and the verbs that it includes.
    const fn included(self) -> u8 {
        match self {
            Verb::Count | Verb::Join => self.bit(),
            Verb::Watch => self.bit() | Verb::Count.bit(),
            Verb::SignIn => self.bit() | Verb::Join.bit(),
            Verb::Manage => self.bit() | Verb::Count.bit() | Verb::Watch.bit() | Verb::Join.bit() | Verb::SignIn.bit(),
        }
    }
}

impl FromStr for Verb {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Verb::ALL.into_iter().find(|verb| verb.name() == text);
        found.ok_or_else(|| "a verb is count, watch, join, sign_in or manage".to_owned())
    }
}

impl Verbs {
    /// All verbs.
    pub const ALL: Verbs = Verbs(Verb::Manage.included());

    /// A set that was made before and kept: just these verbs, whatever they include today. Never for what a credential says.
    pub fn kept(verbs: impl IntoIterator<Item = Verb>) -> Self {
        Verbs(verbs.into_iter().fold(0, |bits, verb| bits | verb.bit()))
    }

    /// Whether the set has `verb`.
    pub fn have(self, verb: Verb) -> bool {
        self.0 & verb.bit() != 0
    }

    /// Whether the set has all of `others`.
    pub fn include(self, others: Verbs) -> bool {
        self.0 & others.0 == others.0
    }

    /// Both sets together.
    pub fn and(self, others: Verbs) -> Verbs {
        Verbs(self.0 | others.0)
    }

    /// The verbs of the set.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |verb| self.have(*verb))
    }
}

impl FromIterator<Verb> for Verbs {
    fn from_iter<I: IntoIterator<Item = Verb>>(verbs: I) -> Self {
        Verbs(verbs.into_iter().fold(0, |bits, verb| bits | verb.included()))
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_include_others_as_the_table_says() {
        let names = |verb| Verbs::from_iter([verb]).iter().map(Verb::name).collect::<Vec<_>>().join(" ");
        assert_eq!(
            Verb::ALL.map(names),
            ["count", "count watch", "join", "join sign_in", "count watch join sign_in manage"]
        );
        assert_eq!(Verbs::from_iter([Verb::Manage]), Verbs::ALL);
        assert!(Verbs::default().iter().next().is_none() && Verbs::ALL.include(Verbs::from_iter([Verb::Watch])));
        assert!("Watch".parse::<Verb>().is_err() && "sign_in".parse() == Ok(Verb::SignIn));
    }
}
