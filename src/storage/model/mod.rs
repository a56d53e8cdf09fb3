//! The values that the store returns and accepts. Times are Unix seconds, ids are text.

mod acme;
mod admission;
mod bans;
mod changes;
mod invites;
mod memberships;
mod messages;
mod moderation;
mod rooms;
mod users;

pub use acme::*;
pub use admission::*;
pub use bans::*;
pub use changes::*;
pub use invites::*;
pub use memberships::*;
pub use messages::*;
pub use moderation::*;
pub use rooms::*;
pub use users::*;
