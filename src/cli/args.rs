//! The command line, as clap reads it. Scripts rely on these names.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::admin::Lifetime;
use crate::bench::{self, Uri};
use crate::clock;
use crate::config::{Flag, duration};
use crate::storage::utc;
use crate::token::{ROOM_ID_RULE, valid_room_id};

/// Voice rooms in one binary: WebRTC signaling, STUN/TURN relay and rooms in SQLite.
#[derive(Debug, Parser)]
#[command(
    name = "parlor",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Configuration file; otherwise ./config.toml (where root or you own it and nobody else may
    /// write it), else /etc/parlor/config.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Answer with one JSON value on standard output, for scripts
    #[arg(long, global = true)]
    pub json: bool,

    /// Where the database and the secrets live (server.data_dir)
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server: page, API, signaling and relay
    Serve {
        #[command(flatten)]
        settings: Serve,
        /// Print a fresh link that lets people in as guests, once everything is served
        #[arg(long)]
        invite: bool,
    },
    /// Tell everything that is wrong with the configuration, and what is unwise
    Check(Serve),
    /// Show the configuration that `serve` would use, without its secrets, and where each value is from
    Config(Serve),
    #[command(flatten)]
    AdminCommand(AdminCommand),
    /// Find out how much a relay carries
    #[command(subcommand)]
    Bench(Bench),
    /// List the ports to open in a firewall, and why
    Ports,
    /// Print the version
    Version,
    /// Print the licences of everybody whose code is in this program
    Licences,
}

/// Commands that the running parlor carries out; where none runs, this process does on the database.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Add, list, disable and delete users
    #[command(subcommand)]
    User(User),
    /// Create, list and close rooms, and add members
    #[command(subcommand)]
    Room(Room),
    /// Invite people who are not users
    #[command(subcommand)]
    Invite(Invite),
    /// Issue tokens that the API and signaling accept
    #[command(subcommand)]
    Token(Token),
    /// Mint credentials for the relay
    #[command(subcommand)]
    Turn(Turn),
    /// Tell how the running parlor is: since when, where, fit for traffic or not, how much in use
    Status,
    /// List who is connected to which room, over which transport, since when, and bytes relayed
    Sessions {
        /// A row for each WebSocket and each allocation, instead of one for each person
        #[arg(long)]
        all: bool,
    },
    /// End one connection or relay of somebody who is connected
    #[command(subcommand)]
    Session(Session),
    /// Make the running parlor read its configuration anew: what can change does at once, and a
    /// bad one is refused whole
    Reload,
    /// Empty the running parlor, then end it: nobody new comes in, connections are asked to go
    /// elsewhere, room by room, and calls finish
    Drain {
        /// How long it may take
        #[arg(long, default_value = "10m", value_parser = ttl)]
        timeout: Lifetime,
        /// Return at once, instead of when the server has ended
        #[arg(long)]
        detach: bool,
    },
    /// Have the running parlor go on as the program that lies at its path by now, calls over UDP
    /// included; one that can't be started with this configuration is refused (Linux)
    Upgrade,
}

impl AdminCommand {
    /// Whether the command is useful without a database: it creates one then. `provisions` says whether a
    /// token creates its user.
    pub fn creates_database(&self, provisions: bool) -> bool {
        match self {
            AdminCommand::User(User::Add { .. }) | AdminCommand::Room(Room::Create { .. }) => true,
            AdminCommand::Token(Token::Issue(_)) => provisions,
            _ => false,
        }
    }

    /// Whether it is no use without a running parlor; then the failure says all there is to say.
    pub fn requires_server(&self) -> bool {
        matches!(
            self,
            AdminCommand::Status
                | AdminCommand::Sessions { .. }
                | AdminCommand::Session(_)
                | AdminCommand::Reload
                | AdminCommand::Drain { .. }
                | AdminCommand::Upgrade
        )
    }
}

#[derive(Debug, Args)]
#[group(id = "settings")]
pub struct Serve {
    /// Addresses for HTTP, separated by commas (http.listen)
    #[arg(long, value_name = "ADDRESSES")]
    pub listen: Option<String>,
    /// Addresses for STUN and TURN, separated by commas (turn.listen)
    #[arg(long, value_name = "ADDRESSES")]
    pub turn_listen: Option<String>,
    /// What users type to get here, such as https://talk.example.org (server.public_url)
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// The address that others reach this host by: an address or name, public/private, or auto
    /// (turn.external_ip)
    #[arg(long, value_name = "ADDRESS")]
    pub external_ip: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a user
    Add {
        name: String,
        /// What people see; otherwise the name
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
        /// May do everything
        #[arg(long)]
        admin: bool,
        /// Ask for a password, or take it from PARLOR_PASSWORD; without one there is no login by
        /// password
        #[arg(long)]
        password: bool,
        /// Read a password from standard input
        #[arg(long, conflicts_with = "password")]
        password_stdin: bool,
    },
    /// List users
    List {
        /// List guests instead: who came by an invite, into which room, until when
        #[arg(long)]
        guests: bool,
    },
    /// Show one user, and where they are a member
    Show {
        /// Id or name; `id:…` is always an id
        user: String,
    },
    /// Keep a user out, at once: connections and relays end, invites of theirs open nothing any more
    Disable {
        /// Id or name; `id:…` is always an id
        user: String,
    },
    /// Let a disabled user in again
    Enable {
        /// Id or name; `id:…` is always an id
        user: String,
    },
    /// Give a user another password: it is asked for, or taken from PARLOR_PASSWORD
    Passwd {
        /// Id or name; `id:…` is always an id
        user: String,
        /// Read it from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// End all tokens of a user or guest, at once: connections and relays end, and they sign in again
    SignOut {
        /// Id or name, of a guest too; `id:…` is always an id
        user: String,
    },
    /// Delete a user for good; the id stays refused, and what they wrote stays in its rooms
    Delete {
        /// Id or name; `id:…` is always an id
        user: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Room {
    /// Create a room
    Create {
        name: String,
        /// 1 to 128 of A-Z a-z 0-9 . _ ~ -; otherwise a UUID
        #[arg(long, value_parser = id)]
        id: Option<String>,
        /// 1 to 1,000,000; otherwise no limit
        #[arg(long, value_name = "N", value_parser = participants)]
        max_participants: Option<u32>,
        /// Only members and the invited may enter
        #[arg(long)]
        private: bool,
    },
    /// List open rooms
    List,
    /// Show one room, and who is a member
    Show {
        /// Id or name; `id:…` is always an id
        room: String,
    },
    /// Close a room for good, at once: connections and relays end
    Close {
        /// Id or name; `id:…` is always an id
        room: String,
    },
    /// Close a room, and erase its name, messages and invites
    Delete {
        /// Id or name; `id:…` is always an id
        room: String,
    },
    /// Make a user a member, without a connection
    AddMember {
        /// Id or name; `id:…` is always an id
        room: String,
        /// Id or name; `id:…` is always an id
        user: String,
    },
    /// Remove somebody from a room, at once; they may join again after rooms.kick_pause
    Kick {
        /// Id or name; `id:…` is always an id
        room: String,
        /// Id or name, of a guest too; `id:…` is always an id
        user: String,
    },
    /// Remove somebody from a room and keep them out; the invite that a guest came by is revoked
    Ban {
        /// Id or name; `id:…` is always an id
        room: String,
        /// Id or name, of a guest too; `id:…` is always an id
        user: String,
        /// When the ban ends: in 2h or 7d, or at 2026-12-31 or 2026-12-31T18:00:00Z (UTC);
        /// otherwise never
        #[arg(long, value_name = "T", value_parser = until)]
        until: Option<u64>,
        /// Why; `parlor room bans` shows it
        #[arg(long, value_name = "R")]
        reason: Option<String>,
        /// Leave the link that the guest came by to the others who have it
        #[arg(long)]
        keep_invite: bool,
    },
    /// End a ban
    Unban {
        /// Id or name; `id:…` is always an id
        room: String,
        /// Id or name, of a guest too; `id:…` is always an id
        user: String,
    },
    /// List who is banned from a room
    Bans {
        /// Id or name; `id:…` is always an id
        room: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Invite {
    /// Make a link that lets people into a room as guests
    Create {
        /// Id or name; `id:…` is always an id
        room: String,
        /// How long it is good for
        #[arg(long, default_value = "7d", value_parser = ttl)]
        ttl: Lifetime,
        /// How many people it lets in; otherwise as many as come
        #[arg(long, value_name = "N", value_parser = uses)]
        uses: Option<NonZeroU32>,
    },
    /// List invites that still open a room
    List {
        /// Those of this room alone (id or name; `id:…` is always an id)
        room: Option<String>,
    },
    /// Make an invite open nothing any more
    Revoke {
        /// As `parlor invite list` shows it
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Session {
    /// Close one WebSocket, or free one allocation, at once. Whoever had it may come back: `user
    /// disable` and `room ban` keep a user out
    Kill {
        /// As `parlor sessions --all` shows it, or its first 4 digits or more
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Issue a token for a user
    Issue(Grant),
}

#[derive(Debug, Subcommand)]
pub enum Turn {
    /// Mint a credential for a user
    Credential(Grant),
}

/// What a token and a credential are made of.
#[derive(Debug, Args)]
pub struct Grant {
    /// Id or name; `id:…` is always an id
    pub user: String,
    /// How long it is good for
    #[arg(long, default_value = "1h", value_parser = ttl)]
    pub ttl: Lifetime,
    /// Good for this room alone (id or name; `id:…` is always an id)
    #[arg(long)]
    pub room: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Tell how many calls this machine carries, and what stops it: starts a server of its own and
    /// loads it, in under a minute
    Local(Local),
    /// Load any TURN server with clients in pairs, and tell what came through
    Relay(Relay),
}

#[derive(Debug, Args)]
pub struct Local {
    /// People in a call, from 2 to 20; each pair of them is a connection of its own
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "2,5",
          num_args = 1, value_parser = people)]
    pub people: Vec<usize>,
    /// How long to measure for each size of call, from 1 to 60
    #[arg(long, default_value = "20", value_parser = up_to_60)]
    pub seconds: u64,
    /// How many of a hundred packets a call may lose
    #[arg(long, value_name = "PERCENT", default_value = "0.1", value_parser = percent)]
    pub max_loss: f64,
    /// What 99 of 100 packets may take: from 1ms to 1s
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = short)]
    pub max_p99: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Who the clients are: with the server's secret, in PARLOR_BENCH_SECRET, --secret-file or \
--secret-stdin, each is a user of its own; with --username and PARLOR_BENCH_CREDENTIAL, all are \
the same one.")]
pub struct Relay {
    /// Such as turn:talk.example.org:3478?transport=udp
    #[arg(long, value_name = "URI", value_parser = Uri::parse)]
    pub server: Uri,
    /// An even number, from 2 to 20,000
    #[arg(long, value_name = "N", value_parser = clients)]
    pub clients: usize,
    /// Packets that each client sends in a second, from 1 to 10,000
    #[arg(long, value_name = "R", value_parser = rate)]
    pub rate: u32,
    /// Bytes of a packet, from 12 to 1,200
    #[arg(long, value_name = "B", default_value = "160", value_parser = size)]
    pub size: usize,
    /// How long, from 1 to 200: what is bound is not refreshed
    #[arg(long, default_value = "10", value_parser = up_to_200)]
    pub seconds: u64,
    /// A file that holds the server's secret and nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["secret_stdin", "username"])]
    pub secret_file: Option<PathBuf>,
    /// Read the server's secret from standard input
    #[arg(long, conflicts_with = "username")]
    pub secret_stdin: bool,
    /// The name to log in with; its password is in PARLOR_BENCH_CREDENTIAL
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
}

impl Cli {
    /// The flags that are settings.
    pub fn settings(&self) -> Vec<Flag> {
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

fn id(text: &str) -> Result<String, String> {
    match valid_room_id(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("a room's id is {ROOM_ID_RULE}")),
    }
}

fn uses(text: &str) -> Result<NonZeroU32, &'static str> {
    text.parse()
        .map_err(|_| "it must be a whole number, 1 or more")
}

fn participants(text: &str) -> Result<u32, String> {
    number(text, 1..=1_000_000)
}

fn up_to_60(text: &str) -> Result<u64, String> {
    number(text, 1..=60)
}

fn up_to_200(text: &str) -> Result<u64, String> {
    number(text, 1..=200)
}

fn rate(text: &str) -> Result<u32, String> {
    number(text, 1..=10_000)
}

fn people(text: &str) -> Result<usize, String> {
    number(text, 2..=20)
}

fn size(text: &str) -> Result<usize, String> {
    number(text, bench::MIN_PACKET_BYTES..=1200)
}

fn clients(text: &str) -> Result<usize, String> {
    match number(text, 2..=20_000)? {
        clients if clients % 2 == 0 => Ok(clients),
        _ => Err("clients come in pairs: take an even number".to_owned()),
    }
}

fn number<T>(text: &str, fits: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let number = text.parse().ok().filter(|number| fits.contains(number));
    number.ok_or_else(|| {
        let (first, last) = (fits.start(), fits.end());
        format!("it must be a whole number from {first} to {last}")
    })
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|one| (0.0..=50.0).contains(one));
    percent.ok_or_else(|| "it is a number from 0 to 50".to_owned())
}

fn short(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    let fits = Duration::from_millis(1)..=Duration::from_secs(1);
    match fits.contains(&time) {
        true => Ok(time),
        false => Err("it is from 1ms to 1s".to_owned()),
    }
}

/// Parses a duration from now, or a point in time, into Unix seconds.
fn until(text: &str) -> Result<u64, String> {
    if let Ok(span) = duration::parse(text) {
        let span = Lifetime::new(span)?;
        return Ok(clock::now().unix.saturating_add(span.as_secs()));
    }
    let time = utc::parse(text).or_else(|| utc::parse(&format!("{text}T00:00:00Z")));
    time.ok_or_else(|| {
        "it is neither a duration such as 2h or 7d nor a time such as 2026-12-31 or \
         2026-12-31T18:00:00Z"
            .to_owned()
    })
}

fn ttl(text: &str) -> Result<Lifetime, String> {
    Lifetime::new(duration::parse(text)?).map_err(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Keys;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_that_is_a_setting_names_a_known_key_and_itself() {
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
        let typed: Vec<_> = flags
            .iter()
            .map(|flag| format!("{}={}", flag.name, flag.text))
            .collect();
        assert_eq!(typed, all[2..]);
        let keys = Keys::known();
        assert!(flags.iter().all(|flag| keys.default_of(flag.key).is_some()));
    }
}
