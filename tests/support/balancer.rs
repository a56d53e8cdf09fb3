//! HAProxy in front of several nodes: each new connection goes to the next one.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use tempfile::TempDir;

/// A running HAProxy; killed when dropped.
pub(crate) struct Balancer {
    address: SocketAddr,
    child: Child,
    _directory: TempDir,
}

impl Balancer {
    pub(crate) fn start(nodes: impl IntoIterator<Item = SocketAddr>) -> Balancer {
        // HAProxy inherits the socket: connections wait in its queue until HAProxy has started.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        fcntl_setfd(&listener, FdFlags::empty()).expect("a socket that is inherited");
        let mut configuration = format!(
            "defaults\n  mode tcp\n  timeout connect 60s\n  timeout client 1h\n  timeout server 1h\n\
             listen nodes\n  bind fd@{}\n  balance roundrobin\n",
            listener.as_raw_fd()
        );
        for (number, node) in nodes.into_iter().enumerate() {
            configuration += &format!("  server n{number} {node}\n");
        }
        let directory = TempDir::new().expect("a temporary directory");
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, configuration).expect("a file");
        let child = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(file)
            .stdin(Stdio::null())
            .spawn()
            .expect("haproxy starts; install it");
        Balancer {
            address: listener.local_addr().expect("an address"),
            child,
            _directory: directory,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
