//! `info`: what a backend says of a member, beside the `meta` that clients say.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::model::meta::Meta;
use crate::model::refusal::{Code, Refusal};

/// A JSON object within the bounds and in the canonical form of [`Meta`]. It belongs to the member, not to a hold. Most
/// members have none: the two pointers of one that has keep all others small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info(Option<Arc<Meta>>);

impl Info {
    /// An object that was taken before and kept: never for what a client sends.
    pub fn kept(object: Meta) -> Self {
        Info((!object.is_empty()).then(|| Arc::new(object)))
    }

    /// The object; `None` for an empty one.
    pub fn object(&self) -> Option<&Meta> {
        self.0.as_deref()
    }

    /// The bytes of the object's text; 0 for an empty one.
    pub fn len(&self) -> usize {
        self.object().map_or(0, |object| object.as_str().len())
    }

    /// Whether the object is `{}`.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl TryFrom<&RawValue> for Info {
    type Error = Refusal;

    /// # Errors
    ///
    /// `bad_info` unless the value is an object within the bounds that every reader reads as it was sent.
    fn try_from(value: &RawValue) -> Result<Self, Refusal> {
        let object =
            Meta::canonical(value).map_err(|fault| Refusal::new(Code::BadInfo, format!("info {fault}")).of("info"))?;
        Ok(Info::kept(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> Result<Info, Refusal> {
        Info::try_from(&*RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn an_info_is_canonical_and_its_refusals_name_it() {
        assert_eq!(info(r#"{ "b":1,"a":[ ] }"#).unwrap().object().unwrap().as_str(), r#"{"a":[],"b":1}"#);
        assert_eq!((info("{ }").unwrap(), info("{}").unwrap().len()), (Info::default(), 0));
        for (text, said) in
            [("[]", "info is not a JSON object"), (r#"{"a":1,"a":2}"#, "info has the key \"a\" twice in one object")]
        {
            let refusal = info(text).unwrap_err();
            assert_eq!(
                (refusal.code, refusal.field.as_deref(), &*refusal.message),
                (Code::BadInfo, Some("info"), said)
            );
        }
        assert_eq!(size_of::<Info>(), 8);
    }
}
