//! `meta`: the application's data about a member, and the canonical form of JSON objects.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde_json::value::RawValue;

use crate::model::json::{Entries, is_beyond_f64};
use crate::model::refusal::{Code, Refusal, shown};

/// The most bytes of a `meta`, written without spaces. A `meta` travels in every event about the member and in every
/// snapshot, to each reader: larger data belongs in the application's own store.
pub const MAX_BYTES: usize = 1024;

/// The most objects and arrays within each other, the `meta` itself counted. The parsers of some readers stop at 64, and a
/// snapshot adds three.
pub const MAX_DEPTH: usize = 32;

/// Beyond these bytes, a text is too large however it is escaped: an escape takes at most 6 bytes for one.
const MAX_ESCAPED: usize = 6 * MAX_BYTES;

/// What is wrong with an object, as a sentence without its subject.
pub(super) type Fault = String;

/// A JSON object in canonical form: no spaces, keys sorted, strings without needless escapes, numbers as sent. Equal
/// values are equal texts, numbers being equal if spelled alike, so bytes are enough to compare. Most members have an
/// empty object, without an allocation.
#[derive(Clone, Debug, Default)]
pub struct Meta(Option<Arc<RawValue>>);

impl Meta {
    /// Reads a client's text.
    ///
    /// # Errors
    ///
    /// `bad_meta` unless the text is JSON, and as in [`Meta::new`].
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let value = serde_json::from_str(text).map_err(|error| bad_meta(not_json(error)))?;
        Meta::new(value)
    }

    /// Takes a client's JSON value.
    ///
    /// # Errors
    ///
    /// `bad_meta` unless the value is an object within the bounds that every reader reads as it was sent.
    pub fn new(value: &RawValue) -> Result<Self, Refusal> {
        Meta::canonical(value).map_err(bad_meta)
    }

    /// The canonical form of an object.
    ///
    /// # Errors
    ///
    /// What is wrong with the object, as a sentence without its subject.
    pub(super) fn canonical(value: &RawValue) -> Result<Self, Fault> {
        if !value.get().starts_with('{') {
            return Err("is not a JSON object".into());
        }
        let mut text = String::new();
        write(&without_spaces(value.get())?, &mut text)?;
        if text.len() > MAX_BYTES {
            return Err(format!("has {} bytes without spaces; at most {MAX_BYTES}", text.len()));
        }
        if text == "{}" {
            return Ok(Meta(None));
        }
        let raw = RawValue::from_string(text).map_err(not_json)?;
        Ok(Meta(Some(raw.into())))
    }

    /// A canonical text that was taken before and kept. Other bounds may have held then, so none is applied: never for what
    /// a client sends. `None` unless the text is a JSON object, as every reader expects.
    pub fn kept(text: &str) -> Option<Self> {
        if text == "{}" {
            return Some(Meta(None));
        }
        let raw = RawValue::from_string(text.to_owned()).ok().filter(|raw| raw.get().starts_with('{'))?;
        Some(Meta(Some(raw.into())))
    }

    /// Whether the object is `{}`.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The object's text.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().map_or("{}", RawValue::get)
    }
}

/// A valid `text` without spaces between values. The only pass over the whole of what a client sent: it stops at the
/// bounds, and all later work is on a text within them.
fn without_spaces(text: &str) -> Result<String, Fault> {
    let (mut kept, mut depth) = (String::new(), 0);
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            ' ' | '\t' | '\n' | '\r' => continue,
            '{' | '[' if depth == MAX_DEPTH => return Err(format!("is nested deeper than {MAX_DEPTH} levels")),
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        kept.push(c);
        if kept.len() > MAX_ESCAPED {
            return Err(format!("has more than {MAX_BYTES} bytes without spaces"));
        }
    }
    Ok(kept)
}

/// Writes a valid value without spaces in canonical form.
fn write(value: &str, to: &mut String) -> Result<(), Fault> {
    // A valid text fails to parse for one reason only.
    let half = |_| r"has half of a surrogate pair (\ud800 to \udfff), which is no character".to_owned();
    match value.as_bytes()[0] {
        b'{' => {
            let mut entries: Entries<'_> = serde_json::from_str(value).map_err(half)?;
            if let Some(key) = entries.sort() {
                return Err(format!("has the key {:?} twice in one object", shown(key)));
            }
            enclosed('{', entries.0, '}', to, |(key, value), to| {
                string(&key, to);
                to.push(':');
                write(value.get(), to)
            })
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(value).map_err(half)?;
            enclosed('[', items, ']', to, |item, to| write(item.get(), to))
        }
        b'"' => {
            string(&serde_json::from_str::<String>(value).map_err(half)?, to);
            Ok(())
        }
        b'-' | b'0'..=b'9' if is_beyond_f64(value) => {
            Err(format!("has the number {}, beyond the range of 64-bit floating point", shown(value)))
        }
        _ => {
            to.push_str(value);
            Ok(())
        }
    }
}

/// Writes a list of values with commas in between.
fn enclosed<T>(
    open: char,
    all: Vec<T>,
    close: char,
    to: &mut String,
    mut write: impl FnMut(T, &mut String) -> Result<(), Fault>,
) -> Result<(), Fault> {
    to.push(open);
    for (at, each) in all.into_iter().enumerate() {
        if at > 0 {
            to.push(',');
        }
        write(each, to)?;
    }
    to.push(close);
    Ok(())
}

/// Writes a string with the necessary escapes only.
fn string(text: &str, to: &mut String) {
    // serde_json displays a value as its JSON.
    to.push_str(&serde_json::Value::from(text).to_string());
}

fn not_json(error: serde_json::Error) -> Fault {
    format!("is not JSON: {error}")
}

fn bad_meta(fault: Fault) -> Refusal {
    Refusal::new(Code::BadMeta, format!("meta {fault}")).of("meta")
}

impl TryFrom<&RawValue> for Meta {
    type Error = Refusal;

    fn try_from(value: &RawValue) -> Result<Self, Refusal> {
        Meta::new(value)
    }
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Meta {}

impl serde::Serialize for Meta {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(raw) => raw.serialize(to),
            None => to.serialize_map(Some(0))?.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::Mutants;

    fn meta(text: &str) -> Result<Meta, Refusal> {
        Meta::read(text)
    }

    fn refused(text: &str) -> String {
        let refusal = meta(text).expect_err(text);
        assert_eq!((refusal.code, refusal.field.as_deref()), (Code::BadMeta, Some("meta")));
        refusal.message
    }

    #[test]
    fn equal_objects_are_equal_whatever_their_order_and_spaces() {
        assert_eq!(meta(r#"{"b":1, "a":[2]}"#), meta(r#"{ "a":[2],"b":1}"#));
        assert_ne!(meta(r#"{"a":1}"#), meta(r#"{"a":2}"#));
        assert_eq!(meta("{}").unwrap(), Meta::default());
    }

    #[test]
    fn a_meta_that_is_no_object_or_too_large_is_refused() {
        assert_eq!(meta("[]").unwrap_err().code, Code::BadMeta);
        let object = |n: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(n - 8));
        assert!(meta(&object(MAX_BYTES)).is_ok());
        assert_eq!(
            meta(&object(MAX_BYTES + 1)).unwrap_err().message,
            "meta has 1025 bytes without spaces; at most 1024"
        );
    }

    #[test]
    fn what_was_sent_is_kept() {
        for text in [
            r#"{"a":1E5,"b":0.12345678901234567890,"c":-0,"d":1.0,"e":1e-400}"#,
            r#"{"id":18446744073709551616,"large":123456789012345678901234567890,"minus":-9223372036854775809}"#,
            r#"{"$serde_json::private::RawValue":"[[1]]"}"#,
            r#"{"a":[{"$serde_json::private::RawValue":"{\"b\":1}"}],"b":{"$serde_json::private::Number":"1"}}"#,
            r#"{"":"\u0000\n\\\" 山田 👩","a":[true,false,null,[],{}]}"#,
        ] {
            assert_eq!(meta(text).expect(text).as_str(), text);
        }
    }

    #[test]
    fn numbers_are_compared_as_sent_and_strings_without_escapes() {
        assert_ne!(meta(r#"{"a":1E5}"#), meta(r#"{"a":100000}"#));
        assert_eq!(meta(r#"{"\u0061":"\u00e9\/\ud83d\ude00"}"#), meta(r#"{"a":"é/😀"}"#));
        // Spaces count only within strings, and escapes only where needed.
        assert_eq!(
            meta(&format!("{{ \"a\" :{}[ 1 ,\t2\r\n] }}", " ".repeat(9_000))).unwrap().as_str(),
            r#"{"a":[1,2]}"#
        );
        assert!(meta(&format!(r#"{{"a":"{}"}}"#, r"\u0061".repeat(MAX_BYTES - 8))).is_ok());
    }

    #[test]
    fn what_readers_would_read_differently_is_refused() {
        for (text, said) in [
            (r#"{"a":1,"a":1}"#, "meta has the key \"a\" twice in one object"),
            (r#"{"b":[{"a":1,"\u0061":1}]}"#, "meta has the key \"a\" twice in one object"),
            (r#"{"a":"\ud800"}"#, r"meta has half of a surrogate pair (\ud800 to \udfff), which is no character"),
            (r#"{"a":"\ude00\ud83d"}"#, r"meta has half of a surrogate pair (\ud800 to \udfff), which is no character"),
            (r#"{"\ud800":[]}"#, r"meta has half of a surrogate pair (\ud800 to \udfff), which is no character"),
            (r#"{"a":1e400}"#, "meta has the number 1e400, beyond the range of 64-bit floating point"),
            (r#"{"a":[-1E+999]}"#, "meta has the number -1E+999, beyond the range of 64-bit floating point"),
            ("[]", "meta is not a JSON object"),
            ("{}x", "meta is not JSON: trailing characters at line 1 column 3"),
        ] {
            assert_eq!(refused(text), said);
        }
    }

    #[test]
    fn nesting_is_bounded_however_it_is_written() {
        let nested = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(meta(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(refused(&nested(MAX_DEPTH + 1)), "meta is nested deeper than 32 levels");
        assert_eq!(refused(&nested(500_000)), "meta is nested deeper than 32 levels");
        // Brackets within strings are no nesting.
        assert!(meta(&format!(r#"{{"a":"\"{}"}}"#, "[".repeat(100))).is_ok());
    }

    #[test]
    fn mutants_of_metas_are_canonical_or_refused() {
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(31), "]".repeat(31));
        let inputs = [
            r#"{"status":"away","since":1795326781}"#,
            r#"{ "b" : [1E5, -0.5e-7, true, null, {}], "a":{"\u0061":"\ud83d\ude00\n"} }"#,
            r#"{"$serde_json::private::RawValue":"[1]","山":{"":[[],{"x":18446744073709551616}]}}"#,
            &deep,
        ];
        let mut kept = 0;
        for text in Mutants::of(inputs, 20_000).texts() {
            match meta(&text) {
                Ok(meta) => {
                    kept += 1;
                    assert!(meta.as_str().len() <= MAX_BYTES);
                    assert_eq!(super::Meta::read(meta.as_str()).unwrap().as_str(), meta.as_str());
                    // A parser of another kind finds the same value before and after.
                    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect(text);
                    if !text.contains("$serde_json") {
                        assert_eq!(value(&text), value(meta.as_str()));
                    }
                }
                Err(refusal) => assert_eq!((refusal.code, refusal.field.as_deref()), (Code::BadMeta, Some("meta"))),
            }
        }
        assert!(kept > 1_000, "{kept} mutants are valid");
    }
}
