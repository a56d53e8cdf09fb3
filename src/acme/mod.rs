//! Certificates from an authority by ACME (RFC 8555).
//!
//! `instant-acme` speaks the protocol. [`Renewer`] decides when to request a certificate ([`schedule`]),
//! prepares the responses to challenges in [`crate::tls::CertResolver`], and stores the account and the
//! certificate in the data directory (`storage`).

mod error;
mod error_text;
mod order;
mod renewer;
pub mod schedule;
mod settings;
mod storage;

pub use renewer::{Renewer, stored_certificate};
pub use settings::AcmeSettings;
