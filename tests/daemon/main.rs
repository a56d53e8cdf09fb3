//! The server as a service: start, restart, systemd, logs, metrics, durability.

mod chaos;
mod cluster;
mod cluster_admin;
mod cluster_guard;
mod cluster_logins;
mod cluster_moderation;
mod cluster_relay;
mod durability;
mod logs;
mod metrics;
mod operations;
mod postgres;
mod restart;
mod serve;
mod spans;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
