//! The parts of a `welcome` that come from the application: the room, ICE servers and limits.

use serde_json::json;

use super::renewal::renewal_time;
use crate::config::Signaling;
use crate::http::api::{BoundTo, Offer};
use crate::room::Greeting;
use crate::service::{App, RoomAccess};
use crate::url::Host;

/// A client that speaks `parlor.v1`, until it has entered the room.
pub(super) struct Newcomer {
    /// The host for URLs of ICE servers.
    pub host: Host,
    pub access: RoomAccess,
    /// The token of an earlier session, and the number of the last frame that the client has received.
    pub resume: Option<(String, u64)>,
}

impl Newcomer {
    /// Returns the parts of the `welcome`, and when its ICE servers are renewed, in Unix seconds.
    pub(super) async fn greeting(self, app: &App) -> (Greeting, Option<u64>) {
        let Newcomer { host, access, .. } = self;
        let room = match &access.room {
            Some(room) => app.room_object(room).await,
            None => json!({}),
        };
        let bound = access.room.as_ref().map(|room| BoundTo {
            room: &room.id,
            generation: access.generation,
        });
        let offer = Offer::new(app, host, &access.caller.user, bound).await;
        let renewal = Some(renewal_time(&offer));
        let settings = app.settings();
        let signaling = &settings.config.signaling;
        let greeting = Greeting {
            room: room.to_string(),
            ice_servers: offer.into_json().to_string(),
            limits: limits(signaling).to_string(),
            within: signaling.resume_grace,
        };
        (greeting, renewal)
    }
}

fn limits(settings: &Signaling) -> serde_json::Value {
    json!({
        "maxMessageBytes": settings.max_message,
        "messagesPerSecond": settings.rate,
        "messageBurst": settings.burst,
        "bytesPerSecond": settings.byte_rate,
        "byteBurst": settings.byte_burst(),
    })
}
