//! One port for everything: HTTPS, WebSockets and TURN, by the real binary.

mod certificates;
mod fixture;
mod hostile;
mod plain;
mod together;
