//! A row of `parlor sessions --all`: a WebSocket or an allocation.

use ring::digest;
use serde_json::{Value, json};

use crate::credential::anonymous_address;
use crate::service::ListedConnection;
use crate::storage::utc;
use crate::turn::{Session, Transport};

use super::name_lookup::NameLookup;

/// Size of a session id: the probability that two of 10,000 sessions have the same is 1 in 5 million.
const SESSION_ID_BYTES: usize = 6;

/// A WebSocket or an allocation.
pub(super) struct Row<'a> {
    /// The name of the node; `None` if there are no others.
    pub node: Option<&'a str>,
    /// The user, or [`crate::credential::anonymous_address`].
    pub user: &'a str,
    pub room: Option<&'a str>,
    pub over: &'static str,
    pub since: u64,
    /// The details of an allocation; `None` for a WebSocket.
    pub relay: Option<&'a Session>,
}

impl<'a> Row<'a> {
    pub(super) fn signaling(node: Option<&'a str>, connected: &'a ListedConnection) -> Row<'a> {
        Row {
            node,
            user: &connected.user,
            room: Some(&connected.room),
            over: "websocket",
            since: connected.since,
            relay: None,
        }
    }

    pub(super) fn relay(node: Option<&'a str>, session: &'a Session) -> Row<'a> {
        Row {
            node,
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

    /// The id for `parlor session kill`: constant for the lifetime of the session.
    pub(super) fn id(&self) -> String {
        let five_tuple = self.relay.map(|relay| (relay.client, relay.server));
        let fixed = json!([self.over, self.user, self.room, self.since, five_tuple]);
        let hash = digest::digest(&digest::SHA256, fixed.to_string().as_bytes());
        let bytes = hash.as_ref().iter().take(SESSION_ID_BYTES);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn json(&self, names: &NameLookup) -> Value {
        let mut json = json!({
            "id": self.id(),
            "user": names.user_json(self.user),
            "room": self.room.map(|id| names.room_json(id)),
            "over": self.over,
            "since": utc::format(self.since),
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
        if let Some(node) = self.node {
            json["node"] = node.into();
        }
        json
    }

    pub(super) fn texts(&self, names: &NameLookup) -> Vec<String> {
        let bytes = |count: fn(&Session) -> u64| {
            self.relay.map_or(String::new(), |relay| size(count(relay)))
        };
        let id = match self
            .relay
            .filter(|_| anonymous_address(self.user).is_some())
        {
            Some(relay) => relay.client.to_string(),
            None => self.user.to_owned(),
        };
        let mut texts = vec![
            self.id(),
            self.room
                .map_or(String::new(), |id| names.room(id).to_owned()),
            names.shown(self.user),
            id,
            self.over.to_owned(),
            utc::format(self.since),
            bytes(|relay| relay.bytes_up),
            bytes(|relay| relay.bytes_down),
        ];
        texts.extend(self.node.map(str::to_owned));
        texts
    }
}

/// Bytes, in the largest unit that leaves at least one.
pub(super) fn size(bytes: u64) -> String {
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
