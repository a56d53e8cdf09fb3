//! The quality of calls, as the relay measures it, for the `parlor.v1` clients concerned.

mod paths;

pub(super) use paths::follow_paths;
