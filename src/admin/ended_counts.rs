//! Adds the number of closed connections and freed relays to a response.

use serde_json::{Value, json};

use crate::plural::counted;
use crate::service::{Ended, Revocation};

use super::context::Context;
use super::nodes::with_silent;
use super::response::Response;

/// The connections and relays that a change ended.
pub(super) struct EndedCounts {
    total: Ended,
    /// Those of each node; empty if there are no others.
    nodes: Vec<(String, Ended)>,
    /// Nodes that have not answered.
    silent: Vec<String>,
}

impl EndedCounts {
    /// Asks the other nodes how much a change ended there. `None` without a server.
    pub(super) async fn of_all_nodes(
        context: &Context,
        here: Option<Ended>,
        change: Revocation,
    ) -> Option<EndedCounts> {
        let app = &context.server()?.app;
        let mut counts = EndedCounts {
            total: here?,
            nodes: Vec::new(),
            silent: Vec::new(),
        };
        let own = app.node_name();
        if let Some((own, others)) = own.zip(app.ended_elsewhere(change).await) {
            counts.nodes.push((own, counts.total));
            for (name, ended) in others.answers {
                counts.total.connections += ended.connections;
                counts.total.relays += ended.relays;
                counts.nodes.push((name, ended));
            }
            counts.nodes.sort_by(|(one, _), (other, _)| one.cmp(other));
            counts.silent = others.silent;
        }
        Some(counts)
    }

    fn nodes_json(&self) -> Value {
        let answered = self.nodes.iter().map(|(name, ended)| {
            json!({ "name": name, "connections": ended.connections, "relays": ended.relays })
        });
        let silent = self
            .silent
            .iter()
            .map(|name| json!({ "name": name, "connections": null, "relays": null }));
        answered.chain(silent).collect()
    }
}

/// Returns a response with these counts; without a server there are none.
pub(super) fn with_counts(
    mut json: Value,
    mut text: String,
    counts: Option<EndedCounts>,
) -> Response {
    let Some(counts) = counts else {
        return Response::new(json, text);
    };
    json["connections"] = counts.total.connections.into();
    json["relays"] = counts.total.relays.into();
    text.push_str(&format!(": {}", closed_and_freed(counts.total)));
    if !counts.nodes.is_empty() {
        json["nodes"] = counts.nodes_json();
    }
    for (name, ended) in &counts.nodes {
        if *ended != Ended::default() {
            text.push_str(&format!("\n  {name}: {}", closed_and_freed(*ended)));
        }
    }
    with_silent(Response::new(json, text), &counts.silent)
}

fn closed_and_freed(ended: Ended) -> String {
    let connections = counted(ended.connections, "connection");
    let relays = counted(ended.relays, "relay");
    format!("{connections} closed, {relays} freed")
}
