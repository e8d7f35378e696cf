//! JSON bodies: stricter rules than serde's own.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde_json::value::RawValue;

use crate::model::refusal::Refusal;

/// A `T` written as a JSON object. serde alone would also accept an array of its fields, by position.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Only(PhantomData))
    }
}

struct Only<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Only<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// A field with rules and refusals of its own, read from its text as sent: `serde_json`'s `Value` between would lose some
/// of it, see [`Entries`](crate::model::json::Entries).
pub struct Field<T>(pub Result<T, Refusal>);

impl<'de, T: for<'a> TryFrom<&'a RawValue, Error = Refusal>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Borrowed: a large text that is refused is never copied.
        Ok(Field(T::try_from(<&RawValue>::deserialize(from)?)))
    }
}

/// Deserializes a field that may be absent. A `null` is a value, and not the same as an absent field.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// The value of a field that may be absent.
///
/// # Errors
///
/// The field's own refusal.
pub fn value<T>(field: Option<Field<T>>) -> Result<Option<T>, Refusal> {
    field.map(|field| field.0).transpose()
}
