//! `parlor status`, `reload` and `upgrade`: commands that need the running daemon.

use std::time::Duration;

use serde_json::json;

use crate::clock::{self, Now};
use crate::config::{Report, duration};
use crate::storage::utc;
use crate::turn::Transport;

use super::answer::Answer;
use super::certificate;
use super::context::Context;
use super::failure::Failure;

/// A larger difference means that the wall clock was set after the start.
const ROUNDING_SECONDS: u64 = 2;

/// The start time in Unix seconds, by the current setting of the clock.
fn started_at(started: Now, now: Now) -> u64 {
    let passed = now.mono.since(started.mono).as_secs();
    let by_this_clock = now.unix.saturating_sub(passed);
    match by_this_clock.abs_diff(started.unix) > ROUNDING_SECONDS {
        true => by_this_clock,
        false => started.unix,
    }
}

pub async fn status(context: &Context) -> Result<Answer, Failure> {
    let live = context.running()?;
    let wrong = live.app.not_ready().await;
    let connections = live.app.hub.connections();
    let mut rooms: Vec<_> = connections.iter().map(|one| &one.room).collect();
    rooms.sort();
    rooms.dedup();
    let sessions = live.app.relay.sessions().await;
    let over = |transport| {
        let sessions = sessions.iter();
        sessions.filter(|s| s.transport == transport).count()
    };
    // A store that does not answer is one of the things that are wrong.
    let (open_rooms, participants) = live.app.census().await.unzip();
    let now = clock::now();
    let uptime = now.mono.since(live.started.mono).as_secs();
    let started = utc::text(started_at(live.started, now));
    let turn_tls = [&live.app.https[..], &live.app.turn_tls].concat();
    let host = live.app.relay.current().host;
    let offered = host.offered();
    let offered = offered.map(|(bound, outside)| json!({ "address": outside, "bound": bound }));
    let [ipv4, ipv6] = live.app.relay.offered();
    let segmentation = live.app.settings().config.turn.segmentation.decide();
    let json = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "process": std::process::id(),
        "started": started,
        "uptime": uptime,
        "data_dir": live.data_dir,
        "ready": wrong.is_empty(),
        "not_ready": wrong,
        "http": live.http,
        "turn": live.app.turn,
        "turn_tls": turn_tls,
        "relayed_addresses": offered.collect::<Vec<_>>(),
        "segmentation": { "used": segmentation.used, "reason": segmentation.reason },
        "certificate": live.app.certificate.as_ref().map(|one| certificate::json(&one.standing())),
        "metrics": live.metrics,
        "socket": live.socket,
        "open_rooms": open_rooms,
        "participants": participants,
        "rooms_in_use": rooms.len(),
        "connections": connections.len(),
        "relays": sessions.len(),
        "relays_over_tcp": over(Transport::Tcp),
        "relays_over_tls": over(Transport::Tls),
    });
    let standing = live.app.certificate.as_ref().map(|one| one.standing());
    let unfit = standing.as_ref().and_then(certificate::unfit);
    let ready = match (wrong.is_empty(), unfit) {
        (true, None) => "yes".to_owned(),
        (true, Some(why)) => format!("not over TLS: {why}"),
        (false, _) => format!("no: {}", wrong.join("; ")),
    };
    let number = |name: &str| json[name].to_string();
    let known = |count: Option<i64>| count.map_or("?".to_owned(), |count| count.to_string());
    let since = duration::format(Duration::from_secs(uptime));
    let turn_tls = match turn_tls.is_empty() {
        true => "no (tls.mode is off)".to_owned(),
        false => listed(&turn_tls),
    };
    let standing = standing.map_or("none (tls.mode is off)".to_owned(), |standing| {
        certificate::text(&standing)
    });
    let facts = [
        ["Version", env!("CARGO_PKG_VERSION")],
        ["Process", &number("process")],
        ["Up", &format!("{since}, since {started}")],
        ["Ready", &ready],
        ["Data", &live.data_dir.display().to_string()],
        ["HTTP", &listed(&live.http)],
        ["TURN", &listed(&live.app.turn)],
        ["TURN over TLS", &turn_tls],
        ["Relayed addresses", &format!("IPv4 {ipv4}, IPv6 {ipv6}")],
        ["Segmentation", &segmentation.text()],
        ["Certificate", &standing],
        ["Metrics", &listed(&live.metrics)],
        ["Commands", &live.socket.display().to_string()],
        [
            "Rooms",
            &format!("{} open, {} in use", known(open_rooms), rooms.len()),
        ],
        [
            "Participants",
            &format!(
                "{} members, {} connected",
                known(participants),
                connections.len()
            ),
        ],
        [
            "Relays",
            &format!(
                "{} ({} over TCP, {} over TLS)",
                sessions.len(),
                number("relays_over_tcp"),
                number("relays_over_tls")
            ),
        ],
    ];
    Ok(Answer::facts(json.clone(), &facts))
}

fn listed(addresses: &[std::net::SocketAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

pub async fn reload(context: &Context) -> Result<Answer, Failure> {
    let live = context.running()?;
    let reload = live.reload.clone();
    let outcome = tokio::task::spawn_blocking(move || reload()).await;
    match outcome.map_err(|_| Failure::refused("the running parlor failed: its log says why"))? {
        Ok(report) => Ok(told(report)),
        Err(mut problems) => {
            problems.push("the configuration was refused: the old one stays in force".to_owned());
            Err(Failure::of(problems))
        }
    }
}

/// Answers before the other program goes on.
pub async fn upgrade(context: &Context) -> Result<Answer, Failure> {
    let live = context.running()?;
    let upgrade = live.upgrade.clone();
    let outcome = tokio::task::spawn_blocking(move || upgrade()).await;
    match outcome.map_err(|_| Failure::refused("the running parlor failed: its log says why"))? {
        Ok(path) => {
            let text = format!("{} goes on", path.display());
            Ok(Answer::new(json!({ "executable": path }), text))
        }
        Err(mut problems) => {
            problems.push("no upgrade: the running parlor goes on".to_owned());
            Err(Failure::of(problems))
        }
    }
}

fn told(report: Report) -> Answer {
    let text = match report.changed.is_empty() {
        true => "Nothing has changed".to_owned(),
        false => format!("Changed: {}", report.changed.join(", ")),
    };
    let mut answer = Answer::new(json!(report), text);
    if !report.needs_restart.is_empty() {
        let keys = report.needs_restart.join(", ");
        answer = answer.remark(format!("Needs a restart: {keys}"));
    }
    let warnings = report.warnings.into_iter();
    warnings.fold(answer, |answer, told| {
        answer.remark(format!("warning: {told}"))
    })
}
