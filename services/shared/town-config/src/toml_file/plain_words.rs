//! serde's words for types, in plain English.

/// The same message without names of Rust's types. Of a value of another type only the type is told: it may be a password.
pub(super) fn plain(message: &str) -> String {
    let rewritten = |kind: &str, found: fn(&str) -> Option<&str>| {
        let (value, expected) = message.strip_prefix(kind)?.rsplit_once(", expected ")?;
        Some(format!("give {}, not {}", wanted(expected), found(value)?))
    };
    rewritten("invalid type: ", type_of)
        .or_else(|| rewritten("invalid value: ", number_of))
        .or_else(|| message.starts_with("missing field").then(|| format!("{message}; add it")))
        .unwrap_or_else(|| message.replace(char::is_control, " "))
}

fn wanted(expected: &str) -> &str {
    match expected {
        "a string" | "string" => "text in quotes",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "a map" => "a table",
        "u64" | "usize" => "a whole number from 0 on",
        "u32" => "a whole number from 0 to 4294967295",
        structure if structure.starts_with("struct ") => "a table",
        other => other,
    }
}

/// What serde found, as `integer `5`` or `map`.
fn type_of(found: &str) -> Option<&str> {
    let words = [
        ("string", "text in quotes"),
        ("integer", "a whole number"),
        ("floating point", "a number with a point"),
        ("boolean", "true or false"),
        ("sequence", "a list"),
        ("map", "a table"),
    ];
    words.into_iter().find_map(|(serde, plain)| found.starts_with(serde).then_some(plain))
}

fn number_of(found: &str) -> Option<&str> {
    found.strip_prefix("integer `")?.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_people_do() {
        let table = [
            ("invalid type: integer `1234`, expected a string", "give text in quotes, not a whole number"),
            ("invalid type: string \"a, expected b\", expected a sequence", "give a list, not text in quotes"),
            ("invalid type: sequence, expected struct Limits", "give a table, not a list"),
            (
                "invalid type: floating point `1.5`, expected usize",
                "give a whole number from 0 on, not a number with a point",
            ),
            ("invalid type: map, expected a boolean", "give true or false, not a table"),
            ("invalid value: integer `-1`, expected u64", "give a whole number from 0 on, not -1"),
            (
                "invalid value: integer `5000000000`, expected u32",
                "give a whole number from 0 to 4294967295, not 5000000000",
            ),
            ("unknown variant `x`, expected `a` or `b`", "unknown variant `x`, expected `a` or `b`"),
            ("missing field `pop`", "missing field `pop`; add it"),
            ("two\nlines", "two lines"),
        ];
        for (message, expected) in table {
            assert_eq!(plain(message), expected, "{message}");
        }
    }
}
