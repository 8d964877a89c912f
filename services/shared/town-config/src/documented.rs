//! `docs/configuration.md`, compared with the types of the configuration: keys, types and defaults.

use crate::file::File;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor, value},
    forward_to_deserialize_any,
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

const PAGE: &str = include_str!("../../../../docs/configuration.md");

/// The tables whose keys are names: what stands for a name in the documentation, and a name to try.
const NAMED: [(&str, &str, &str); 5] = [
    ("server", "\"NAME\"", "a.test"),
    ("accounts", "\"NAME\"", "a.test"),
    ("aliases", "\"NAME\"", "a.test"),
    ("agent", "\"DOMAIN\"", "a.test"),
    ("quotas", "\"ADDRESS\"", "a@a.test"),
];

/// What a type wants at a place of the file.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Struct(&'static [&'static str]),
    Map,
    Type(String),
}

/// Walks down one path of a type, and notes what is wanted at its end. It gives no value, so it always fails.
#[derive(Clone, Copy)]
struct Probe<'p> {
    path: &'p [&'p str],
    found: &'p RefCell<Option<Shape>>,
}

type ProbeError = value::Error;

impl<'p> Probe<'p> {
    fn note(self, shape: Shape) -> ProbeError {
        self.found.borrow_mut().get_or_insert(shape);
        de::Error::custom("found")
    }

    fn leaf(self, kind: &str) -> ProbeError {
        self.note(Shape::Type(kind.to_owned()))
    }

    fn below<'de, V: Visitor<'de>>(self, visitor: V, here: Shape) -> Result<V::Value, ProbeError> {
        match self.path {
            [] => Err(self.note(here)),
            [_, ..] => visitor.visit_map(self),
        }
    }
}

impl<'de> MapAccess<'de> for Probe<'_> {
    type Error = ProbeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ProbeError> {
        let Some((first, rest)) = self.path.split_first() else { return Ok(None) };
        self.path = rest;
        seed.deserialize((*first).into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ProbeError> {
        seed.deserialize(*self)
    }
}

impl<'de> SeqAccess<'de> for Probe<'_> {
    type Error = ProbeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ProbeError> {
        let element = RefCell::new(None);
        let _ = seed.deserialize(Probe { path: &[], found: &element });
        let Some(Shape::Type(kind)) = element.into_inner() else { panic!("a list of tables") };
        Err(self.leaf(&format!("list of {kind}s")))
    }
}

macro_rules! leaves {
    ($kind:literal: $($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ProbeError> {
            Err(self.leaf($kind))
        }
    )*};
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = ProbeError;

    leaves!("number": deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f64);
    leaves!("boolean": deserialize_bool);
    // Only ports look at the value before they say what it is.
    leaves!("port": deserialize_any);

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ProbeError> {
        let _ = visitor;
        Err(self.leaf("text"))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ProbeError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ProbeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ProbeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ProbeError> {
        visitor.visit_seq(self)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ProbeError> {
        self.below(visitor, Shape::Map)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ProbeError> {
        self.below(visitor, Shape::Struct(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ProbeError> {
        let texts: Vec<_> = variants.iter().map(|variant| format!("`\"{variant}\"`")).collect();
        Err(self.leaf(&texts.join(" or ")))
    }

    forward_to_deserialize_any! { f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any }
}

fn shape(path: &[&str]) -> Shape {
    let found = RefCell::new(None);
    let probed = File::deserialize(Probe { path, found: &found });
    found.into_inner().unwrap_or_else(|| panic!("{path:?}: {:?}", probed.err()))
}

/// All keys below a path, as the documentation writes them, with their types.
fn keys(path: &[&str], written: &str, into: &mut BTreeMap<String, String>) {
    let join = |key: &str| if written.is_empty() { key.to_owned() } else { format!("{written}.{key}") };
    match shape(path) {
        Shape::Struct(fields) => fields.iter().for_each(|field| keys(&[path, &[*field]].concat(), &join(field), into)),
        Shape::Map => match NAMED.iter().find(|(table, ..)| path == [*table]) {
            Some((_, name, example)) => keys(&[path, &[*example]].concat(), &join(name), into),
            None => drop(into.insert(written.to_owned(), "table".to_owned())),
        },
        Shape::Type(kind) => {
            let kind = if is_duration(path) { kind.replace("text", "duration") } else { kind };
            into.insert(written.to_owned(), kind);
        }
    }
}

/// A file with one more key.
fn parsed(path: &[&str], value: &str) -> Result<File, toml::de::Error> {
    let key: Vec<_> = path.iter().map(|part| format!("{part:?}")).collect();
    toml::from_str(&format!("{} = {value}\n", key.join(".")))
}

/// Whether a text or a list of texts there has to be a duration.
fn is_duration(path: &[&str]) -> bool {
    let refused = |value| {
        parsed(path, value).err().is_some_and(|error| {
            let said = error.to_string();
            said.contains("is no duration") || said.contains("is no lease")
        })
    };
    refused("\"soon\"") || refused("[\"soon\"]") || refused("\"0s\"")
}

/// The cells of the rows of the table.
fn documented() -> BTreeMap<&'static str, [&'static str; 3]> {
    let (_, table) = PAGE.split_once("| key | type | default | meaning |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').splitn(4, '|').map(str::trim).collect();
        (cells[0].trim_matches('`'), [cells[1], cells[2], cells[3]])
    })
    .collect()
}

#[test]
fn every_key_is_documented_with_its_type() {
    let mut keys_and_types = BTreeMap::new();
    keys(&[], "", &mut keys_and_types);
    assert!(keys_and_types.len() > 40, "{keys_and_types:?}");
    let known: BTreeSet<_> = keys_and_types.iter().map(|(key, kind)| (key.as_str(), kind.as_str())).collect();
    let documented: BTreeSet<_> = documented().into_iter().map(|(key, [kind, ..])| (key, kind)).collect();
    let missing: Vec<_> = known.difference(&documented).collect();
    let extra: Vec<_> = documented.difference(&known).collect();
    assert!(missing.is_empty() && extra.is_empty(), "not in the table: {missing:#?}\nnot in the code: {extra:#?}");
}

/// A default that is written as a value is the value without the key. Keys without one have it in words, or none.
#[test]
fn every_documented_default_is_the_default() {
    let default: File = toml::from_str("").unwrap();
    let mut values = 0;
    for (key, [_, cell, _]) in documented() {
        let value = match cell.strip_prefix('`') {
            Some(rest) => rest.split('`').next().unwrap(),
            None if cell.starts_with(|first: char| first.is_ascii_digit()) => cell,
            None => continue,
        };
        values += 1;
        let path: Vec<_> = key.split('.').collect();
        let with_default = parsed(&path, value).unwrap_or_else(|error| panic!("{key} = {value}: {error}"));
        assert_eq!(format!("{with_default:?}"), format!("{default:?}"), "{key}");
    }
    let words = [
        "",
        "required",
        "no limit",
        "for ever",
        "as above",
        "that of the profile",
        "as `quota`",
        "those of its accounts",
        "the server's name",
        "that of the town's authority",
        "that of the profile",
        "the town's and the system's",
        "that of each reply",
        "none",
        "STARTTLS",
    ];
    let others: Vec<_> = documented().into_values().filter(|[_, cell, _]| words.contains(cell)).collect();
    assert_eq!(values + others.len(), documented().len(), "a default is a value or one of {words:?}");
}

/// Each number and duration has a default as a value, so that none is forgotten.
#[test]
fn limits_have_defaults() {
    for (key, [kind, cell, _]) in documented() {
        if !kind.contains("number") && !kind.contains("duration") {
            continue;
        }
        // It is a short form of others.
        let has_default = cell == "that of each reply"
            || cell.starts_with('`')
            || cell.starts_with(|first: char| first.is_ascii_digit());
        let is_setting = ["limits.", "relay."].iter().any(|table| key.starts_with(table));
        assert!(has_default || !is_setting, "{key} ({kind}) has no default");
    }
}
