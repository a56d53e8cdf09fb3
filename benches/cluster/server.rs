//! The Redis server of the run, and what it spends.

use std::fs;
use std::process::{Command, Stdio};

use redis::Connection;

use crate::redis_server::Server as Process;

pub(crate) struct Server {
    process: Process,
    port: u16,
}

impl Server {
    pub(crate) fn start() -> Server {
        let port = Process::unused_port();
        let process = Process::start_with(&format!("--port {port} --bind 127.0.0.1"));
        let server = Server { process, port };
        pin(server.pid(), 0);
        server
    }

    /// Ends the server, and starts it again, empty.
    pub(crate) fn restart(&self) {
        self.process.kill();
        self.process.restart();
        pin(self.pid(), 0);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn connect(&self) -> Connection {
        let client = redis::Client::open(self.url()).expect("a URL");
        client.get_connection().expect("a connection")
    }

    fn pid(&self) -> u32 {
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query(&mut self.connect())
            .expect("an answer");
        let pid = info
            .lines()
            .find_map(|line| line.strip_prefix("process_id:"));
        pid.and_then(|pid| pid.parse().ok()).expect("a process")
    }

    /// Microseconds of all threads on a core so far.
    pub(crate) fn cpu(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid()));
        let ran = tasks.expect("a process").filter_map(|task| {
            let figures = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            figures.split(' ').next()?.parse::<f64>().ok()
        });
        ran.sum::<f64>() / 1e3
    }
}

/// Has a process run on one core, where that can be arranged.
pub(crate) fn pin(pid: u32, core: usize) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return;
    }
    let mut command = Command::new("taskset");
    command.args(["-a", "-c", "-p", &core.to_string(), &pid.to_string()]);
    let _ = command.stdout(Stdio::null()).status();
}
