//! The OpenAPI 3.1 document, made from the table of routes.

use axum::{Json, http::Method};
use serde_json::{Map, Value, json};

use super::{
    routes::{self, Errors, Gives, Parameter, ParameterKind, Route, Takes},
    schemas,
};

pub(crate) async fn document_json() -> Json<Value> {
    Json(document())
}

pub(crate) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes::all() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(&route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pitcrew",
            "version": crate::VERSION,
            "description": "Finds, tests and repairs production, inside limits. Times are milliseconds since 1970-01-01T00:00:00Z, durations are text as in `1h30m`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, {}],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "Needed when the server has a token file." },
            },
            "responses": {
                "Problem": {
                    "description": "What is wrong and what to do, as RFC 9457 problem details.",
                    "content": { "application/problem+json": { "schema": schemas::reference("Problem") } },
                },
                "PrometheusError": {
                    "description": "What is wrong, as Prometheus says it. Who may not ask at all is told so as a Problem.",
                    "content": { "application/json": { "schema": schemas::reference("PrometheusError") } },
                },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = route.query.iter().map(parameter).collect();
    for name in ["id", "name"] {
        if route.path.contains(&format!("{{{name}}}")) {
            parameters.insert(
                0,
                json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
            );
        }
    }
    if route.method != Method::GET && route.gives_accepted() {
        parameters.push(json!({
            "name": "X-Pitcrew-User", "in": "header", "description": "Who asks, for the record; `api` when absent.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
        }));
    }
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.says,
        "responses": responses(route),
    });
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(takes) = route.takes {
        let content = match takes {
            Takes::Json(schema) => {
                json!({ "application/json": { "schema": schemas::reference(schema) } })
            }
            Takes::Other(media_type) => json!({ media_type: {} }),
        };
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        ParameterKind::Text => json!({ "type": "string" }),
        ParameterKind::Number => json!({ "type": "integer", "minimum": 0 }),
        ParameterKind::OneOf(values) => json!({ "type": "string", "enum": values }),
    };
    json!({ "name": parameter.name, "in": "query", "description": parameter.says, "schema": schema })
}

fn responses(route: &Route) -> Value {
    let content = match route.gives {
        Gives::Json(schema) => {
            json!({ "application/json": { "schema": schemas::reference(schema) } })
        }
        Gives::Other(media_type) => json!({ media_type: {} }),
    };
    let mut responses = json!({ "200": { "description": route.says, "content": content } });
    match route.errors {
        Errors::Problem => {}
        Errors::Prometheus => {
            responses["default"] = json!({ "$ref": "#/components/responses/PrometheusError" });
            return responses;
        }
        Errors::Text => {
            let content = json!({ "text/plain": {} });
            responses["default"] = json!({ "description": "What is wrong.", "content": content });
            return responses;
        }
    }
    let mut problems = vec!["default"];
    if route.path.contains("{id}") {
        problems.push("404");
    }
    if route.takes.is_some() {
        problems.extend(["400", "408", "413", "415", "422"]);
    }
    if route.gives_accepted() {
        problems.push("409");
    }
    for status in problems {
        responses[status] = json!({ "$ref": "#/components/responses/Problem" });
    }
    if route.path == "/readyz" {
        responses["503"] = responses["200"].clone();
    }
    responses
}

impl Route {
    /// Whether it is a person's act, which the engine may refuse.
    fn gives_accepted(&self) -> bool {
        matches!(self.gives, Gives::Json("Accepted"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    found.insert(reference.clone());
                }
                members
                    .values()
                    .for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(
                document.pointer(pointer).is_some(),
                "{reference} leads nowhere"
            );
        }
        for name in document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
        {
            assert!(
                found.contains(&format!("#/components/schemas/{name}")),
                "{name} is not used"
            );
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let routes = routes::all();
        let names: BTreeSet<_> = routes.iter().map(|route| route.name).collect();
        assert_eq!(names.len(), routes.len());
    }
}
