//! Finds the SQL statements of a backend in its source, so that a test can prepare each of them.

use std::{fs, path::Path};

/// How a statement begins.
const VERBS: [&str; 5] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "];

/// Every statement in the product code of this directory of `src/store`, with the name of its file.
pub(crate) fn statements(directory: &str) -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store").join(directory);
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs"));
    files.sort();
    let mut found = Vec::new();
    for path in files {
        let source = fs::read_to_string(&path).unwrap();
        let product = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let literals = literals(product).into_iter();
        let statements = literals.filter(|literal| VERBS.iter().any(|verb| literal.trim_start().starts_with(verb)));
        found.extend(statements.map(|statement| (name.to_owned(), statement)));
    }
    found
}

/// The string literals of a Rust source.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let (before, from) = rest.split_at(at);
        rest = if from.starts_with("//") {
            from.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(text) = from.strip_prefix('"') {
            assert!(!before.ends_with(['r', '#']), "raw literals are not read: {text:.40}");
            let (literal, after) = literal(text);
            found.push(literal);
            after
        } else if from.starts_with('\'') {
            after_character(from)
        } else {
            &from[1..]
        };
    }
    found
}

/// The text up to the closing quote, and what follows it.
fn literal(text: &str) -> (String, &str) {
    let (mut literal, mut characters) = (String::new(), text.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (literal, &text[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => literal.push('\n'),
                Some((_, escaped)) => literal.push(escaped),
                None => break,
            },
            other => literal.push(other),
        }
    }
    panic!("a literal does not end: {text:.40}")
}

/// What follows a character literal, or the quote of a lifetime.
fn after_character(from: &str) -> &str {
    let mut characters = from.char_indices().skip(1);
    match (characters.next(), characters.next(), characters.next()) {
        (Some((_, '\\')), _, Some((at, '\''))) | (_, Some((at, '\'')), _) => &from[at + 1..],
        _ => &from[1..],
    }
}

#[test]
fn literals_are_found_and_nothing_else() {
    let source = r#"
        // "not this"
        fn of<'a>(x: &'a str) -> char { let q = '"'; let e = '\''; f("one \"two\"", 'x'); 1 / 2; g("three
        four") }
    "#;
    assert_eq!(literals(source), ["one \"two\"", "three\n        four"]);
}
