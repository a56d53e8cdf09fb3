//! The plain protocol over real sockets against the real binary: every row of its table, every
//! close code, and what a hostile client may try.

mod closing;
mod document;
mod drain;
mod endings;
mod extended;
mod flood;
mod hostile;
mod http;
mod messages;
mod opening;
mod reload;
mod store_faults;
mod world;
