//! parlor: WebRTC signaling, a STUN/TURN relay, and rooms in SQLite or PostgreSQL, in one process.
//!
//! The modules form layers, and imports point down only (`docs/architecture.md`; checked by
//! `tests/project/architecture.rs`):
//!
//! | layer | modules |
//! |---|---|
//! | 5 · composition | `main`, [`cli`], [`daemon`], [`bench`](mod@bench) |
//! | 4 · edges | [`http`], [`admin`], [`acme`] |
//! | 3 · service | [`service`] |
//! | 2 · adapters | [`relay`], [`ingress`], [`storage`], [`data_dir`], [`bus`], [`https_client`] |
//! | 1 · state machines | [`turn`], [`room`] |
//! | 0 · values | [`stun`], [`credential`], [`token`], [`config`], [`clock`], [`der`], [`display_name`], [`metrics`], [`net`], [`password`], [`plural`], [`public_key`], [`rate`], [`secret`], [`text_file`], [`tls`], [`url`] |

pub mod acme;
pub mod admin;
pub mod bench;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credential;
pub mod daemon;
pub mod data_dir;
pub mod der;
pub mod display_name;
pub mod http;
pub mod https_client;
pub mod ingress;
pub mod metrics;
pub mod net;
pub mod password;
pub mod plural;
pub mod public_key;
pub mod rate;
pub mod relay;
pub mod room;
pub mod secret;
pub mod service;
pub mod storage;
pub mod stun;
pub mod text_file;
pub mod tls;
pub mod token;
pub mod turn;
pub mod url;
