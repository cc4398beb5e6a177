//! The tables of [`crate::shape`] as JSON Schema, for editors.

use serde_json::{Map, Value, json};

use crate::{
    read::{PRODUCTION, host::HOST},
    shape::{Key, Kind, Need, Shape},
};

/// JSON Schema (2020-12) of a configuration file, with descriptions and defaults.
#[must_use]
pub fn schema() -> Value {
    document("Pitcrew configuration", &PRODUCTION)
}

/// The same of a host's configuration, for its agent.
#[must_use]
pub fn host_schema() -> Value {
    document("Pitcrew host configuration", &HOST)
}

fn document(title: &str, root: &'static Shape) -> Value {
    let mut definitions = Map::new();
    let root = shape(root, &mut definitions);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
    });
    let parts = [root, json!({ "$defs": definitions })];
    if let Value::Object(schema) = &mut schema {
        for part in parts {
            if let Value::Object(part) = part {
                schema.extend(part);
            }
        }
    }
    schema
}

fn shape(shape: &'static Shape, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for each in shape.keys {
        properties.insert(each.name.to_owned(), key(each, definitions));
    }
    let is_required = |key: &&Key| matches!(key.need, Need::Required);
    let required: Vec<_> = shape.keys.iter().filter(is_required).collect();
    let required: Vec<_> = required.iter().map(|key| key.name).collect();
    let may_be_null = shape.may_be_empty();
    let mut schema = json!({
        "description": shape.doc,
        "type": if may_be_null { json!(["object", "null"]) } else { json!("object") },
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !shape.exactly_one.is_empty() {
        let choices = shape.exactly_one.iter();
        schema["oneOf"] = choices.map(|key| json!({ "required": [key] })).collect();
    }
    schema
}

fn key(key: &'static Key, definitions: &mut Map<String, Value>) -> Value {
    let mut schema = kind(&key.kind, definitions);
    schema["description"] = json!(key.doc);
    if let Need::Default(default) = key.need {
        schema["default"] = default_of(&key.kind, default);
    }
    if matches!(key.need, Need::Optional) && matches!(key.kind, Kind::List(_) | Kind::Map(_)) {
        // `services:` with everything below it commented out.
        schema["type"] = json!([schema["type"], "null"]);
    }
    schema
}

/// A default as JSON: numbers and flags as such, durations and other texts as text.
fn default_of(kind: &Kind, default: &str) -> Value {
    let is_text = matches!(
        kind,
        Kind::Text | Kind::Secret | Kind::Syntax(_) | Kind::OneOf(_)
    );
    match serde_json::from_str(default) {
        Ok(value) if !is_text => value,
        _ => json!(default),
    }
}

fn kind(kind: &'static Kind, definitions: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Text | Kind::Secret => json!({ "type": ["string", "number", "boolean"] }),
        Kind::Syntax(syntax) => {
            let mut schema = match syntax.may_be_number {
                true => json!({ "type": ["string", "number"] }),
                false => json!({ "type": "string" }),
            };
            if let Some(pattern) = syntax.pattern {
                schema["pattern"] = json!(pattern);
            }
            schema
        }
        Kind::OneOf(words) => {
            // `version: 1.1` is a number to YAML.
            let numbers = words.iter().filter_map(|word| word.parse::<f64>().ok());
            let words = words.iter().map(|word| json!(word));
            let words: Vec<Value> = words.chain(numbers.map(|number| json!(number))).collect();
            json!({ "enum": words })
        }
        Kind::List(items) => json!({ "type": "array", "items": self::kind(items, definitions) }),
        Kind::Map(values) => {
            json!({ "type": "object", "additionalProperties": self::kind(values, definitions) })
        }
        Kind::Shape(inner) => {
            let name = inner.name.replace(['`', '\''], "").replace(' ', "-");
            if !definitions.contains_key(&name) {
                let schema = shape(inner, definitions);
                definitions.insert(name.clone(), schema);
            }
            json!({ "$ref": format!("#/$defs/{name}") })
        }
        Kind::Either(kinds) => {
            let each: Vec<_> = kinds
                .iter()
                .map(|each| self::kind(each, definitions))
                .collect();
            json!({ "anyOf": each })
        }
    }
}

#[cfg(test)]
mod tests;
