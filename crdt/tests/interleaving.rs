//! What two clients type at one place stays whole.

use crdt::text::{Client, Measure, Text, Version};

fn typed_forward(client: u64, base: &[u8], at: usize, word: &str) -> Text {
    let mut text = Text::new(Client::new(client));
    text.apply(base, None).expect("a base");
    for (place, character) in word.chars().enumerate() {
        let character = character.to_string();
        text.insert(Measure::Chars, at + place, &character)
            .expect("an edit");
    }
    text
}

fn typed_backward(client: u64, base: &[u8], at: usize, word: &str) -> Text {
    let mut text = Text::new(Client::new(client));
    text.apply(base, None).expect("a base");
    for character in word.chars().rev() {
        let character = character.to_string();
        text.insert(Measure::Chars, at, &character)
            .expect("an edit");
    }
    text
}

fn base() -> Vec<u8> {
    let mut text = Text::new(Client::new(100));
    text.insert(Measure::Chars, 0, "[]").expect("an edit");
    text.diff(&Version::new())
}

/// Merges both ways, and gives the text.
fn merged(texts: &[Text]) -> String {
    let mut ends = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        for backwards in [false, true] {
            let mut text = text.clone();
            let mut others: Vec<&Text> = texts.iter().collect();
            others.remove(at);
            if backwards {
                others.reverse();
            }
            for other in others {
                text.apply(&other.diff(&text.version()), None)
                    .expect("a good update");
            }
            text.check().expect("a sound tree");
            ends.push(text.to_string());
        }
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    ends.remove(0)
}

#[test]
fn forward_runs_do_not_interleave() {
    let (a, b) = (
        typed_forward(1, &base(), 1, "hello"),
        typed_forward(2, &base(), 1, "WORLD"),
    );
    assert_eq!(merged(&[a, b]), "[helloWORLD]");
}

#[test]
fn backward_runs_do_not_interleave() {
    let (a, b) = (
        typed_backward(1, &base(), 1, "hello"),
        typed_backward(2, &base(), 1, "WORLD"),
    );
    assert_eq!(merged(&[a, b]), "[helloWORLD]");
}

#[test]
fn a_forward_and_a_backward_run_do_not_interleave() {
    let (a, b) = (
        typed_forward(1, &base(), 1, "hello"),
        typed_backward(2, &base(), 1, "WORLD"),
    );
    assert_eq!(merged(&[a, b]), "[helloWORLD]");
    let (a, b) = (
        typed_backward(1, &base(), 1, "hello"),
        typed_forward(2, &base(), 1, "WORLD"),
    );
    assert_eq!(merged(&[a, b]), "[helloWORLD]");
}

#[test]
fn runs_at_the_start_and_at_the_end_do_not_interleave() {
    for at in [0, 2] {
        let (a, b) = (
            typed_backward(1, &base(), at, "hello"),
            typed_backward(2, &base(), at, "WORLD"),
        );
        let text = merged(&[a, b]);
        assert!(text.contains("helloWORLD"), "{text}");
        let (a, b) = (
            typed_forward(1, &base(), at, "hello"),
            typed_forward(2, &base(), at, "WORLD"),
        );
        let text = merged(&[a, b]);
        assert!(text.contains("helloWORLD"), "{text}");
    }
}

#[test]
fn runs_of_many_do_not_interleave() {
    let words = ["apple", "BANANA", "cherry", "DATES", "elder"];
    for forward in 0..32 {
        let texts: Vec<Text> = words
            .iter()
            .enumerate()
            .map(|(at, word)| {
                let client = (at as u64 * 7) % 5;
                if forward >> at & 1 == 1 {
                    typed_forward(client, &base(), 1, word)
                } else {
                    typed_backward(client, &base(), 1, word)
                }
            })
            .collect();
        let text = merged(&texts);
        for word in words {
            assert!(text.contains(word), "{text}");
        }
    }
}

#[test]
fn siblings_stand_by_client_the_smaller_left() {
    let texts: Vec<Text> = [3, 1, 2]
        .iter()
        .map(|client| typed_forward(*client, &base(), 1, &client.to_string()))
        .collect();
    assert_eq!(merged(&texts), "[123]");
}

/// A crowd at one place: long enough for the lists of siblings to be kept.
#[test]
fn crowds_converge_by_list_and_by_scan() {
    let texts: Vec<Text> = (0..150u64)
        .map(|at| typed_backward((at * 61) % 151, &base(), 1, &format!("<{at}>")))
        .collect();
    let updates: Vec<Vec<u8>> = texts
        .iter()
        .map(|text| text.diff(&base_version()))
        .collect();
    let mut ends: Vec<String> = Vec::new();
    for step in [1, 7, 149] {
        let mut text = Text::new(Client::new(1000));
        text.apply(&base(), None).expect("a base");
        for at in 0..updates.len() {
            text.apply(&updates[(at * step) % updates.len()], None)
                .expect("a good update");
        }
        text.check().expect("a sound tree");
        ends.push(text.to_string());
    }
    assert!(ends.iter().all(|end| *end == ends[0]));
    for at in 0..150 {
        assert!(ends[0].contains(&format!("<{at}>")));
    }
}

fn base_version() -> Version {
    let mut version = Version::new();
    version.set(Client::new(100), 2);
    version
}
