//! The well dialect's messages as bytes, and what they say: `tests/vectors/well.json`, which the
//! TypeScript client reads too.

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use protocol::dialect::well::wire::{ClientMessage, ServerMessage};
use serde::Deserialize;

const VECTORS: &str = include_str!("../../tests/vectors/well.json");
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");

#[derive(Deserialize)]
struct Vectors {
    client: Vec<Vector>,
    server: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    /// Proto3 JSON.
    message: serde_json::Value,
    /// Hexadecimal.
    bytes: String,
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("a vector"))
        .collect()
}

/// What the JSON says is what the bytes say, in the schema and in the code that is made of it.
fn check<M: prost::Message + Default>(vectors: Vec<Vector>, message: &str) {
    let schema = protox::compile(["well/v1/well.proto"], [SCHEMA]).expect("a vector");
    let pool = DescriptorPool::from_file_descriptor_set(schema).expect("a vector");
    let kind = pool.get_message_by_name(message).expect("a vector");
    assert!(vectors.len() >= kind.fields().len());
    for vector in vectors {
        let wanted = bytes(&vector.bytes);
        let said = DynamicMessage::deserialize(kind.clone(), vector.message).expect("a vector");
        assert_eq!(said.encode_to_vec(), wanted, "{}", vector.name);
        let read = M::decode(&wanted[..]).expect("a vector");
        assert_eq!(read.encode_to_vec(), wanted, "{}", vector.name);
    }
}

#[test]
fn bytes_say_what_the_vectors_say() {
    let vectors: Vectors = serde_json::from_str(VECTORS).expect("a vector");
    check::<ClientMessage>(vectors.client, "well.v1.ClientMessage");
    check::<ServerMessage>(vectors.server, "well.v1.ServerMessage");
}
