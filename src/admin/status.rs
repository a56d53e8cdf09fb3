//! `parlor status`, `reload` and `upgrade`: commands that need the running daemon.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock;
use crate::config::{ReloadReport, duration};
use crate::plural::counted;
use crate::service::RedisState;
use crate::storage::utc;
use crate::turn::Transport;

use super::certificate;
use super::context::Context;
use super::failure::Failure;
use super::nodes::{Nodes, with_silent};
use super::response::Response;

/// The last sentence of a refused reload and of a refused upgrade.
pub(super) const NOT_RELOADED: &str = "the configuration was rejected: the old one stays in force";
pub const NOT_UPGRADED: &str = "not upgraded: the server continues unchanged";

pub(super) async fn status(context: &Context) -> Result<Response, Failure> {
    let server = context.require_server()?;
    let health = server.app.check_health().await;
    let not_ready = health.reasons(&server.app);
    let connections = server.app.hub.connections();
    let mut rooms: Vec<_> = connections.iter().map(|one| &one.room).collect();
    rooms.sort();
    rooms.dedup();
    let sessions = server.app.relay.sessions().await;
    let over = |transport| {
        let sessions = sessions.iter();
        sessions.filter(|s| s.transport == transport).count()
    };
    // Not ready is also the state of a server whose database does not answer.
    let (open_rooms, participants) = server.app.room_counts().await.unzip();
    let uptime = clock::now().mono.since(server.app.started.mono).as_secs();
    let started = utc::format(server.app.start_time());
    let turn_tls = [&server.app.https[..], &server.app.turn_tls].concat();
    let host = server.app.relay.current_addresses().host;
    let offered = host.offered();
    let offered = offered.map(|(bound, outside)| json!({ "address": outside, "bound": bound }));
    let [ipv4, ipv6] = server.app.relay.relayed_addresses();
    let nodes = Nodes::of(server).await;
    let receive_drops = server.app.relay.receive_drops();
    let segmentation = server.app.settings().config.turn.segmentation.decide();
    let mut json = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "process": std::process::id(),
        "started": started,
        "uptime": uptime,
        "data_dir": server.data_dir,
        "ready": not_ready.is_empty(),
        "not_ready": not_ready,
        "http": server.http,
        "turn": server.app.turn,
        "turn_tls": turn_tls,
        "relayed_addresses": offered.collect::<Vec<_>>(),
        "segmentation": { "used": segmentation.used, "reason": segmentation.reason },
        "receive_drops": receive_drops.iter().map(drops_json).collect::<Vec<_>>(),
        "certificate": server.app.certificate.as_ref().map(|one| certificate::json(&one.status())),
        "metrics": server.metrics,
        "socket": server.socket,
        "open_rooms": open_rooms,
        "participants": participants,
        "rooms_in_use": rooms.len(),
        "connections": connections.len(),
        "relays": sessions.len(),
        "relays_over_tcp": over(Transport::Tcp),
        "relays_over_tls": over(Transport::Tls),
    });
    let lost_since = server.app.redis_lost_since().map(utc::format);
    if let Some(state) = health.redis {
        let is_reached = state == RedisState::Reached;
        json["redis"] = json!({ "reached": is_reached, "lost_since": lost_since });
    }
    if let Some(nodes) = &nodes {
        json["cluster"] = nodes.summary_json();
    }
    let certificate_status = server.app.certificate.as_ref().map(|one| one.status());
    let unusable_reason = certificate_status
        .as_ref()
        .and_then(certificate::unusable_reason);
    let ready = match (not_ready.is_empty(), unusable_reason) {
        (true, None) => "yes".to_owned(),
        (true, Some(reason)) => format!("not over TLS: {reason}"),
        (false, _) => format!("no: {}", not_ready.join("; ")),
    };
    let redis = health.redis.map(|state| redis_text(state, lost_since));
    let number = |name: &str| json[name].to_string();
    let open = open_rooms.map_or("? open".to_owned(), |count| format!("{count} open"));
    let members = participants.map_or("? members".to_owned(), |count| counted(count, "member"));
    // The database counts for all nodes.
    let (here, to_here) = match nodes {
        Some(_) => (" on this node", " to this node"),
        None => ("", ""),
    };
    let since = duration::format(Duration::from_secs(uptime));
    let turn_tls = if turn_tls.is_empty() {
        "no (tls.mode is off)".to_owned()
    } else {
        join_addresses(&turn_tls)
    };
    let certificate = certificate_status
        .map_or("none (tls.mode is off)".to_owned(), |certificate_status| {
            certificate::text(&certificate_status)
        });
    let facts = [
        ["Version", env!("CARGO_PKG_VERSION")],
        ["Process", &number("process")],
        ["Up", &format!("{since}, since {started}")],
        ["Node", nodes.as_ref().map_or("", Nodes::own)],
        ["Ready", &ready],
        ["Redis", redis.as_deref().unwrap_or_default()],
        ["Data", &server.data_dir.display().to_string()],
        ["HTTP", &join_addresses(&server.http)],
        ["TURN", &join_addresses(&server.app.turn)],
        ["TURN over TLS", &turn_tls],
        ["Relayed addresses", &format!("IPv4 {ipv4}, IPv6 {ipv6}")],
        ["Segmentation", &segmentation.text()],
        ["Socket drops", &drops_text(&receive_drops)],
        ["Certificate", &certificate],
        ["Metrics", &join_addresses(&server.metrics)],
        ["Admin socket", &server.socket.display().to_string()],
        ["Rooms", &format!("{open}, {} in use{here}", rooms.len())],
        [
            "Participants",
            &format!("{members}, {} connected{to_here}", connections.len()),
        ],
        [
            "Relays",
            &format!(
                "{} ({} over TCP, {} over TLS){here}",
                sessions.len(),
                number("relays_over_tcp"),
                number("relays_over_tls")
            ),
        ],
        [
            "All nodes",
            &nodes.as_ref().map_or(String::new(), Nodes::summary),
        ],
    ];
    let response = Response::facts(json.clone(), &facts);
    Ok(match nodes {
        Some(nodes) => with_silent(response, &nodes.silent),
        None => response,
    })
}

fn redis_text(state: RedisState, lost_since: Option<String>) -> String {
    if state == RedisState::Reached {
        return "ok".to_owned();
    }
    let since = lost_since.map(|time| format!(" since {time}"));
    let since = since.unwrap_or_default();
    format!("not reached{since}: new WebSockets are refused")
}

fn drops_json((address, datagrams): (&SocketAddr, &u64)) -> Value {
    json!({ "address": address, "datagrams": datagrams })
}

/// The listeners whose datagrams the kernel has dropped.
fn drops_text(drops: &BTreeMap<SocketAddr, u64>) -> String {
    let lossy = drops.iter().filter(|(_, datagrams)| **datagrams > 0);
    let lossy = lossy.map(|(address, datagrams)| {
        format!("{datagrams} at {address}, whose receive buffer was full")
    });
    match lossy.collect::<Vec<_>>() {
        texts if texts.is_empty() => "none".to_owned(),
        texts => texts.join("; "),
    }
}

fn join_addresses(addresses: &[SocketAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

pub(super) async fn reload(context: &Context) -> Result<Response, Failure> {
    let server = context.require_server()?;
    let reload = server.reload.clone();
    let outcome = tokio::task::spawn_blocking(move || reload()).await;
    match outcome.map_err(|_| Failure::new("the server failed: see its log"))? {
        Ok(report) => Ok(reload_response(report)),
        Err(mut problems) => {
            problems.push(NOT_RELOADED.to_owned());
            Err(Failure::with_problems(problems))
        }
    }
}

/// Responds before the new binary takes over.
pub(super) async fn upgrade(context: &Context) -> Result<Response, Failure> {
    let server = context.require_server()?;
    let upgrade = server.upgrade.clone();
    let outcome = tokio::task::spawn_blocking(move || upgrade()).await;
    match outcome.map_err(|_| Failure::new("the server failed: see its log"))? {
        Ok(path) => {
            let text = format!("Upgrading to {}", path.display());
            Ok(Response::new(json!({ "executable": path }), text))
        }
        Err(problems) => Err(Failure::with_problems(problems)),
    }
}

fn reload_response(report: ReloadReport) -> Response {
    let text = if report.changed.is_empty() {
        "No changes".to_owned()
    } else {
        format!("Changed: {}", report.changed.join(", "))
    };
    let mut response = Response::new(json!(report), text);
    if !report.needs_restart.is_empty() {
        let keys = report.needs_restart.join(", ");
        response = response.remark(format!("Needs a restart: {keys}"));
    }
    let warnings = report.warnings.into_iter();
    warnings.fold(response, |response, warning| {
        response.remark(format!("warning: {warning}"))
    })
}
