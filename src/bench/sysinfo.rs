//! Usage of threads, cores and sockets, as reported by the kernel. Without `/proc` (systems other than Linux),
//! the numbers are 0 and are not interpreted.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

use crate::clock::{self, Mono};

/// The counters at one moment.
pub(super) struct Sample {
    at: Mono,
    /// CPU time of each thread of the server.
    threads: HashMap<String, Duration>,
    /// Idle ticks and total ticks of all cores.
    idle: (u64, u64),
    cores: usize,
    /// Datagrams dropped because the server's listening socket was full.
    dropped_at_server: u64,
    /// Datagrams dropped because any socket was full.
    dropped_anywhere: u64,
}

/// The difference between two samples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// CPU time of the server.
    pub server: Duration,
    /// Share of one core that the server's busiest thread used, from 0 to 1.
    pub server_busiest: f64,
    /// Idle share of all cores, from 0 to 1.
    pub idle: f64,
    /// Number of busy cores, by any process.
    pub busy_cores: f64,
    pub lost_at_server: u64,
    pub lost_elsewhere: u64,
}

impl Sample {
    /// Reads the counters of the server with this process id and UDP port.
    pub(super) fn take(pid: u32, port: u16) -> Sample {
        Sample {
            at: clock::now().mono,
            threads: threads(pid),
            idle: idle(),
            cores: host_cores(),
            dropped_at_server: dropped_at_server(port),
            dropped_anywhere: dropped_anywhere(),
        }
    }

    pub(super) fn since(&self, before: &Sample) -> Usage {
        let passed = self.at.since(before.at).as_secs_f64().max(1e-9);
        let used = self.threads.iter().map(|(thread, time)| {
            let earlier = before.threads.get(thread).copied().unwrap_or_default();
            time.saturating_sub(earlier)
        });
        let used: Vec<Duration> = used.collect();
        let busiest = used.iter().max().copied().unwrap_or_default();
        let ticks = self.idle.1.saturating_sub(before.idle.1).max(1);
        let idle = self.idle.0.saturating_sub(before.idle.0) as f64 / ticks as f64;
        let lost_at_server = self
            .dropped_at_server
            .saturating_sub(before.dropped_at_server);
        let lost = self
            .dropped_anywhere
            .saturating_sub(before.dropped_anywhere);
        Usage {
            server: used.iter().sum(),
            server_busiest: busiest.as_secs_f64() / passed,
            idle,
            busy_cores: self.cores as f64 * (1.0 - idle),
            lost_at_server,
            lost_elsewhere: lost.saturating_sub(lost_at_server),
        }
    }
}

/// Returns the CPU time of the calling thread.
pub(super) fn thread_cpu() -> Duration {
    #[cfg(target_os = "linux")]
    let minted = UsageWho::RUSAGE_THREAD;
    #[cfg(not(target_os = "linux"))]
    let minted = UsageWho::RUSAGE_SELF;
    let Ok(usage) = getrusage(minted) else {
        return Duration::ZERO;
    };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| {
            let (seconds, micros) = (time.tv_sec().max(0), time.tv_usec().max(0));
            Duration::from_secs(seconds as u64) + Duration::from_micros(micros as u64)
        })
        .sum()
}

/// Returns the number of cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// Returns the CPU time per thread, in the scheduler's nanoseconds (`schedstat`).
fn threads(pid: u32) -> HashMap<String, Duration> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return HashMap::new();
    };
    let used = |task: PathBuf| {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        let nanos = text.split_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(nanos))
    };
    let tasks = tasks.flatten().filter_map(|task| {
        let name = task.file_name().into_string().ok()?;
        Some((name, used(task.path())?))
    });
    tasks.collect()
}

fn idle() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks = first.split_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = ticks.map(|ticks| ticks.parse().unwrap_or(0)).collect();
    // The fields `idle` and `iowait`.
    (ticks.iter().skip(3).take(2).sum(), ticks.iter().sum())
}

/// Returns the number of cores of the host; [`cores`] may be lower.
fn host_cores() -> usize {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let rows = text.lines().filter(|row| row.starts_with("cpu"));
    rows.count().saturating_sub(1)
}

/// Sums the last column of the rows with this port: several sockets may share it.
fn dropped_at_server(port: u16) -> u64 {
    let ending = format!(":{port:04X}");
    let dropped = |row: &str| {
        let mut columns = row.split_whitespace();
        columns.nth(1).filter(|local| local.ends_with(&ending))?;
        columns.next_back()?.parse::<u64>().ok()
    };
    let text = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    text.lines().skip(1).filter_map(dropped).sum()
}

fn dropped_anywhere() -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let mut rows = text.lines().filter(|row| row.starts_with("Udp:"));
    let (Some(names), Some(values)) = (rows.next(), rows.next()) else {
        return 0;
    };
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let found = pairs.find(|(name, _)| *name == "RcvbufErrors");
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_datagram_that_is_dropped_at_a_full_socket_is_counted() {
        let full = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&full)
            .set_recv_buffer_size(4096)
            .unwrap();
        let port = full.local_addr().unwrap().port();
        let sample = || Sample::take(std::process::id(), port);
        let before = sample();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            sender
                .send_to(&[0; 1000], full.local_addr().unwrap())
                .unwrap();
        }
        let usage = sample().since(&before);
        assert!(usage.lost_at_server > 50, "{usage:?}");
    }

    #[test]
    fn a_busy_thread_uses_cpu_time() {
        let before = thread_cpu();
        let mut work = 0u64;
        while thread_cpu() - before < Duration::from_millis(5) {
            work = work.wrapping_mul(31).wrapping_add(1);
        }
        assert!(thread_cpu() > before && work != 1);
    }
}
