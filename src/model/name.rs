//! Names of rooms and users.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::model::refusal::{Code, Refusal};

/// The most bytes of a name: enough for an address or two UUIDs, and a frame stays small.
pub const MAX_BYTES: usize = 128;

/// The code points of Unicode 17.0 with the property `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt): without
/// support for them, nothing is shown. Unicode reserved the ranges in advance, so they hardly ever change.
const DEFAULT_IGNORABLE: [(char, char); 17] = [
    ('\u{AD}', '\u{AD}'),
    ('\u{34F}', '\u{34F}'),
    ('\u{61C}', '\u{61C}'),
    ('\u{115F}', '\u{1160}'),
    ('\u{17B4}', '\u{17B5}'),
    ('\u{180B}', '\u{180F}'),
    ('\u{200B}', '\u{200F}'),
    ('\u{202A}', '\u{202E}'),
    ('\u{2060}', '\u{206F}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{FE00}', '\u{FE0F}'),
    ('\u{FEFF}', '\u{FEFF}'),
    ('\u{FFA0}', '\u{FFA0}'),
    ('\u{FFF0}', '\u{FFF8}'),
    ('\u{1BCA0}', '\u{1BCA3}'),
    ('\u{1D173}', '\u{1D17A}'),
    ('\u{E0000}', '\u{E0FFF}'),
];

/// The name of a room or a user: 1 to 128 bytes of UTF-8 with something visible, no control characters, no controls of
/// the writing direction, not `.` or `..`.
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
            _ if text.chars().all(is_invisible) => Err(broken("has nothing visible in it".into())),
            _ => match text.chars().find(|c| changes_direction(*c)) {
                Some(c) => {
                    let code = u32::from(c);
                    Err(broken(format!("has U+{code:04X}, which changes the writing direction of the text around")))
                }
                None => Ok(Name(text.into())),
            },
        }
    }

    /// A name that was taken before and kept. Other rules may have held then, so none is applied: never for what a client
    /// sends.
    pub fn kept(text: &str) -> Self {
        Name(text.into())
    }

    /// The default room, also of the exercise.
    pub fn lobby() -> Self {
        Name("lobby".into())
    }
}

/// Whether `c` shows nothing by itself: spaces, ignorable characters, marks without a base, and the empty Braille
/// pattern, the one symbol without ink.
fn is_invisible(c: char) -> bool {
    let ignorable = || DEFAULT_IGNORABLE.iter().any(|(first, last)| (first..=last).contains(&&c));
    let mark = || c.general_category_group() == GeneralCategoryGroup::Mark;
    c.is_whitespace() || c == '\u{2800}' || !c.is_ascii() && (ignorable() || mark())
}

/// Whether `c` is an embedding, an override or an isolate (UAX #9, 2): unless closed, it goes on beyond the name, and
/// shows other text in a wrong order.
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The name of a sign-in among those of a member: 1 to 64 bytes, and the rules of [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct HoldName(Name);

impl HoldName {
    /// The most bytes: enough for a host and a process, and the name is stored with each deadline.
    const MAX_BYTES: usize = 64;

    /// Takes `text` as the name in `field`.
    ///
    /// # Errors
    ///
    /// `bad_name`, with the broken rule.
    pub fn new(field: &str, text: &str) -> Result<Self, Refusal> {
        if text.len() > HoldName::MAX_BYTES {
            let message =
                format!("{field} has {} bytes; the name of a hold has 1 to {}", text.len(), HoldName::MAX_BYTES);
            return Err(Refusal::new(Code::BadName, message).of(field));
        }
        Name::new(field, text).map(HoldName)
    }

    /// A name that was taken before and kept, by whatever rules: never for what a client sends.
    pub fn kept(text: &str) -> Self {
        HoldName(Name::kept(text))
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

impl Deref for HoldName {
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
    use crate::mutants::Mutants;

    #[test]
    fn names_of_any_language_and_sign_are_accepted() {
        for text in ["ann", "Ωμέγα", "山田", "a/b", "<b>", "\"'", "...", "a b", "👩‍👧", "می‌خواهم", &"x".repeat(128)]
        {
            assert_eq!(&*Name::new("user", text).unwrap(), text);
        }
    }

    #[test]
    fn the_name_of_a_hold_has_a_smaller_bound() {
        assert!(HoldName::new("hold", &"x".repeat(64)).is_ok());
        let refusal = HoldName::new("hold", &"x".repeat(65)).unwrap_err();
        assert_eq!(
            (refusal.code, &*refusal.message),
            (Code::BadName, "hold has 65 bytes; the name of a hold has 1 to 64")
        );
        assert_eq!(HoldName::new("hold", " ").unwrap_err().message, "hold has nothing visible in it");
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

    #[test]
    fn names_that_change_the_direction_of_other_text_are_refused() {
        for c in ('\u{202A}'..='\u{202E}').chain('\u{2066}'..='\u{2069}') {
            let refusal = Name::new("room", &format!("ann{c}gpj")).unwrap_err();
            let said =
                format!("room has U+{:04X}, which changes the writing direction of the text around", u32::from(c));
            assert_eq!((refusal.code, refusal.message), (Code::BadName, said));
        }
        // Marks of direction and joiners belong to the spelling of words, and end with the name.
        for text in ["ann\u{200E}", "\u{200F}אב", "\u{61C}اب", "a\u{200C}b", "a\u{200D}b", "\u{2065}a", "a\u{206A}"]
        {
            assert!(Name::new("user", text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn names_with_nothing_visible_are_refused() {
        for text in [
            " ",
            "\u{A0}",
            "\u{3000}\u{2003} ",
            "\u{2028}",
            "\u{200B}",
            "\u{200D}",
            "\u{FEFF}",
            "\u{AD}",
            "\u{34F}",
            "\u{61C}",
            "\u{2060}\u{2064}",
            "\u{3164}",
            "\u{115F}\u{1160}",
            "\u{FFA0}",
            "\u{2800}",
            "\u{180E}",
            "\u{FE0F}",
            "\u{E0041}",
            "\u{E01EF}",
            "\u{FFF0}",
            "\u{301}",
            " \u{20DD}",
        ] {
            let refused = Name::new("user", text).map_err(|refusal| refusal.message);
            assert_eq!(refused, Err("user has nothing visible in it".to_owned()), "{text:?}");
        }
        for text in [" a ", "\u{200B}a", "e\u{301}", "\u{2801}", "½", "\u{E000}", "🏴\u{E0067}\u{E007F}", "\u{1D15E}"]
        {
            assert!(Name::new("user", text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn mutants_of_names_are_names_or_refused() {
        let names = ["ann", "Ωμέγα", "山田/%", "👩‍👧", "a\u{301}", " \u{200B}", "\u{202E}x", &"é".repeat(64)];
        for text in Mutants::of(names, 50_000).texts() {
            match Name::new("user", &text) {
                Ok(name) => {
                    assert!((1..=MAX_BYTES).contains(&name.len()) && *name == *text);
                    assert!(text.chars().any(|c| !c.is_whitespace()) && !text.contains(char::is_control));
                }
                Err(refusal) => assert_eq!((refusal.code, refusal.field.as_deref()), (Code::BadName, Some("user"))),
            }
        }
    }
}
