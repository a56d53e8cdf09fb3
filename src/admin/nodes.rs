//! `parlor nodes`: lists the nodes of a cluster.

use std::iter;

use serde_json::{Value, json};

use crate::plural::counted;
use crate::service::{NodeAnswers, NodeDescription};
use crate::storage::utc;

use super::context::{Context, ServerContext};
use super::failure::Failure;
use super::response::Response;

/// A node that answered.
struct Answer {
    name: String,
    node: NodeDescription,
    is_own: bool,
    /// Whether another node has this name.
    has_namesake: bool,
}

/// The nodes as they describe themselves, and those that have not answered.
pub(super) struct Nodes {
    own: String,
    /// Including this node, sorted by name.
    answers: Vec<Answer>,
    pub silent: Vec<String>,
}

impl Nodes {
    /// Asks all nodes. `None` if there are no others.
    pub(super) async fn of(server: &ServerContext) -> Option<Nodes> {
        let own = server.app.node_name()?;
        let NodeAnswers { answers, silent } = server.app.describe_nodes().await?;
        let others = answers.into_iter().map(|(name, node)| (name, node, false));
        let all: Vec<_> = iter::once((own.clone(), server.app.describe(), true))
            .chain(others)
            .collect();
        let names: Vec<_> = all.iter().map(|(name, ..)| name.clone()).collect();
        let answers = all.into_iter().map(|(name, node, is_own)| Answer {
            has_namesake: names.iter().filter(|other| **other == name).count() > 1,
            name,
            node,
            is_own,
        });
        let mut answers: Vec<_> = answers.collect();
        answers.sort_by(|one, other| one.name.cmp(&other.name));
        Some(Nodes {
            own,
            answers,
            silent,
        })
    }

    /// The name of this node.
    pub(super) fn own(&self) -> &str {
        &self.own
    }

    /// The usage of all nodes together.
    pub(super) fn summary(&self) -> String {
        let (connections, relays) = self.usage();
        let silent = match self.silent.len() {
            0 => String::new(),
            silent => format!("; without an answer: {silent}"),
        };
        let nodes = counted(self.answers.len(), "node");
        let connections = counted(connections, "connection");
        let relays = counted(relays, "relay");
        format!("{nodes}: {connections}, {relays}{silent}")
    }

    pub(super) fn summary_json(&self) -> Value {
        let (connections, relays) = self.usage();
        json!({
            "node": self.own,
            "nodes": self.json(),
            "connections": connections,
            "relays": relays,
        })
    }

    /// The numbers of connections and relays of all nodes that answered.
    fn usage(&self) -> (u64, u64) {
        let all = self.answers.iter().map(|answer| &answer.node);
        all.fold((0, 0), |(connections, relays), node| {
            (connections + node.connections, relays + node.relays)
        })
    }

    fn json(&self) -> Value {
        let answers = self.answers.iter().map(|answer| {
            let node = &answer.node;
            json!({
                "name": answer.name,
                "this": answer.is_own,
                "has_namesake": answer.has_namesake,
                "answered": true,
                "version": node.version,
                "since": utc::format(node.since),
                "connections": node.connections,
                "relays": node.relays,
                "relay_hosts": node.relay_hosts,
                "lag": node.lag,
                "draining": node.draining,
            })
        });
        let silent = self
            .silent
            .iter()
            .map(|name| json!({ "name": name, "this": false, "answered": false }));
        answers.chain(silent).collect()
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        let answers = self.answers.iter().map(|answer| {
            let node = &answer.node;
            let states = [
                (answer.is_own, "this node"),
                (node.draining, "draining"),
                (answer.has_namesake, "another node has this name"),
            ];
            let states = states.into_iter().filter(|(is_so, _)| *is_so);
            let states: Vec<_> = states.map(|(_, state)| state).collect();
            vec![
                answer.name.clone(),
                node.version.clone(),
                utc::format(node.since),
                node.connections.to_string(),
                node.relays.to_string(),
                node.relay_hosts.join(", "),
                node.lag.to_string(),
                states.join(", "),
            ]
        });
        let silent = self.silent.iter().map(|name| {
            let mut row = vec![String::new(); 8];
            row[0].clone_from(name);
            "has not answered".clone_into(&mut row[7]);
            row
        });
        answers.chain(silent)
    }
}

/// Lists all nodes.
pub(super) async fn nodes(context: &Context) -> Result<Response, Failure> {
    let server = context.require_server()?;
    let Some(nodes) = Nodes::of(server).await else {
        let alone = "This parlor stands alone: `cluster.redis_url` is not set.";
        return Ok(Response::new(json!([]), "").remark(alone));
    };
    let header = [
        "NAME",
        "VERSION",
        "SINCE",
        "CONNECTIONS",
        "RELAYS",
        "RELAY HOST",
        "LAG",
        "STATE",
    ];
    let response = Response::table(nodes.json(), &header, nodes.rows());
    Ok(with_silent(response, &nodes.silent))
}

/// Adds a remark for each node that has not answered.
pub(super) fn with_silent(response: Response, silent: &[String]) -> Response {
    silent.iter().fold(response, |response, name| {
        response.remark(format!("{name} has not answered."))
    })
}
