//! The relay's edge: sockets around [`crate::turn`].

mod handle;

pub use handle::Handle;
