//! `GET /api/openapi.json`: the API's own description (OpenAPI 3.1), kept by hand in
//! `docs/reference/openapi.json`. A test holds its paths against the router's, and
//! `tests/http/api/description.rs` its schemas against real answers.

use std::sync::LazyLock;

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::error::Error;
use super::request::Request;
use super::response::{Response, json};
use super::route::Route;

const DOCUMENT: &str = include_str!("../../docs/reference/openapi.json");

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(Method::GET, "/api/openapi.json", |r| {
        Box::pin(description(r))
    })]
}

/// With the version in it.
static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    let mut document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    document["info"]["version"] = Value::from(env!("CARGO_PKG_VERSION"));
    document
});

async fn description(_: Request) -> Result<Response, Error> {
    Ok(json(StatusCode::OK, &*DESCRIPTION))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::router;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).expect("JSON")
    }

    /// `METHOD /path` and what is said of it.
    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let paths = document["paths"].as_object().expect("paths");
        let operations = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").iter();
            methods
                .filter(|(method, _)| *method != "parameters")
                .map(move |(method, said)| (format!("{} {path}", method.to_uppercase()), said))
        });
        operations.collect()
    }

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(pairs) => {
                found.extend(pairs.get("$ref").and_then(Value::as_str));
                pairs.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn the_description_has_every_route_of_the_router_and_no_other() {
        let document = document();
        let described = operations(&document).into_iter().map(|(name, _)| name);
        let routed = router::public_routes();
        let routed = routed.iter().map(|r| format!("{} {}", r.method, r.path));
        assert_eq!(
            described.collect::<BTreeSet<_>>(),
            routed.collect::<BTreeSet<_>>()
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50);
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("a place in here");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_name_in_a_path_is_a_parameter_and_every_operation_has_a_name_of_its_own() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        for (path, methods) in paths {
            let named = path.split(['{', '}']).skip(1).step_by(2);
            let parameters = methods["parameters"].as_array();
            let declared = parameters.into_iter().flatten();
            let declared = declared.filter_map(|parameter| parameter["name"].as_str());
            assert!(named.eq(declared), "{path}");
        }
        let operations = operations(&document);
        let ids = operations
            .iter()
            .map(|(_, said)| said["operationId"].as_str());
        assert_eq!(ids.collect::<BTreeSet<_>>().len(), operations.len());
    }
}
