//! Names of rooms and users.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use crate::model::refusal::{Code, Refusal};

/// The most bytes of a name: enough for an address or two UUIDs, and a frame stays small.
pub const MAX_BYTES: usize = 128;

/// The name of a room or a user: 1 to 128 bytes of UTF-8, no control characters, not `.` or `..`.
///
/// Compared byte by byte. Cheap to clone: all copies share one text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Takes `text` as the name in `field`.
    ///
    /// # Errors
    ///
    /// `bad_name`, with the broken rule.
    pub fn new(field: &str, text: &str) -> Result<Self, Refusal> {
        let broken = |what: String| Refusal::new(Code::BadName, format!("{field} {what}")).of(field);
        match text {
            "" => Err(broken(format!("is empty; a name has 1 to {MAX_BYTES} bytes"))),
            "." | ".." => Err(broken("is a dot segment, which paths cannot carry".into())),
            _ if text.len() > MAX_BYTES => {
                Err(broken(format!("has {} bytes; a name has 1 to {MAX_BYTES}", text.len())))
            }
            _ if text.chars().any(char::is_control) => Err(broken("has a control character".into())),
            _ => Ok(Name(text.into())),
        }
    }

    /// The default room, also of the exercise.
    pub fn lobby() -> Self {
        Name("lobby".into())
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Name::new("name", text).map_err(|refusal| refusal.message)
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_language_and_sign_are_accepted() {
        for text in ["ann", "Ωμέγα", "山田", "a/b", "<b>", "\"'", "...", " ", "👩‍👧", &"x".repeat(128)] {
            assert_eq!(&*Name::new("user", text).unwrap(), text);
        }
    }

    #[test]
    fn names_that_break_a_rule_are_refused_with_field_and_bound() {
        for (text, said) in [
            ("", "user is empty; a name has 1 to 128 bytes"),
            (".", "user is a dot segment"),
            ("..", "user is a dot segment"),
            (&"é".repeat(65), "user has 130 bytes; a name has 1 to 128"),
            ("a\nb", "user has a control character"),
            ("\u{85}", "user has a control character"),
            ("\u{7f}", "user has a control character"),
        ] {
            let refusal = Name::new("user", text).unwrap_err();
            assert_eq!((refusal.code, refusal.field.as_deref()), (Code::BadName, Some("user")));
            assert!(refusal.message.starts_with(said), "{text:?}: {}", refusal.message);
        }
    }
}
