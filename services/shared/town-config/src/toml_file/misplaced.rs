//! Keys that stand below the header of a table, and belong to no table. TOML takes them for keys of that table.

use super::line_of;
use serde::{
    Deserializer,
    de::{DeserializeOwned, Error, Visitor, value},
    forward_to_deserialize_any,
};
use std::cell::Cell;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// What to do about a key that is wrong at this path, if it is right at the top of the file. `what` is wrong with it.
pub(super) fn cure<T: DeserializeOwned>(
    document: &DeTable<'_>,
    text: &str,
    path: &[String],
    what: &str,
) -> Option<String> {
    let (key, tables @ [first, ..]) = path.split_last()? else { return None };
    // Servers have keys of the same names.
    let is_unknown = what.starts_with("unknown field") || first != "server";
    if !is_unknown || !keys_of::<T>().contains(&key.as_str()) {
        return None;
    }
    match value(document, path)? {
        DeValue::Table(_) => Some(format!("{key} is no part of {}; give it a header of its own, [{key}]", tables[0])),
        _ => {
            let line = first_header(document, text)?;
            Some(format!("{key} belongs to no table; move it above the first one, which begins in line {line}"))
        }
    }
}

fn value<'d>(table: &'d DeTable<'_>, path: &[String]) -> Option<&'d DeValue<'d>> {
    let (first, rest) = path.split_first()?;
    match table.get(first.as_str()).map(Spanned::get_ref)? {
        DeValue::Table(table) if !rest.is_empty() => value(table, rest),
        found => rest.is_empty().then_some(found),
    }
}

/// The line of the first header of a table.
fn first_header(document: &DeTable<'_>, text: &str) -> Option<usize> {
    let tables = document.iter().filter(|(_, value)| matches!(value.get_ref(), DeValue::Table(_)));
    let lines = tables.map(|(key, _)| line_of(text.as_bytes(), key.span().start));
    lines.filter(|line| text.lines().nth(line - 1).is_some_and(|line| line.trim_start().starts_with('['))).min()
}

/// The keys that stand at the top of a file of this type.
fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let keys = Cell::new(&[][..]);
    let _ = T::deserialize(Keys(&keys));
    keys.get()
}

/// Learns which fields a struct has. It gives no value.
struct Keys<'k>(&'k Cell<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Keys<'_> {
    type Error = value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        self.0.set(fields);
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(Error::custom("no value"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;
    use std::path::Path;

    #[test]
    fn a_key_below_the_header_of_a_table_is_told_where_it_belongs() {
        let above =
            |key: &str| format!("{key} belongs to no table; move it above the first one, which begins in line 3");
        for (end, expected) in [
            ("profile = \"rfc\"\n", format!("6: server.a.profile: {}", above("profile"))),
            ("[limits]\nzone_grace = \"1m\"\n", format!("7: limits.zone_grace: {}", above("zone_grace"))),
            ("[accounts.a]\naccept = \"any\"\n", format!("7: accounts.a.accept: {}", above("accept"))),
            ("[agent.x]\nsmtp = \"s\"\npop = \"p\"\nauth = \"any\"\n", format!("9: agent.x.auth: {}", above("auth"))),
            ("[catch_all]\nrequire_auth = true\n", format!("7: catch_all.require_auth: {}", above("require_auth"))),
            (
                "[server.a.limits]\nrecipients = 200\n",
                "6: server.a.limits: limits is no part of server; give it a header of its own, [limits]".to_owned(),
            ),
            // These are wrong for other reasons.
            ("require_auth = 1\n", "6: server.a.require_auth: give true or false, not a whole number".to_owned()),
            ("[relay]\nno = 1\n", "7: relay.no: unknown field `no`, expected one of".to_owned()),
        ] {
            let text = format!("# A town.\nproxy_networks = []\n[server.a]\nsmtp = 1\npop = 2\n{end}");
            let faults = Config::check(&text, Path::new("config.toml")).unwrap_err();
            let found = faults[0].to_string();
            assert!(found.starts_with(&format!("config.toml:{expected}")), "{found}\nexpected: {expected}");
            assert_eq!(faults.len(), 1, "{faults:?}");
        }
    }
}
