//! Patterns: the rooms that a grant is for.

use std::fmt;

use crate::model::count::Prefix;
use crate::model::name::Name;

/// Stands for the subject of a token in a pattern.
const SUBJECT: &str = "{sub}";

/// One room, or all rooms whose names begin with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The room of this name.
    Exact(Name),
    /// The rooms that the prefix selects.
    Prefix(Prefix),
}

impl Pattern {
    /// Reads a pattern: a room's name, or the beginning of names with `*` as its last character. `{sub}` becomes `sub`,
    /// whose own `*` and braces mean nothing.
    ///
    /// # Errors
    ///
    /// A sentence about a `*` elsewhere, a `{sub}` without a subject, or a text that is no name, or no beginning of one.
    pub fn read(text: &str, sub: Option<&Name>) -> Result<Self, String> {
        let (text, is_prefix) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        if text.contains('*') {
            return Err("a * in a pattern is its last character".to_owned());
        }
        let text = match (text.contains(SUBJECT), sub) {
            (false, _) => text.to_owned(),
            (true, Some(sub)) => text.replace(SUBJECT, sub),
            (true, None) => return Err("{sub} needs a token".to_owned()),
        };
        let pattern = match is_prefix {
            true => Prefix::new("match", &text).map(Pattern::Prefix),
            false => Name::new("match", &text).map(Pattern::Exact),
        };
        pattern.map_err(|refusal| refusal.message)
    }

    /// The pattern of all rooms.
    pub fn all() -> Self {
        Pattern::Prefix(Prefix::all())
    }

    /// Whether the pattern is for `room`.
    pub fn selects(&self, room: &str) -> bool {
        match self {
            Pattern::Exact(name) => **name == *room,
            Pattern::Prefix(prefix) => prefix.selects(room),
        }
    }

    /// Whether the pattern is for each room that `other` is for.
    pub fn covers(&self, other: &Pattern) -> bool {
        match (self, other) {
            (_, Pattern::Exact(name)) => self.selects(name),
            (Pattern::Prefix(prefix), Pattern::Prefix(other)) => prefix.selects(other),
            (Pattern::Exact(_), Pattern::Prefix(_)) => false,
        }
    }

    /// The rooms that both the pattern and `prefix` select.
    pub fn within(&self, prefix: &Prefix) -> Option<Pattern> {
        match self {
            Pattern::Exact(name) => prefix.selects(name).then(|| self.clone()),
            Pattern::Prefix(own) if own.selects(prefix) => Some(Pattern::Prefix(prefix.clone())),
            Pattern::Prefix(own) => prefix.selects(own).then(|| self.clone()),
        }
    }

    /// The text by which disjoint patterns are in the order of their rooms.
    pub fn start(&self) -> &str {
        match self {
            Pattern::Exact(name) => name,
            Pattern::Prefix(prefix) => prefix,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Exact(name) => f.write_str(name),
            Pattern::Prefix(prefix) => write!(f, "{}*", &**prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::read(text, Some(&"a*{sub}".parse().unwrap())).unwrap()
    }

    #[test]
    fn a_pattern_is_exact_or_ends_in_a_star() {
        for (text, room, is) in [
            ("team-7", "team-7", true),
            ("team-7", "team-70", false),
            ("team-*", "team-", true),
            ("team-*", "Team-7", false),
            ("*", "lobby", true),
            ("by/{sub}", "by/a*{sub}", true),
            ("by/{sub}", "by/abc", false),
            ("by/{sub}/*", "by/a*{sub}/x", true),
            ("{subject}", "{subject}", true),
            ("a?c", "abc", false),
        ] {
            assert_eq!(pattern(text).selects(room), is, "{text} {room}");
        }
        for bad in ["", "a*b", "**", "*a", ".", "a\n"] {
            assert!(Pattern::read(bad, None).is_err(), "{bad:?}");
        }
        assert!(Pattern::read("by/{sub}", None).is_err() && Pattern::read(&"x".repeat(129), None).is_err());
        assert!(Pattern::read(&format!("{}*", "x".repeat(129)), None).is_err());
    }

    #[test]
    fn patterns_cover_and_meet() {
        for (one, other, covers) in
            [("a*", "ab*", true), ("ab*", "a*", false), ("a*", "a", true), ("a", "a*", false), ("a", "a", true)]
        {
            assert_eq!(pattern(one).covers(&pattern(other)), covers, "{one} {other}");
        }
        let within = |text: &str, prefix: &str| {
            pattern(text).within(&Prefix::new("prefix", prefix).unwrap()).map(|pattern| pattern.to_string())
        };
        assert_eq!(within("doc/*", ""), Some("doc/*".to_owned()));
        assert_eq!(within("doc/*", "doc/a"), Some("doc/a*".to_owned()));
        assert_eq!((within("doc/*", "team"), within("doc", "do")), (None, Some("doc".to_owned())));
    }
}
