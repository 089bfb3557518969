//! Fields of a script that serde's derived code cannot read: `null` is absent, numbers have a
//! range, and an object is nothing else.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

/// The longest wait, in milliseconds: more than a day is a mistake.
const DAY_MS: u64 = 86_400_000;

/// A value, or the default for `null`.
pub(super) fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A whole number of a range.
pub(super) fn whole<'de, D, T, const MIN: u64, const MAX: u64>(
    from: D,
) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let Some(given) = Option::<Value>::deserialize(from)? else {
        return Ok(None);
    };
    let number = given.as_u64().filter(|n| (MIN..=MAX).contains(n));
    match number.and_then(|n| T::try_from(n).ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(D::Error::custom(format_args!(
            "must be a whole number from {MIN} to {MAX}"
        ))),
    }
}

/// A wait in milliseconds, none for `null`.
pub(super) fn wait<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let ms = whole::<D, u64, 0, DAY_MS>(from)?;
    Ok(Duration::from_millis(ms.unwrap_or(0)))
}

/// The time between two events, in milliseconds.
pub(super) fn interval<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    Ok(whole::<D, u64, 1, DAY_MS>(from)?.map(Duration::from_millis))
}

/// Texts: one, or a list. Empty for `null`.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(
        untagged,
        expecting = "must be a text, in double quotes, or a list of texts"
    )]
    enum Texts {
        Absent,
        One(String),
        Many(Vec<String>),
    }
    Ok(match Texts::deserialize(from)? {
        Texts::Absent => Vec::new(),
        Texts::One(text) => vec![text],
        Texts::Many(texts) => texts,
    })
}

/// An object. serde reads a struct from a list, too, which in a script is a mistake.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, in curly brackets")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        from.deserialize_map(Fields(PhantomData))
    }
}

/// An object, if there is one.
pub(super) fn object<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let object: Option<Object<T>> = Deserialize::deserialize(from)?;
    Ok(object.map(|Object(object)| object))
}

/// An object, the default for `null`.
pub(super) fn object_or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(object(from)?.unwrap_or_default())
}

/// A list of objects, if there is one, without those that are `null`.
pub(super) fn objects<'de, D, T>(from: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list: Option<Vec<Option<Object<T>>>> = Deserialize::deserialize(from)?;
    let object = |Object(object): Object<T>| object;
    Ok(list.map(|list| list.into_iter().flatten().map(object).collect()))
}

/// Bytes as base64.
#[derive(serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Base64(pub(super) Bytes);

impl TryFrom<String> for Base64 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match STANDARD.decode(text) {
            Ok(bytes) => Ok(Self(Bytes::from(bytes))),
            Err(error) => Err(format!("must be base64 with padding ({error})")),
        }
    }
}
