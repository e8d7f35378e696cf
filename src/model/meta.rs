//! `meta`: the application's data about a member.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::model::refusal::{Code, Refusal};

/// The most bytes of a `meta`, written without spaces. A `meta` travels in every event about the member and in every
/// snapshot, to each reader: larger data belongs in the application's own store.
pub const MAX_BYTES: usize = 1024;

/// A JSON object in canonical form: no spaces, keys sorted. Equal values are equal texts, so bytes are enough to
/// compare. Most members have an empty object, without an allocation.
#[derive(Clone, Debug, Default)]
pub struct Meta(Option<Arc<RawValue>>);

impl Meta {
    /// Takes a client's JSON object.
    ///
    /// # Errors
    ///
    /// `bad_meta` beyond [`MAX_BYTES`].
    pub fn new(object: Map<String, Value>) -> Result<Self, Refusal> {
        if object.is_empty() {
            return Ok(Meta(None));
        }
        let text = Value::Object(object).to_string();
        if text.len() > MAX_BYTES {
            let message = format!("meta has {} bytes without spaces; at most {MAX_BYTES}", text.len());
            return Err(Refusal::new(Code::BadMeta, message).of("meta"));
        }
        let raw =
            RawValue::from_string(text).map_err(|error| Refusal::new(Code::BadMeta, error.to_string()).of("meta"))?;
        Ok(Meta(Some(raw.into())))
    }

    /// Takes a client's JSON value.
    ///
    /// # Errors
    ///
    /// `bad_meta` unless the value is an object within the bound.
    pub fn from_value(value: Value) -> Result<Self, Refusal> {
        match value {
            Value::Object(object) => Meta::new(object),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(Refusal::new(Code::BadMeta, "meta is not a JSON object").of("meta"))
            }
        }
    }

    /// The object's text.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().map_or("{}", RawValue::get)
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

    fn meta(text: &str) -> Result<Meta, Refusal> {
        Meta::from_value(serde_json::from_str(text).unwrap())
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
}
