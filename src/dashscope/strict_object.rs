//! Reads JSON objects with known keys, without copying what JSON allows to borrow.
//!
//! The visitors are written by hand instead of using serde's `flatten` and `untagged`, which copy
//! every value into a tree first. Each object keeps unknown keys in `extra`; a value of an
//! undocumented type or a duplicate key is an error.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::json::{Gathered, Read};
use super::json_text::Text;
use crate::chat::document::{Document, Object};

/// An object with known keys, which keeps the others.
pub(crate) trait Keyed<'a>: Default {
    /// The name in type errors.
    const NAME: &'static str;

    /// Reads the value of a key. Returns whether the key is known.
    fn read<'de: 'a, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error>;

    /// Stores the unknown keys.
    fn keep(&mut self, extra: Object);
}

/// Reads JSON that is an object.
pub(crate) fn read_object<'a, T: Keyed<'a>>(json: &'a str) -> serde_json::Result<T> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let mut value = T::default();
    reader.deserialize_map(Into(&mut value, PhantomData))?;
    reader.end()?;
    Ok(value)
}

/// Reads an object in place: a returned value would be moved at each level.
pub(crate) struct Into<'t, 'a, T>(pub(crate) &'t mut T, pub(crate) PhantomData<&'a ()>);

impl<'de: 'a, 'a, T: Keyed<'a>> Visitor<'de> for Into<'_, 'a, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::NAME)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(value, _) = self;
        let mut extra = Gathered::default();
        while let Some(Text(key)) = map.next_key()? {
            if !value.read(&key, &mut map)? {
                let Read(document) = map.next_value()?;
                if document != Document::Null {
                    extra.insert(key.into_owned(), document);
                }
            }
        }
        value.keep(extra.unique().ok_or_else(twice)?);
        Ok(())
    }
}

/// An object or null, read in place.
pub(crate) struct Optional<'t, 'a, T>(pub(crate) &'t mut Option<T>, pub(crate) PhantomData<&'a ()>);

impl<'de: 'a, 'a, T: Keyed<'a>> DeserializeSeed<'de> for Optional<'_, 'a, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de: 'a, 'a, T: Keyed<'a>> Visitor<'de> for Optional<'_, 'a, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::NAME)
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Into(self.0.insert(T::default()), PhantomData))
    }
}

/// A list or null.
pub(crate) struct List<T>(pub(crate) Option<Vec<T>>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E: de::Error>(self) -> Result<List<T>, E> {
                Ok(List(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<List<T>, A::Error> {
                gather(items).map(|list| List(Some(list)))
            }
        }

        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

/// The items of a list. Most lists have one, and a list that grows from empty allocates four.
pub(crate) fn gather<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    mut items: A,
) -> Result<Vec<T>, A::Error> {
    let mut list = Vec::new();
    while let Some(item) = items.next_element()? {
        if list.is_empty() {
            list.reserve_exact(1);
        }
        list.push(item);
    }
    Ok(list)
}

/// The error of a duplicate key.
pub(crate) fn twice<E: de::Error>() -> E {
    E::custom("duplicate key")
}

/// The keys of an object; after `object`, those that hold objects, and after `list` that of a list.
macro_rules! keyed {
    (
        $type:ident, $name:literal,
        {
            $($key:literal => $field:ident),+
            $(; object $($inner:literal => $at:ident),+)?
            $(; list $items:literal => $list:ident)?
        }
    ) => {
        impl<'a> $crate::dashscope::strict_object::Keyed<'a> for $type<'a> {
            const NAME: &'static str = $name;

            fn read<'de: 'a, A: serde::de::MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match key {
                    $($key => {
                        if self.$field.is_some() {
                            return Err($crate::dashscope::strict_object::twice());
                        }
                        self.$field = map.next_value()?;
                    })+
                    $($($inner => {
                        if self.$at.is_some() {
                            return Err($crate::dashscope::strict_object::twice());
                        }
                        let object = $crate::dashscope::strict_object::Optional(
                            &mut self.$at,
                            std::marker::PhantomData,
                        );
                        map.next_value_seed(object)?;
                    })+)?
                    $($items => {
                        if self.$list.is_some() {
                            return Err($crate::dashscope::strict_object::twice());
                        }
                        let $crate::dashscope::strict_object::List(list) = map.next_value()?;
                        self.$list = list;
                    })?
                    _ => return Ok(false),
                }
                Ok(true)
            }

            fn keep(&mut self, extra: $crate::chat::document::Object) {
                self.extra = extra;
            }
        }
    };
}

/// Reads objects with known keys as values.
macro_rules! object {
    ($($type:ident),+) => {
        $(impl<'de: 'a, 'a> serde::Deserialize<'de> for $type<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut value = Self::default();
                deserializer.deserialize_map($crate::dashscope::strict_object::Into(
                    &mut value,
                    std::marker::PhantomData,
                ))?;
                Ok(value)
            }
        })+
    };
}

pub(crate) use {keyed, object};
