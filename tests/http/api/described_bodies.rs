//! The bodies that the server reads against those that `GET /api/openapi.json` describes.

use std::cell::Cell;

use super::*;

/// So many that none of them reaches a rate limit.
const ADMINS: usize = 10;

/// Sends bodies, and collects those that the server treats otherwise than the description does.
struct Probe {
    fixture: Fixture,
    admins: Vec<Client>,
    document: Value,
    sent: Cell<usize>,
    deviations: Vec<String>,
}

/// A route with a body.
struct Operation {
    method: String,
    path: String,
    schema: Value,
}

impl Probe {
    fn new() -> Probe {
        let fixture =
            Fixture::with(|builder| builder.env("PARLOR_HTTP__TRUSTED_PROXIES", "127.0.0.1"));
        fixture.room("r1", &[]);
        let admins = (0..ADMINS).map(|number| {
            let name = format!("admin{number}");
            let added = fixture.daemon.cli_json(&["user", "add", &name, "--admin"]);
            let admin = fixture.bearer(&text(&added["id"]));
            admin.post("/api/rooms/r1/join").ok();
            admin
        });
        Probe {
            admins: admins.collect(),
            document: fixture.client.get("/api/openapi.json").ok(),
            fixture,
            sent: Cell::new(0),
            deviations: Vec::new(),
        }
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self
                .document
                .pointer(reference.trim_start_matches('#'))
                .unwrap_or_else(|| panic!("{reference}")),
            None => value,
        }
    }

    /// The operations with a JSON body.
    fn operations(&self) -> Vec<Operation> {
        let paths = self.document["paths"].as_object().expect("paths");
        let all = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods");
            methods
                .iter()
                .map(move |(method, operation)| (path, method, operation))
        });
        all.filter(|(_, _, operation)| operation["requestBody"].is_object())
            .map(|(path, method, operation)| {
                let body = self.resolve(&operation["requestBody"]);
                let schema = self.resolve(&body["content"]["application/json"]["schema"]);
                assert!(schema["properties"].is_object(), "{method} {path}");
                Operation {
                    method: method.to_ascii_uppercase(),
                    path: path.replace("{room}", "r1").replace("{user}", "none"),
                    schema: schema.clone(),
                }
            })
            .collect()
    }

    /// Compares the answer to `body` with the described `accepted`.
    fn try_body(&mut self, operation: &Operation, body: &Value, accepted: bool) {
        let sent = self.sent.replace(self.sent.get() + 1);
        let address = format!("10.0.{}.{}", sent / 200, sent % 200 + 1);
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Forwarded-For", &*address),
        ];
        let (method, path) = (&*operation.method, &*operation.path);
        let body = body.to_string();
        let admin = &self.admins[sent % ADMINS];
        let answer = admin.send(method, path, &headers, body.as_bytes());
        assert!(![401, 429, 500].contains(&answer.status) || path.ends_with("login"));
        let detail = answer.json()["detail"].to_string();
        let rejected =
            answer.status == 400 && detail.starts_with("\"The body must be a JSON object");
        if rejected == accepted {
            let status = answer.status;
            let deviation = format!("{method} {path} {body}: {status} {detail}");
            self.deviations.push(deviation);
        }
    }

    fn try_all(&mut self, operation: &Operation) {
        let schema = &operation.schema;
        let name = format!("name-{}", self.sent.get());
        let required = schema["required"].as_array().into_iter().flatten();
        let required: Vec<&str> = required.filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().expect("properties");
        let mut usual = json!({});
        for property in &required {
            usual[*property] = sample(&properties[*property], &name);
        }
        self.try_body(operation, &usual, true);
        for other in [json!(null), json!(true), json!(1), json!("x"), json!([])] {
            self.try_body(operation, &other, is_described(schema, &other));
        }
        self.try_body(operation, &json!([usual]), false);
        for property in required {
            let mut body = usual.clone();
            body.as_object_mut().expect("an object").remove(property);
            self.try_body(operation, &body, false);
        }
        let mut body = usual.clone();
        body["unknown"] = json!(1);
        self.try_body(operation, &body, schema["additionalProperties"] != false);
        for (property, described) in properties {
            for value in [
                json!(null),
                json!(true),
                json!(1),
                json!(1.5),
                sample(described, &name),
                json!([]),
                json!({}),
            ] {
                let mut body = usual.clone();
                body[property] = value.clone();
                self.try_body(operation, &body, is_described(described, &value));
            }
        }
    }
}

/// A text that is valid where texts are.
fn sample(schema: &Value, name: &str) -> Value {
    match &schema["enum"] {
        Value::Array(choices) => choices[0].clone(),
        _ if schema["format"] == "date-time" => json!("2999-01-01T00:00:00Z"),
        // A duration, for `ttl`.
        _ if schema["type"] == json!(["string", "number"]) => json!("7d"),
        _ => json!(name),
    }
}

/// Whether the schema allows a value of this type.
fn is_described(schema: &Value, value: &Value) -> bool {
    if let Some(choices) = schema["enum"].as_array() {
        return choices.contains(value);
    }
    let kinds: &[&str] = match value {
        Value::Null => &["null"],
        Value::Bool(_) => &["boolean"],
        Value::Number(number) if number.is_f64() => &["number"],
        Value::Number(_) => &["number", "integer"],
        Value::String(_) => &["string"],
        Value::Array(_) => &["array"],
        Value::Object(_) => &["object"],
    };
    let described = match &schema["type"] {
        Value::Array(described) => described.clone(),
        one => vec![one.clone()],
    };
    kinds.iter().any(|kind| described.contains(&json!(kind)))
}

#[test]
fn the_server_reads_the_bodies_that_the_description_allows_and_no_others() {
    let mut probe = Probe::new();
    let operations = probe.operations();
    assert!(operations.len() >= 13, "{}", operations.len());
    for operation in &operations {
        probe.try_all(operation);
    }
    let deviations = &probe.deviations;
    assert!(deviations.is_empty(), "{deviations:#?}");
    drop(probe.fixture);
}
