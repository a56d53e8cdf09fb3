//! `parlor status`, `sessions`, `reload` and `upgrade`: what only a running parlor can tell, or do.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::clock;
use crate::config::{Report, duration};
use crate::store::{Store, StoreError, utc};
use crate::turn::{Session, Transport};

use super::answer::Answer;
use super::certificate;
use super::context::{Context, Live};
use super::failure::Failure;

/// For the names of everybody who is connected.
const PATIENCE: Duration = Duration::from_secs(10);

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
    let uptime = clock::now().mono.since(live.started.mono).as_secs();
    let turn_tls = [&live.app.https[..], &live.app.turn_tls].concat();
    let host = live.app.relay.current().host;
    let offered = host.offered();
    let offered = offered.map(|(bound, outside)| json!({ "address": outside, "bound": bound }));
    let [ipv4, ipv6] = live.app.relay.offered();
    let segmentation = live.app.settings().config.turn.segmentation.decide();
    let json = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "process": std::process::id(),
        "started": utc::text(live.started.unix),
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
        [
            "Up",
            &format!("{since}, since {}", utc::text(live.started.unix)),
        ],
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

/// One row for each WebSocket and for each allocation.
pub async fn sessions(context: &Context) -> Result<Answer, Failure> {
    let live = context.running()?;
    let relays = live.app.relay.sessions().await;
    let connections = live.app.hub.connections();
    let users = connections.iter().map(|one| &*one.user);
    let users = users.chain(relays.iter().map(|relay| &*relay.user));
    let rooms = connections.iter().map(|one| &*one.room);
    let rooms = rooms.chain(relays.iter().filter_map(|relay| relay.room.as_deref()));
    let names = Names::of(live, users, rooms).await;
    let mut rows: Vec<Row> = connections
        .iter()
        .map(|one| Row::signaling(&one.user, &one.room, one.since))
        .collect();
    rows.extend(relays.iter().map(Row::relay));
    rows.sort_by_key(|row| {
        let (room, user) = (row.room.map(|room| names.room(room)), names.user(row.user));
        (room, user, row.user, row.over, row.since)
    });
    let json = rows.iter().map(|row| row.json(&names)).collect();
    let texts = rows.iter().map(|row| row.texts(&names));
    let answer = match rows.is_empty() {
        true => Answer::new(json, "").remark("Nobody is connected."),
        false => Answer::table(json, &Row::HEADER, texts),
    };
    Ok(match names.complete {
        true => answer,
        false => answer.remark(
            "The store does not tell every name, so that ids stand for them: `parlor status` and \
             the log say more.",
        ),
    })
}

struct Row<'a> {
    user: &'a str,
    room: Option<&'a str>,
    over: &'static str,
    since: u64,
    relay: Option<&'a Session>,
}

impl<'a> Row<'a> {
    const HEADER: [&'static str; 6] = ["ROOM", "USER", "OVER", "SINCE", "SENT", "RECEIVED"];

    fn signaling(user: &'a str, room: &'a str, since: u64) -> Row<'a> {
        Row {
            user,
            room: Some(room),
            over: "websocket",
            since,
            relay: None,
        }
    }

    fn relay(session: &'a Session) -> Row<'a> {
        Row {
            user: &session.user,
            room: session.room.as_deref(),
            over: match session.transport {
                Transport::Udp => "turn/udp",
                Transport::Tcp => "turn/tcp",
                Transport::Tls => "turn/tls",
            },
            since: session.since,
            relay: Some(session),
        }
    }

    fn json(&self, names: &Names) -> Value {
        let room = self
            .room
            .map(|id| json!({ "id": id, "name": names.room(id) }));
        let mut json = json!({
            "user": { "id": self.user, "name": names.user(self.user) },
            "room": room,
            "over": self.over,
            "since": utc::text(self.since),
        });
        if let Some(relay) = self.relay {
            json["client"] = relay.client.to_string().into();
            json["relayed"] = relay.relayed.to_string().into();
            if let Some(relayed) = relay.relayed_ipv6 {
                json["relayed_ipv6"] = relayed.to_string().into();
            }
            json["bytes_sent"] = relay.bytes_up.into();
            json["bytes_received"] = relay.bytes_down.into();
        }
        json
    }

    fn texts(&self, names: &Names) -> Vec<String> {
        let bytes = |count: fn(&Session) -> u64| {
            self.relay.map_or(String::new(), |relay| size(count(relay)))
        };
        vec![
            self.room
                .map_or(String::new(), |id| names.room(id).to_owned()),
            names.user(self.user).to_owned(),
            self.over.to_owned(),
            utc::text(self.since),
            bytes(|relay| relay.bytes_up),
            bytes(|relay| relay.bytes_down),
        ]
    }
}

/// What users and rooms are called; those that the store does not know, or does not tell of, by
/// their ids.
#[derive(Default)]
struct Names {
    users: HashMap<String, String>,
    rooms: HashMap<String, String>,
    /// Whether the store told of all of them.
    complete: bool,
}

impl Names {
    /// Who is connected is told whatever has become of the store.
    async fn of<'a>(
        live: &Live,
        users: impl Iterator<Item = &'a str>,
        rooms: impl Iterator<Item = &'a str>,
    ) -> Names {
        let mut names = Names::default();
        let asking = names.ask(&live.app.store, users.collect(), rooms.collect());
        let asked = timeout(PATIENCE, asking).await;
        names.complete = matches!(asked, Ok(Ok(())));
        names
    }

    async fn ask(
        &mut self,
        store: &Store,
        users: BTreeSet<&str>,
        rooms: BTreeSet<&str>,
    ) -> Result<(), StoreError> {
        for id in users {
            let mut called = store.users_called(id).await?.into_iter();
            let known = called.find(|user| user.id == id);
            self.users.extend(known.map(|user| (user.id, user.name)));
        }
        for id in rooms {
            let mut called = store.rooms_called(id).await?.into_iter();
            let known = called.find(|room| room.id == id);
            self.rooms.extend(known.map(|room| (room.id, room.name)));
        }
        Ok(())
    }

    fn user<'a>(&'a self, id: &'a str) -> &'a str {
        self.users.get(id).map_or(id, String::as_str)
    }

    fn room<'a>(&'a self, id: &'a str) -> &'a str {
        self.rooms.get(id).map_or(id, String::as_str)
    }
}

/// Bytes, in the largest unit that leaves at least one.
fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in units {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    match unit {
        "B" => format!("{bytes} B"),
        unit => format!("{value:.1} {unit}"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_unit_that_people_read() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_234_567, "1.2 MB"),
            (5_000_000_000_000_000, "5000.0 TB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
