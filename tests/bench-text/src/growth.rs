//! How time and memory grow: `bench-text --growth [characters]`, ours alone.
//!
//! Each shape is run at 10 k, 100 k, 1 M and so on up to the given size (1 M unless said otherwise).

use std::time::Instant;

use crdt::text::{Client, Measure, Text, Version};

use crate::memory;

/// A way to make a text of so many characters; gives it and how many edits that took.
type Shape = fn(usize) -> (Text, usize);

const SHAPES: &[(&str, Shape)] = &[
    ("typed at the end", end),
    ("all at index 0", start),
    ("alternate ends", ends),
    ("random places", random),
    ("two places in turn", two_places),
    ("deleted and retyped 1,000 times", retyped),
    ("wide, random places", wide),
    ("crowd at one place, ids ascending", ascending),
    ("crowd at one place, ids descending", descending),
    ("two typing backward at one place", backward),
    ("crowd before what another typed", before),
    ("crowd after what another typed", after),
    ("crowd after each character of it", within),
    ("backward inside what another typed", inside),
];

/// The most clients in a crowd; each is a text of its own for a moment.
const MAX_CROWD: usize = 100_000;

/// Runs all shapes.
pub fn run(most: usize) {
    for (name, shape) in SHAPES {
        let mut size = 10_000;
        while size <= most && !(name.starts_with("crowd") && size > MAX_CROWD) {
            let start = Instant::now();
            let ((text, edits), peak) = memory::peak(|| shape(size));
            let time = start.elapsed();
            println!(
                "{name:<36} {size:>9} characters {:>8.1} ns an edit {:>7.1} bytes a character at the peak",
                time.as_nanos() as f64 / edits as f64,
                peak as f64 / size as f64,
            );
            drop(text);
            size *= 10;
        }
    }
}

fn new() -> Text {
    Text::new(Client::new(1))
}

fn insert(text: &mut Text, at: usize, new: &str) {
    text.insert(Measure::Chars, at, new)
        .expect("within the text");
}

fn end(size: usize) -> (Text, usize) {
    let mut text = new();
    for at in 0..size {
        insert(&mut text, at, "x");
    }
    (text, size)
}

fn start(size: usize) -> (Text, usize) {
    let mut text = new();
    for _ in 0..size {
        insert(&mut text, 0, "x");
    }
    (text, size)
}

fn ends(size: usize) -> (Text, usize) {
    let mut text = new();
    for at in 0..size {
        insert(&mut text, if at % 2 == 0 { 0 } else { at }, "x");
    }
    (text, size)
}

fn scattered(text: &mut Text, size: usize, new: &str) {
    let mut state = 1u64;
    for at in 0..size {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        insert(text, (state >> 33) as usize % (at + 1), new);
    }
}

fn random(size: usize) -> (Text, usize) {
    let mut text = new();
    scattered(&mut text, size, "x");
    (text, size)
}

fn wide(size: usize) -> (Text, usize) {
    let mut text = new();
    scattered(&mut text, size, "é");
    (text, size)
}

fn two_places(size: usize) -> (Text, usize) {
    let mut text = new();
    insert(&mut text, 0, "[]");
    for at in 0..size {
        // Each on its own chain: after the half before the bracket, and at the end.
        let place = if at % 2 == 0 { 1 + at / 2 } else { at + 2 };
        insert(&mut text, place, "x");
    }
    (text, size)
}

fn retyped(size: usize) -> (Text, usize) {
    let mut text = new();
    let each = size / 1000;
    for _ in 0..1000 {
        for at in 0..each {
            insert(&mut text, at, "x");
        }
        text.delete(Measure::Chars, 0, each)
            .expect("within the text");
    }
    (text, size + 1000)
}

fn crowd(size: usize, id: impl Fn(usize) -> u64) -> (Text, usize) {
    let mut text = new();
    insert(&mut text, 0, "[]");
    let base = text.diff(&Version::new());
    // The updates of one character each, of clients that saw nothing of each other.
    for at in 0..size {
        let mut client = Text::new(Client::new(10 + id(at)));
        client.apply(&base, None).expect("a good update");
        let update = client
            .insert(Measure::Chars, 1, "x")
            .expect("within the text");
        text.apply(&client.encode(&update), None)
            .expect("a good update");
    }
    (text, size)
}

fn ascending(size: usize) -> (Text, usize) {
    crowd(size, |at| at as u64)
}

fn descending(size: usize) -> (Text, usize) {
    crowd(size, |at| (1 << 40) - at as u64)
}

fn backward(size: usize) -> (Text, usize) {
    let mut text = new();
    insert(&mut text, 0, "[]");
    let base = text.diff(&Version::new());
    let mut clients = [2, 3].map(|client| Text::new(Client::new(client)));
    for client in &mut clients {
        client.apply(&base, None).expect("a good update");
    }
    for at in 0..size {
        let client = &mut clients[at % 2];
        let update = client
            .insert(Measure::Chars, 1, "x")
            .expect("within the text");
        text.apply(&client.encode(&update), None)
            .expect("a good update");
    }
    (text, size)
}

/// What a client typed at index 0, key by key, and half as many newcomers again who had not seen it, each
/// with a greater name than the one before and a smaller one than that client's.
fn before(size: usize) -> (Text, usize) {
    let mut text = Text::new(Client::new(1 << 40));
    for _ in 0..size / 2 {
        insert(&mut text, 0, "x");
    }
    newcomers(text, size / 2, |at| at as u64)
}

/// The mirror of that: a text in pieces, and newcomers with greater names than its client's, each with a
/// smaller one than the one before.
fn after(size: usize) -> (Text, usize) {
    let mut text = Text::new(Client::new(1));
    scattered(&mut text, size / 2, "x");
    newcomers(text, size / 2, |at| (1 << 40) - at as u64)
}

fn newcomers(mut text: Text, count: usize, id: impl Fn(usize) -> u64) -> (Text, usize) {
    for at in 0..count {
        let mut client = Text::new(Client::new(10 + id(at)));
        insert(&mut client, 0, "y");
        text.apply(&client.diff(&Version::new()), None)
            .expect("a good update");
    }
    (text, 2 * count)
}

/// A text with holes, and after each of its characters an insertion that was made when it was the last.
fn within(size: usize) -> (Text, usize) {
    let mut text = Text::new(Client::new(1));
    let mut other = Text::new(Client::new(2));
    let mut late = Vec::new();
    for at in 0..size / 2 {
        let typed = text
            .insert(Measure::Chars, at, "x")
            .expect("within the text");
        other
            .apply(&text.encode(&typed), None)
            .expect("a good update");
        let update = other
            .insert(Measure::Chars, at + 1, "y")
            .expect("within the text");
        late.push(other.encode(&update));
    }
    for at in 0..size / 4 {
        text.delete(Measure::Chars, at, 1).expect("it is there");
    }
    for update in late {
        text.apply(&update, None).expect("a good update");
    }
    (text, size + size / 4)
}

/// A client fills the space between two characters while another types between them backward.
fn inside(size: usize) -> (Text, usize) {
    let mut text = new();
    insert(&mut text, 0, "[]");
    let base = text.diff(&Version::new());
    let mut away = Text::new(Client::new(1 << 40));
    away.apply(&base, None).expect("a good update");
    for at in 0..size / 2 {
        insert(&mut text, 1 + at / 2, "x");
    }
    for _ in 0..size / 2 {
        let update = away
            .insert(Measure::Chars, 1, "y")
            .expect("within the text");
        text.apply(&away.encode(&update), None)
            .expect("a good update");
    }
    (text, size)
}
