//! HAProxy in front of several nodes.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use tempfile::TempDir;

/// A running HAProxy; killed when dropped.
pub(crate) struct Haproxy(Child);

impl Haproxy {
    pub(crate) fn start(configuration: &Path) -> Haproxy {
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(configuration);
        let child = command.stdin(Stdio::null()).spawn();
        Haproxy(child.expect("haproxy starts; install it"))
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A HAProxy at a port that the kernel picks.
pub(crate) struct Balancer {
    address: SocketAddr,
    _haproxy: Haproxy,
    directory: TempDir,
}

impl Balancer {
    /// Each new connection goes to the next node.
    pub(crate) fn start(nodes: impl IntoIterator<Item = SocketAddr>) -> Balancer {
        Balancer::with(|bind, _| {
            let mut configuration = format!(
                "defaults\n  mode tcp\n  timeout connect 60s\n  timeout client 1h\n  timeout server 1h\n\
                 listen nodes\n  bind {bind}\n  balance roundrobin\n"
            );
            for (number, node) in nodes.into_iter().enumerate() {
                configuration += &format!("  server n{number} {node}\n");
            }
            configuration
        })
    }

    /// Starts HAProxy with a configuration for the address of `bind`, given that and a temporary directory.
    pub(crate) fn with(configuration: impl FnOnce(&str, &Path) -> String) -> Balancer {
        // HAProxy inherits the socket: connections wait in its queue until HAProxy has started.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        fcntl_setfd(&listener, FdFlags::empty()).expect("a socket that is inherited");
        let directory = TempDir::new().expect("a temporary directory");
        let bind = format!("fd@{}", listener.as_raw_fd());
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, configuration(&bind, directory.path())).expect("a file");
        Balancer {
            address: listener.local_addr().expect("an address"),
            _haproxy: Haproxy::start(&file),
            directory,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}
