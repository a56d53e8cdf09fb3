//! Certificates from an authority by ACME (RFC 8555).
//!
//! `instant-acme` speaks the protocol. [`Renewer`] decides when to request a certificate ([`schedule`]),
//! prepares the responses to challenges in [`crate::tls::CertResolver`], and stores the account and the
//! certificate in the data directory (`storage`). [`SharedRenewer`] does so for several processes with one database.

mod attempt;
mod error;
mod error_text;
mod lease;
mod order;
mod renewer;
mod report;
pub mod schedule;
mod seal;
mod settings;
mod shared;
mod shared_answers;
mod shared_storage;
mod storage;

pub use renewer::{Renewer, stored_certificate};
pub use settings::AcmeSettings;
pub use shared::SharedRenewer;
pub use shared_storage::{KeyError, SharedStorage};
