//! Admin commands. A running server executes them: a client sends them to its admin socket. Without
//! a server, the client executes them on the database.
//!
//! The socket accepts root and the server's own user. Size and duration of a request, and the number
//! of connections, are limited.

mod bans;
mod certificate;
mod client;
mod command;
mod context;
mod credentials;
mod drain;
mod ended_counts;
mod execute;
mod failure;
mod framing;
mod invites;
mod kill;
mod links;
mod messages;
mod moderation;
mod name_lookup;
mod nodes;
mod pending;
mod response;
mod room_lookup;
mod rooms;
mod server;
mod session_row;
mod sessions;
mod socket;
mod status;
mod top;
mod user_lookup;
mod users;

pub use client::drain::DrainResult;
pub use client::{AdminClient, SocketPaths, Target, find};
pub use command::{
    AdminCommand, Grant, InviteCommand, Lifetime, PasswordFlags, PasswordHash, RoomCommand,
    ServerCommand, SessionCommand, TokenCommand, TurnCommand, UserCommand, WithoutServer,
};
pub use context::{Context, Reload, ServerContext};
pub use drain::draining;
pub use failure::{EXIT_FAILURE, EXIT_USAGE, Failure};
pub use messages::DrainProgress;
pub use response::{Body, Response};
pub use server::{Listener, serve};
pub use socket::SocketError;
pub use status::NOT_UPGRADED;
pub use top::{LinkState, MeasuredLink, TopPerson, TopSnapshot};
