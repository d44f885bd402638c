//! Parameters of any nested type, as dotted names and text.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::ser::{
    self, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use crate::error::{Error, Result};

/// Flattens `value` into names and text: `{optimizer: {lr: 0.1, betas: [0.9, 0.99]}}` becomes
/// `optimizer.lr`, `optimizer.betas.0` and `optimizer.betas.1`.
///
/// Numbers have the shortest form that reads back as the same number of their own width, so an
/// `f32` of 0.1 is `0.1`. `None` and `()` are `null`; an empty list is `[]`, an empty map `{}`; an
/// enum is its variant's name, with what it holds below that name.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `value` has no names (a number, a list), if
/// two values get the same name, or if its own `Serialize` fails.
pub(crate) fn flatten<T: Serialize + ?Sized>(value: &T) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    value
        .serialize(Flatten {
            name: String::new(),
            into: &mut found,
        })
        .map_err(|err| Error::invalid(format!("the parameters cannot be recorded: {}", err.0)))?;
    Ok(found)
}

/// Writes one value, and what is in it, under one name.
struct Flatten<'a> {
    name: String,
    into: &'a mut BTreeMap<String, String>,
}

impl Flatten<'_> {
    fn text(self, text: impl Into<String>) -> Result<(), Failed> {
        if self.name.is_empty() {
            return Err(Failed(
                "give a struct or a map, so that each has a name".to_owned(),
            ));
        }
        match self.into.insert(self.name.clone(), text.into()) {
            None => Ok(()),
            Some(_) => Err(Failed(format!("two of them are named {:?}", self.name))),
        }
    }
}

impl<'a> Flatten<'a> {
    fn below(self, key: &str) -> Self {
        Self {
            name: join(&self.name, key),
            into: self.into,
        }
    }

    /// What is in the value; `empty` stands for it if nothing is.
    fn parts(self, empty: &'static str) -> Parts<'a> {
        Parts {
            name: self.name,
            into: self.into,
            n_parts: 0,
            key: None,
            empty,
        }
    }
}

fn join(name: &str, key: &str) -> String {
    match name {
        "" => key.to_owned(),
        name => format!("{name}.{key}"),
    }
}

/// Writes the elements or fields of a value.
struct Parts<'a> {
    name: String,
    into: &'a mut BTreeMap<String, String>,
    n_parts: usize,
    key: Option<String>,
    empty: &'static str,
}

impl Parts<'_> {
    fn part<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Failed> {
        self.n_parts += 1;
        value.serialize(Flatten {
            name: join(&self.name, key),
            into: self.into,
        })
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        if self.name.is_empty() {
            return Err(Failed(
                "give a struct or a map, so that each has a name".to_owned(),
            ));
        }
        let index = self.n_parts.to_string();
        self.part(&index, value)
    }

    fn finish(self) -> Result<(), Failed> {
        // No parameters at all are fine; an empty value of a name is worth knowing.
        match self.n_parts == 0 && !self.name.is_empty() {
            true => Flatten {
                name: self.name,
                into: self.into,
            }
            .text(self.empty),
            false => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Failed(String);

impl Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl ser::Error for Failed {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Methods that write a number or a character by formatting it.
macro_rules! plain {
    ($($method:ident: $type:ty => $format:literal),* $(,)?) => {
        $(fn $method(self, value: $type) -> Result<(), Failed> {
            self.text(format!($format, value))
        })*
    };
}

impl<'a> Serializer for Flatten<'a> {
    type Ok = ();
    type Error = Failed;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    plain! {
        serialize_bool: bool => "{}", serialize_char: char => "{}", serialize_str: &str => "{}",
        serialize_i8: i8 => "{}", serialize_i16: i16 => "{}", serialize_i32: i32 => "{}", serialize_i64: i64 => "{}",
        serialize_u8: u8 => "{}", serialize_u16: u16 => "{}", serialize_u32: u32 => "{}", serialize_u64: u64 => "{}",
        serialize_i128: i128 => "{}", serialize_u128: u128 => "{}",
        serialize_f32: f32 => "{:?}", serialize_f64: f64 => "{:?}",
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Failed> {
        self.text(
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>(),
        )
    }

    fn serialize_none(self) -> Result<(), Failed> {
        self.text("null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failed> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Failed> {
        self.text("null")
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Failed> {
        self.text(name)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Failed> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        value.serialize(self.below(variant))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Failed> {
        Ok(self.parts("[]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Failed> {
        Ok(self.parts("[]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Failed> {
        Ok(self.parts("[]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Failed> {
        Ok(self.below(variant).parts("[]"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Failed> {
        Ok(self.parts("{}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Failed> {
        Ok(self.parts("{}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Failed> {
        Ok(self.below(variant).parts("{}"))
    }
}

/// The ways of serde to hand over elements by position.
macro_rules! elements {
    ($($trait:ident::$method:ident),* $(,)?) => {
        $(impl $trait for Parts<'_> {
            type Ok = ();
            type Error = Failed;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
                self.element(value)
            }

            fn end(self) -> Result<(), Failed> {
                self.finish()
            }
        })*
    };
}

elements! {
    SerializeSeq::serialize_element, SerializeTuple::serialize_element, SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

/// The ways of serde to hand over fields by name.
macro_rules! fields {
    ($($trait:ident),* $(,)?) => {
        $(impl $trait for Parts<'_> {
            type Ok = ();
            type Error = Failed;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Failed> {
                self.part(key, value)
            }

            fn end(self) -> Result<(), Failed> {
                self.finish()
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Failed;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failed> {
        self.key = Some(key_text(key)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        let key = self.key.take().unwrap_or_default();
        self.part(&key, value)
    }

    fn end(self) -> Result<(), Failed> {
        self.finish()
    }
}

/// The key of a map as text: whatever has one text of its own.
fn key_text<T: Serialize + ?Sized>(key: &T) -> Result<String, Failed> {
    let mut found = BTreeMap::new();
    key.serialize(Flatten {
        name: "key".to_owned(),
        into: &mut found,
    })?;
    let text = found.remove("key").filter(|_| found.is_empty());
    text.ok_or_else(|| Failed("the keys of a map must be text or numbers".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: Serialize>(value: &T, expected: &str) {
        let found = match flatten(value) {
            Ok(found) => found
                .iter()
                .map(|(name, text)| format!("{name}={text}"))
                .collect::<Vec<_>>()
                .join(" "),
            Err(err) => err.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[derive(serde::Serialize)]
    enum Optimizer {
        Sgd,
        Adam { lr: f32, betas: (f64, f64) },
        Scheduled(u8),
        Mixed(u8, bool),
    }

    #[derive(serde::Serialize)]
    struct Config {
        name: &'static str,
        optimizer: Optimizer,
        layers: Vec<u32>,
        limit: Option<u64>,
    }

    #[test]
    fn nested_values_get_dotted_names() {
        let optimizer = Optimizer::Adam {
            lr: 0.1,
            betas: (0.9, 1e-9),
        };
        check(
            &Config {
                name: "big one",
                optimizer,
                layers: vec![64, 32],
                limit: None,
            },
            "layers.0=64 layers.1=32 limit=null name=big one \
             optimizer.Adam.betas.0=0.9 optimizer.Adam.betas.1=1e-9 optimizer.Adam.lr=0.1",
        );
        check(
            &Config {
                name: "",
                optimizer: Optimizer::Sgd,
                layers: vec![],
                limit: Some(u64::MAX),
            },
            "layers=[] limit=18446744073709551615 name= optimizer=Sgd",
        );
        check(
            &BTreeMap::from([("o", Optimizer::Scheduled(3))]),
            "o.Scheduled=3",
        );
        check(
            &BTreeMap::from([("o", Optimizer::Mixed(3, true))]),
            "o.Mixed.0=3 o.Mixed.1=true",
        );
    }

    #[test]
    fn numbers_keep_their_own_width_and_json_values_work() {
        check(
            &BTreeMap::from([("a", 1.0_f32), ("b", f32::NAN)]),
            "a=1.0 b=NaN",
        );
        check(
            &BTreeMap::from([(7, i128::MIN)]),
            "7=-170141183460469231731687303715884105728",
        );
        check(
            &serde_json::json!({"a": {"b": [true, {"c": null}]}, "d": {}}),
            "a.b.0=true a.b.1.c=null d={}",
        );
        check(&BTreeMap::<String, u8>::new(), "");
    }

    #[test]
    fn what_has_no_name_or_the_same_name_is_refused() {
        check(
            &3,
            "the parameters cannot be recorded: give a struct or a map, so that each has a name",
        );
        check(
            &[1, 2],
            "the parameters cannot be recorded: give a struct or a map, so that each has a name",
        );
        check(
            &serde_json::json!({"a.b": 1, "a": {"b": 2}}),
            "the parameters cannot be recorded: two of them are named \"a.b\"",
        );
        check(
            &BTreeMap::from([((1, 2), 3)]),
            "the parameters cannot be recorded: the keys of a map must be text or numbers",
        );
    }
}
