//! One port for everything: HTTPS, WebSockets and TURN, by the real binary.

mod certificates;
mod hostile;
mod house;
mod plain;
mod together;
