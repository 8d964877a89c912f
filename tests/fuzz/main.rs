//! Fuzz targets: each states what holds for whatever octets a parser is given.
//!
//! A run of a target begins with its corpus: the files in `__fuzz__/<target>/corpus`. Random inputs follow. A failure
//! prints a smaller input, and the `BOLERO_RANDOM_SEED` that repeats it. Add that input to the corpus.
//!
//! `cargo test` runs a fixed number of random inputs. This runs a minute of them for each target:
//! `BOLERO_RANDOM_ITERATIONS=1000000000 BOLERO_RANDOM_TEST_TIME_MS=60000 cargo test --test fuzz`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod files;
mod pieces;
mod pop3_session;
mod sasl;
mod smtp;
mod smtp_session;

use std::{fs, panic::RefUnwindSafe, path::Path};

/// How many random inputs follow the corpus, unless `BOLERO_RANDOM_ITERATIONS` says otherwise.
const RANDOM_INPUTS: usize = 500;
/// The longest random input in octets, before its words are spelled.
const INPUT_OCTETS: usize = 64;

/// Runs `target` with its corpus, then with random inputs that are rich in the words of its `vocabulary`.
fn fuzz(target: &'static str, vocabulary: &'static [&'static [u8]], check: impl Fn(&[u8]) + RefUnwindSafe) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/__fuzz__").join(target).join("corpus");
    assert!(fs::read_dir(&corpus).unwrap().next().is_some(), "{} is empty", corpus.display());
    bolero::check!(name = target)
        .with_iterations(RANDOM_INPUTS)
        .with_max_len(INPUT_OCTETS)
        .for_each(|input| check(&spell(input, vocabulary)));
}

/// Random octets are hardly ever a command. So an ASCII character stands for itself, and any other octet for a word.
fn spell(input: &[u8], vocabulary: &[&[u8]]) -> Vec<u8> {
    let word = |octet: u8| vocabulary[usize::from(octet) % vocabulary.len()];
    input
        .iter()
        .flat_map(|octet| if octet.is_ascii() { std::slice::from_ref(octet) } else { word(*octet) })
        .copied()
        .collect()
}

/// The ways to cut `input` into pieces: whole, in pieces of equal length, and in pieces of changing length.
fn cuts(input: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let equal = [usize::MAX, 1, 2, 3, 7].into_iter().map(move |octets| input.chunks(octets).collect());
    let changing = [5_usize, 11].into_iter().map(move |factor| {
        let mut rest = input;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let octets = 1 + pieces.len() * factor % 13;
            let (piece, after) = rest.split_at(octets.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces
    });
    equal.chain(changing)
}

/// Whether `text` fits on one line of a terminal.
fn is_one_line(text: &str) -> bool {
    !text.contains(char::is_control)
}
