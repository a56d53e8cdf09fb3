//! The command line. Scripts rely on these names.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::admin::AdminCommand;
use crate::config::Flag;

use super::bench_args::BenchCommand;
use super::store::StoreCommand;

/// Voice rooms in one binary: WebRTC signaling, STUN/TURN relay, and rooms in SQLite or PostgreSQL.
#[derive(Debug, Parser)]
#[command(
    name = "parlor",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(super) struct Cli {
    /// Configuration file [default: ./config.toml if it belongs to root or you and only its owner can
    /// write it, else /etc/parlor/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print one JSON value on standard output, for scripts
    #[arg(long, global = true)]
    pub json: bool,

    /// Directory of the database and the secrets (server.data_dir)
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server: page, API, signaling and relay
    Serve {
        #[command(flatten)]
        settings: Serve,
        /// Print a new invite link for guests when the server is ready
        #[arg(long)]
        invite: bool,
    },
    /// Check the configuration: list all errors and warnings
    Check(Serve),
    /// Show the effective configuration without secrets, and the source of each value
    Config(Serve),
    #[command(flatten)]
    Admin(AdminCommand),
    /// Measure how much a relay or this machine can carry
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Move the data between SQLite and PostgreSQL
    #[command(subcommand)]
    Store(StoreCommand),
    /// List the ports to open in a firewall
    Ports,
    /// Print the version
    Version,
    /// Print the licences of third-party code in this program
    Licences,
}

#[derive(Debug, Args)]
#[group(id = "settings")]
pub(super) struct Serve {
    /// Addresses for HTTP, separated by commas (http.listen)
    #[arg(long, value_name = "ADDRESSES")]
    pub listen: Option<String>,
    /// Addresses for STUN and TURN, separated by commas (turn.listen)
    #[arg(long, value_name = "ADDRESSES")]
    pub turn_listen: Option<String>,
    /// Public URL, such as https://talk.example.org (server.public_url)
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Public address of this host for relayed media: an address or name, PUBLIC/PRIVATE, or auto
    /// (turn.external_ip)
    #[arg(long, value_name = "ADDRESS")]
    pub external_ip: Option<String>,
}

impl Cli {
    /// Returns the flags that override settings.
    pub(super) fn settings(&self) -> Vec<Flag> {
        let flag =
            |name, key, text: &Option<String>| text.clone().map(|text| Flag { name, key, text });
        let mut flags = vec![flag("--data-dir", "server.data_dir", &self.data_dir)];
        if let Command::Serve {
            settings: serve, ..
        }
        | Command::Check(serve)
        | Command::Config(serve) = &self.command
        {
            flags.extend([
                flag("--listen", "http.listen", &serve.listen),
                flag("--turn-listen", "turn.listen", &serve.turn_listen),
                flag("--public-url", "server.public_url", &serve.public_url),
                flag("--external-ip", "turn.external_ip", &serve.external_ip),
            ]);
        }
        flags.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Schema;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_that_overrides_a_setting_names_itself_and_a_known_key() {
        let all = [
            "parlor",
            "serve",
            "--data-dir=a",
            "--listen=b",
            "--turn-listen=c",
            "--public-url=d",
            "--external-ip=e",
        ];
        let flags = Cli::parse_from(all).settings();
        let given: Vec<_> = flags
            .iter()
            .map(|flag| format!("{}={}", flag.name, flag.text))
            .collect();
        assert_eq!(given, all[2..]);
        let schema = Schema::known();
        assert!(
            flags
                .iter()
                .all(|flag| schema.default_of(flag.key).is_some())
        );
    }
}
