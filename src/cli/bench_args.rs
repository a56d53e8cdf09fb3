//! The arguments of `parlor bench`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::bench::{self, Uri};
use crate::config::duration;

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Measure how many calls this machine can carry, with a server of its own, in under a minute
    Local(Local),
    /// Load a TURN server with pairs of clients and measure loss and latency
    Relay(Relay),
}

#[derive(Debug, Args)]
pub(super) struct Local {
    /// Sizes of calls, from 2 to 20 people; each pair of people has a connection of its own
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "2,5",
          num_args = 1, value_parser = people)]
    pub people: Vec<usize>,
    /// Duration per size of call, from 1 to 60
    #[arg(long, default_value = "20", value_parser = up_to_60)]
    pub seconds: u64,
    /// Maximum packet loss of a call
    #[arg(long, value_name = "PERCENT", default_value = "0.1", value_parser = percent)]
    pub max_loss: f64,
    /// Maximum latency of 99 % of the packets: from 1ms to 1s
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = latency)]
    pub max_p99: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Authentication: with the server's secret (PARLOR_BENCH_SECRET, --secret-file or --secret-stdin), each \
client is a user of its own; with --username and PARLOR_BENCH_CREDENTIAL, all clients are the same user.")]
pub(super) struct Relay {
    /// TURN URI, such as turn:talk.example.org:3478?transport=udp
    #[arg(long, value_name = "URI", value_parser = Uri::parse)]
    pub server: Uri,
    /// Number of clients: even, from 2 to 20,000
    #[arg(long, value_name = "N", value_parser = clients)]
    pub clients: usize,
    /// Packets per second of each client, from 1 to 10,000
    #[arg(long, value_name = "R", value_parser = rate)]
    pub rate: u32,
    /// Packet size in bytes, from 12 to 1,200
    #[arg(long, value_name = "B", default_value = "160", value_parser = size)]
    pub size: usize,
    /// Duration, from 1 to 200 (permissions and channels are not refreshed)
    #[arg(long, default_value = "10", value_parser = up_to_200)]
    pub seconds: u64,
    /// File with the server's secret
    #[arg(long, value_name = "FILE", conflicts_with_all = ["secret_stdin", "username"])]
    pub secret_file: Option<PathBuf>,
    /// Read the server's secret from standard input
    #[arg(long, conflicts_with = "username")]
    pub secret_stdin: bool,
    /// User name; its password is in PARLOR_BENCH_CREDENTIAL
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
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
        _ => Err("clients come in pairs: use an even number".to_owned()),
    }
}

fn number<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (first, last) = (range.start(), range.end());
        format!("it must be a whole number from {first} to {last}")
    })
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|one| (0.0..=50.0).contains(one));
    percent.ok_or_else(|| "it must be a number from 0 to 50".to_owned())
}

fn latency(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    let range = Duration::from_millis(1)..=Duration::from_secs(1);
    if range.contains(&time) {
        Ok(time)
    } else {
        Err("it must be from 1ms to 1s".to_owned())
    }
}
