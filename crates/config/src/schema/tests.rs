//! The schema against the reader: `everything.yaml` uses every key that can stand beside the others, [`ALONE`] has the
//! rest, and each must mean something.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schema;
use crate::{load::parse, tree};

const EVERYTHING: &str = include_str!("../../tests/everything.yaml");

/// One shared database and its URL; a server with it has no `run`. Another way to drain.
const ALONE: [&str; 3] = [
    "services: [{ name: web, select: { service: web }, drain: { command: {
        drain: [/opt/out, '{address}', '{lease_seconds}', '{until}'], undrain: [/opt/in, '{target}'], timeout: 3s } } }]",
    "server: { advertise: 'http://10.0.0.5:7500', state: { postgres: {
        url: 'postgresql://p@db.example/p', password_file: word, ca_file: ca.pem } } }",
    "server: { state: { postgres: { url_file: secret-database.txt } } }",
];

fn documents() -> impl Iterator<Item = Value> {
    std::iter::once(EVERYTHING).chain(ALONE).map(document)
}

fn to_json(node: &tree::Node<'_>) -> Value {
    match &node.value {
        tree::Value::Null => Value::Null,
        tree::Value::Scalar { text, plain: true } => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        tree::Value::Scalar { text, .. } => json!(text),
        tree::Value::List(items) => items.iter().map(to_json).collect(),
        tree::Value::Map(entries) => {
            let pairs = entries.iter();
            let pairs = pairs.map(|entry| (entry.key.to_string(), to_json(&entry.node)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

fn document(text: &str) -> Value {
    to_json(&tree::read(0, text).root.unwrap())
}

/// Resolves a reference into the definitions.
fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    match schema["$ref"].as_str() {
        Some(path) => root.pointer(path.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => panic!("type {name}"),
    };
    match &schema["type"] {
        Value::Null => true,
        Value::String(name) => is(name),
        names => names
            .as_array()
            .unwrap()
            .iter()
            .any(|name| is(name.as_str().unwrap())),
    }
}

/// What a validator of JSON Schema would say, for the part of it that the schema uses.
fn violations(root: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let schema = resolved(root, schema);
    let no = |why: &str| vec![format!("{path}: {why}: {value}")];
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = |choice| violations(root, choice, value, path).is_empty();
        return if choices.iter().any(fits) {
            vec![]
        } else {
            no("none of anyOf")
        };
    }
    if !has_type(schema, value) {
        return no("type");
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return no("enum");
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !regex::Regex::new(pattern).unwrap().is_match(text)
    {
        return no("pattern");
    }
    if let (Some(number), Some(min), Some(max)) = (
        value.as_u64(),
        schema["minimum"].as_u64(),
        schema["maximum"].as_u64(),
    ) && !(min..=max).contains(&number)
    {
        return no("bounds");
    }
    match value {
        Value::Array(items) => items
            .iter()
            .flat_map(|item| violations(root, &schema["items"], item, &format!("{path}[]")))
            .collect(),
        Value::Object(entries) => object_violations(root, schema, entries, path),
        _ => vec![],
    }
}

fn object_violations(
    root: &Value,
    schema: &Value,
    entries: &Map<String, Value>,
    path: &str,
) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in entries {
        let path = format!("{path}.{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => found.push(format!("{path}: unknown")),
            (Value::Null, others) => found.extend(violations(root, others, value, &path)),
            (property, _) => found.extend(violations(root, property, value, &path)),
        }
    }
    let required = |schema: &Value| {
        let names = schema["required"].as_array().cloned().unwrap_or_default();
        names
            .iter()
            .all(|name| entries.contains_key(name.as_str().unwrap()))
    };
    if !required(schema) {
        found.push(format!("{path}: required"));
    }
    if let Some(choices) = schema["oneOf"].as_array()
        && choices.iter().filter(|choice| required(choice)).count() != 1
    {
        found.push(format!("{path}: oneOf"));
    }
    found
}

/// Every property of a shape in `value`: its place there, the name of the shape's key, and its default.
fn properties<'s>(
    root: &'s Value,
    schema: &'s Value,
    value: &Value,
    at: &str,
) -> Vec<(String, String, &'s Value)> {
    let name = schema["$ref"].as_str().unwrap_or("root").to_owned();
    let schema = resolved(root, schema);
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = |choice: &&Value| violations(root, choice, value, "").is_empty();
        return properties(root, choices.iter().find(fits).unwrap(), value, at);
    }
    let mut found = Vec::new();
    match value {
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                found.extend(properties(
                    root,
                    &schema["items"],
                    item,
                    &format!("{at}/{number}"),
                ));
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                let property = &schema["properties"][key];
                if property.is_null() {
                    found.extend(properties(
                        root,
                        &schema["additionalProperties"],
                        value,
                        &at,
                    ));
                } else {
                    found.push((at.clone(), format!("{name}/{key}"), property));
                    found.extend(properties(root, property, value, &at));
                }
            }
        }
        _ => {}
    }
    found
}

fn meaning(document: &Value) -> Result<String, String> {
    let env = |name: &str| Some(format!("value-of-{name}"));
    let files = [("tests/everything.yaml".to_owned(), document.to_string())];
    let loaded = parse(&files, &env).map_err(|problems| problems.to_string())?;
    let mut production = loaded.production;
    production.digest.clear();
    // Secrets are not shown, so what tells them apart is added.
    Ok(format!("{production:?} {:?}", exposed(&production)))
}

fn exposed(production: &pitcrew_model::Production) -> Vec<String> {
    use pitcrew_model::{Destination, TestKind};
    let mut secrets = Vec::new();
    let mut add = |secret: &pitcrew_model::Secret| secrets.push(secret.expose().to_owned());
    production
        .server
        .postgres
        .iter()
        .for_each(|postgres| add(&postgres.url));
    for receiver in &production.receivers {
        if let Destination::Webhook { url, headers } = &receiver.destination {
            add(url);
            headers.iter().for_each(|(_, value)| add(value));
        }
    }
    let scrapes = production.scrapes.iter();
    for (_, value) in scrapes.flat_map(|scrape| &scrape.headers) {
        add(value);
    }
    for test in production
        .services
        .iter()
        .flat_map(|service| &service.tests)
    {
        match &test.kind {
            TestKind::Postgres(test) => test.password.iter().for_each(&mut add),
            TestKind::Mysql(test) => test.password.iter().for_each(&mut add),
            TestKind::Redis(test) => test.password.iter().for_each(&mut add),
            TestKind::Amqp(test) => test.password.iter().for_each(&mut add),
            _ => {}
        }
    }
    secrets
}

fn without(document: &Value, at: &str) -> Value {
    let mut document = document.clone();
    let (parent, key) = at.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    let parent = document
        .pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap();
    parent.remove(&key).unwrap();
    document
}

#[test]
fn everything_is_valid_to_the_schema_and_to_the_reader() {
    let schema = schema();
    for document in documents() {
        let found = violations(&schema, &schema, &document, "");
        assert_eq!(found, Vec::<String>::new());
        meaning(&document).unwrap();
    }
}

#[test]
fn everything_uses_every_key_of_the_schema() {
    let schema = schema();
    let used = documents().flat_map(|document| properties(&schema, &schema, &document, ""));
    let used: BTreeSet<String> = used.map(|(_, name, _)| name).collect();
    let definitions = schema["$defs"].as_object().unwrap();
    let shapes = definitions
        .iter()
        .map(|(name, shape)| (format!("#/$defs/{name}"), shape));
    let mut all = BTreeSet::new();
    for (name, shape) in shapes.chain([("root".to_owned(), &schema)]) {
        let keys = shape["properties"].as_object().unwrap().keys();
        all.extend(keys.map(|key| format!("{name}/{key}")));
    }
    let unused: Vec<_> = all.difference(&used).collect();
    assert!(unused.is_empty(), "{unused:#?}");
}

#[test]
fn every_key_means_something_and_without_it_the_default_holds() {
    let schema = schema();
    documents().for_each(|document| every_key_of(&schema, &document));
}

fn every_key_of(schema: &Value, document: &Value) {
    let whole = meaning(document).unwrap();
    for (at, name, property) in properties(schema, schema, document, "") {
        let default = &property["default"];
        let without = meaning(&without(document, &at));
        assert_ne!(without.as_ref(), Ok(&whole), "{name} at {at} means nothing");
        if !default.is_null() {
            let mut with_default = document.clone();
            *with_default.pointer_mut(&at).unwrap() = default.clone();
            assert_eq!(
                meaning(&with_default),
                without,
                "default {default} of {name}"
            );
        }
    }
}

#[test]
fn what_the_schema_refuses_the_reader_refuses() {
    let schema = schema();
    documents().for_each(|document| no_wrong_value_of(&schema, &document));
}

fn no_wrong_value_of(schema: &Value, document: &Value) {
    let wrong = [
        json!(null),
        json!("?"),
        json!([[]]),
        json!({ "?": 1 }),
        json!(-1),
        json!(""),
    ];
    for (at, name, property) in properties(schema, schema, document, "") {
        for wrong in &wrong {
            if violations(schema, property, wrong, "").is_empty() {
                continue;
            }
            let mut changed = document.clone();
            *changed.pointer_mut(&at).unwrap() = wrong.clone();
            assert!(meaning(&changed).is_err(), "{wrong} for {name} at {at}");
        }
    }
}

#[test]
fn every_example_is_valid_to_the_schema() {
    let schema = schema();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    let mut count = 0;
    for example in std::fs::read_dir(examples).unwrap() {
        let file = example.unwrap().path().join("pitcrew.yaml");
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let found = violations(&schema, &schema, &document(&text), "");
        assert_eq!(found, Vec::<String>::new(), "{}", file.display());
        count += 1;
    }
    assert!(count >= 3, "{count} examples");
}
