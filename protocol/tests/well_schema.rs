//! The generated code is that of the schema, and no field of the schema ever changes its number.

use std::path::Path;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
const GENERATED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dialect/well/wire.rs");
const FIELDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/well/v1/fields.txt");

/// `BLESS=1` writes what is checked otherwise.
fn check(path: &str, now: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, now).expect("the tree can be written");
        return;
    }
    let there = std::fs::read_to_string(path).expect("it was generated once");
    assert!(
        there == now,
        "{path} is not that of the schema; BLESS=1 cargo test -p protocol --test well_schema writes it"
    );
}

#[test]
fn the_generated_code_is_current() {
    let schema = protox::compile(["well/v1/well.proto"], [SCHEMA]).unwrap();
    let out = tempfile::tempdir().unwrap();
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(out.path())
        .compile_fds(schema)
        .unwrap();
    let code = std::fs::read_to_string(out.path().join("well.v1.rs")).unwrap();
    check(GENERATED, &code);
}

/// One line for each field and enum value: clients of every age read these numbers.
#[test]
fn every_field_keeps_its_number() {
    let schema = protox::compile(["well/v1/well.proto"], [SCHEMA]).unwrap();
    let mut lines = String::new();
    for file in &schema.file {
        for message in &file.message_type {
            for field in &message.field {
                let names = [message.name(), field.name()].join(".");
                let kind = format!(
                    "{:?} {:?} {}",
                    field.label(),
                    field.r#type(),
                    field.type_name()
                );
                lines += &format!("{names} = {} {}\n", field.number(), kind.trim());
            }
        }
        for values in &file.enum_type {
            for value in &values.value {
                lines += &format!("{}.{} = {}\n", values.name(), value.name(), value.number());
            }
        }
    }
    assert!(Path::new(SCHEMA).exists() && lines.lines().count() > 80);
    check(FIELDS, &lines);
}
