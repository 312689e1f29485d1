//! The JSON Schema of `well.toml`, made from the types that read it.
//!
//! Editors check and complete a configuration by it. `deploy/well.schema.json` is a copy, which a test compares.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// The schema, as it is printed.
pub(crate) fn text() -> anyhow::Result<String> {
    let settings = SchemaSettings::draft2020_12();
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<super::File>();
    schema.insert("title".to_owned(), "well.toml".into());
    RecursiveTransform(without_null).transform(&mut schema);
    let mut schema = schema.to_value();
    schema.sort_all_objects();
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

/// TOML knows no null: what need not be there is not there.
fn without_null(schema: &mut Schema) {
    let is_null = |of: &Value| of == "null" || of.get("type").is_some_and(|it| it == "null");
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|it| !is_null(it));
        if let [only] = &types[..] {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(any)) = schema.get_mut("anyOf") else {
        return;
    };
    any.retain(|it| !is_null(it));
    if let [Value::Object(only)] = &mut any[..] {
        let only = std::mem::take(only);
        schema.remove("anyOf");
        for (key, value) in only {
            schema.insert(key, value);
        }
    }
}

/// What a value looks like that another crate reads.
macro_rules! looks_like {
    ($($(#[$about:meta])* $name:ident: $schema:tt)*) => {$(
        $(#[$about])*
        pub(super) enum $name {}

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

looks_like! {
    /// A size in bytes.
    Size: {
        "description": "A size: bytes, or as people write it: \"200KB\", \"1 MiB\". KB is 1000, KiB 1024 bytes.",
        "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?\\s*([kKmMgGtTpPeE][iI]?)?[bB]?$" },
        ],
    }
    /// A time.
    Time: {
        "description": "A time as people write it: \"30m\", \"7d\", \"1h 30m\".",
        "type": "string",
        "pattern": "^\\s*([0-9]+\\s*[a-zA-Zµ]+\\s*)+$",
    }
    /// A retention.
    Kept: {
        "description": "\"all\", a time like \"90d\", or a number of records.",
        "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string" },
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_copy_is_what_the_parser_is() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/well.schema.json");
        let made = text().unwrap();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == made,
            "run BLESS=1 cargo test -p well to write deploy/well.schema.json anew"
        );
    }

    /// Properties of the schema of `value`, reached through references.
    fn properties<'a>(
        root: &'a Value,
        value: &'a Value,
    ) -> Option<&'a serde_json::Map<String, Value>> {
        if let Some(reference) = value["$ref"].as_str() {
            return properties(root, root.pointer(reference.strip_prefix('#')?)?);
        }
        value["properties"].as_object()
    }

    /// Every key of the example, those in comments too, is one that the schema knows, and the other way round.
    #[test]
    fn the_example_has_every_key_and_no_other() {
        let schema: Value = serde_json::from_str(&text().unwrap()).unwrap();
        let example = include_str!("../../../deploy/well.toml");
        let mut table = String::new();
        let mut said = std::collections::BTreeSet::new();
        for line in example.lines() {
            let line = line.trim_start_matches(['#', ' ']);
            if let Some(name) = line.strip_prefix('[').and_then(|it| it.split(']').next()) {
                name.split('.').next().unwrap().clone_into(&mut table);
            } else if let Some((key, value)) = line.split_once(" = ")
                && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                && toml::from_str::<toml::Table>(&format!("it = {value}")).is_ok()
            {
                said.insert((table.clone(), key.to_owned()));
            }
        }
        let mut known = std::collections::BTreeSet::new();
        let tables = [
            "limits", "trace", "archive", "tls", "auth", "audit", "networks",
        ];
        for (key, value) in properties(&schema, &schema).unwrap() {
            let of = match key.as_str() {
                "spaces" => &value["additionalProperties"],
                table if tables.contains(&table) => value,
                _ => {
                    known.insert((String::new(), key.clone()));
                    continue;
                }
            };
            for (name, of) in properties(&schema, of).unwrap() {
                match properties(&schema, of) {
                    // A table in it, which the example has by its own name.
                    Some(keys) => {
                        known.extend(keys.keys().map(|name| (key.clone(), name.clone())));
                    }
                    None => _ = known.insert((key.clone(), name.clone())),
                }
            }
        }
        assert_eq!(said, known);
    }

    #[test]
    fn nothing_in_it_is_null() {
        assert!(!text().unwrap().contains("null"));
    }
}
