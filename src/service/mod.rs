//! The application: which user may be in which room, and what ends when that changes.
//!
//! The edges (`http`, `admin`) translate between their protocols and [`App`]. A change runs in one
//! order, see [`App::apply`](app::App): commit to the store, close WebSockets, end relay
//! allocations, publish the event, count what ended.

mod admission;
mod app;
mod apply;
mod auth;
mod change_order;
mod change_signals;
mod chat;
pub mod cluster;
mod drain;
mod event_metrics;
mod expiry;
mod external_changes;
#[cfg(test)]
mod fixture;
mod health;
mod health_log;
mod hub;
mod issuer_keys;
mod live_changes;
mod live_state;
mod live_updates;
mod membership;
mod moderation;
mod namesake;
mod outbox;
mod own_relay;
mod pending_answer;
mod presence;
mod quality;
mod redis_comparison;
mod redis_health;
mod redis_watch;
mod relay_address;
mod relay_nodes;
mod relay_placement;
mod renewals;
mod resume_memory;
mod resume_token;
mod retention;
mod revocation;
mod role_changes;
mod role_updates;
mod room_entry;
mod room_object;
mod rooms;
mod saved_sessions;
mod session_queue;
mod session_settings;
mod settings;
mod signaling_metrics;
mod tasks;
mod token_renewal;

pub use admission::{Admitted, admit, check_entered, close_code, member};
pub use app::App;
pub use apply::Ended;
pub use auth::{AuthError, Caller, RoomAccess, room_access, room_access_of};
pub use change_order::ChangeOrder;
pub use chat::DeleteMessageError;
pub use cluster::{
    IncomingTunnel, ListedConnection, ListedSession, NodeAnswers, NodeDescription, NodeSessions,
    Revocation, TunnelRequest, TunnelStream,
};
pub use event_metrics::count_events;
pub use external_changes::load_revocations;
pub use health::{Check, HealthChecks};
pub use health_log::HealthLogLimits;
pub use hub::{Hub, RoomHandle};
pub use issuer_keys::IssuerKeys;
pub use live_state::{LiveState, ShownRoom};
pub use moderation::mute::MuteError;
pub use moderation::requests::{BanRequest, ModerationError};
pub use moderation::rules::{Act, Actor, Refusal, Standing, check_act};
pub use outbox::{Outbox, frame_cost};
pub use own_relay::relay_ports;
pub use pending_answer::PendingAnswer;
pub use quality::Level;
pub use redis_comparison::have_same_keys;
pub use redis_health::{RedisHealth, RedisState};
pub use relay_address::RelayAddress;
pub use relay_nodes::RelayNodes;
pub use renewals::Renewals;
pub use room_entry::{ConnectionInfo, Entrance, Resumption, limits};
pub use room_object::room_json;
pub use saved_sessions::SavedRoom;
pub use settings::{LiveSettings, Settings};
pub use tasks::run_background_tasks;
pub use token_renewal::{TokenRefusal, check_successor, replace_token};
