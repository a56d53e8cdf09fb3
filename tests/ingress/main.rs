//! TCP listeners: one port for HTTPS and TURN, certificates, proxies in front.

mod acme;
mod balancer;
mod port;
mod proxies;
#[path = "../support/mod.rs"]
mod support;
