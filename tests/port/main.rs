//! One port for everything: HTTPS, WebSockets and TURN, by the real binary.

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod hostile;
mod house;
mod plain;
mod together;
