//! JSON objects by their own text.

use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Error;
use serde_json::value::RawValue;

/// The keys of an object and the text of each value, in their order. `serde_json`'s own `Value` would turn large numbers
/// into floats, drop all but the last of repeated keys, and unpack a value under the private key of `RawValue`.
#[derive(Debug, Default)]
pub struct Entries<'a>(pub Vec<(String, &'a RawValue)>);

impl<'a> Entries<'a> {
    /// The value of `key`, unless the key is repeated.
    pub fn only(&self, key: &str) -> Option<&'a RawValue> {
        let mut values = self.0.iter().filter(|(each, _)| each == key).map(|(_, value)| *value);
        values.next().filter(|_| values.next().is_none())
    }

    /// A repeated key, after the entries are sorted by key. Keys are compared without their escapes.
    pub fn sort(&mut self) -> Option<&str> {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.0.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].0.as_str())
    }

    /// The entries as the fields of a `T`.
    ///
    /// # Errors
    ///
    /// That of `T`, for instance an unknown field.
    pub fn fields<T: Deserialize<'a>>(self) -> Result<T, Error> {
        T::deserialize(MapDeserializer::new(self.0.into_iter()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Entries::default();
                while let Some(entry) = map.next_entry()? {
                    entries.0.push(entry);
                }
                Ok(entries)
            }
        }

        from.deserialize_map(Each)
    }
}

/// Whether a JSON number is beyond 64-bit floating point. Many parsers then refuse the whole text.
pub fn is_beyond_f64(number: &str) -> bool {
    number.parse().is_ok_and(f64::is_infinite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_repeated_keys_and_the_text_of_values() {
        let mut entries: Entries<'_> = serde_json::from_str(r#"{"b": 1E5 ,"a":[ 1],"\u0062":null,"c":{}}"#).unwrap();
        assert_eq!(entries.only("b").map(RawValue::get), None);
        assert_eq!(entries.only("a").map(RawValue::get), Some("[ 1]"));
        assert_eq!(entries.sort(), Some("b"));
        let texts: Vec<_> = entries.0.iter().map(|(key, value)| (key.as_str(), value.get())).collect();
        assert_eq!(texts, [("a", "[ 1]"), ("b", "1E5"), ("b", "null"), ("c", "{}")]);
    }
}
