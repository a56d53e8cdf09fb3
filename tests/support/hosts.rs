//! Hosts in network namespaces of their own, which reach the server and not each other.
//!
//! The server runs in the namespace of the test. Its address is a public one, since the relay refuses others as peers.

use std::process::Command;
use std::sync::Once;

use super::namespace::INSIDE;

/// The server's address on the network of the host that has no NAT.
pub(crate) const SERVER: &str = "198.41.0.1";

/// A host in a namespace of its own.
#[derive(Clone, Copy)]
pub(crate) struct Host(&'static str);

/// A host behind a NAT: its packets reach the server from the router's address.
pub(crate) const BEHIND_NAT: Host = Host("inside");
/// A host that reaches the server without a NAT.
pub(crate) const DIRECT: Host = Host("direct");
/// The router with the NAT.
pub(crate) const ROUTER: Host = Host("router");

const NETWORK: &str = "
set -e
mkdir -p /run/netns
mount -t tmpfs none /run/netns
for host in router inside direct; do
    ip netns add $host
    ip -n $host link set lo up
    # A link-local address that comes late ends the requests of a browser (ERR_NETWORK_CHANGED).
    ip netns exec $host sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
done
ip link add wan type veth peer name eth0 netns router
ip link add lan netns router type veth peer name eth0 netns inside
ip link add dmz type veth peer name eth0 netns direct
ip address add 198.41.0.1/24 dev wan
ip address add 198.41.1.1/24 dev dmz
ip link set wan up
ip link set dmz up
ip -n router address add 198.41.0.2/24 dev eth0
ip -n router address add 10.0.0.1/24 dev lan
ip -n router link set eth0 up
ip -n router link set lan up
ip -n router route add default via 198.41.0.1
ip -n inside address add 10.0.0.2/24 dev eth0
ip -n inside link set eth0 up
ip -n inside route add default via 10.0.0.1
ip -n direct address add 198.41.1.2/24 dev eth0
ip -n direct link set eth0 up
ip -n direct route add default via 198.41.1.1
ip netns exec router sysctl -q -w net.ipv4.ip_forward=1
sysctl -q -w net.ipv4.ip_forward=0
ip netns exec router nft -f - <<'RULES'
table ip nat {
    chain post {
        type nat hook postrouting priority srcnat; policy accept;
        oifname \"eth0\" masquerade random,fully-random
    }
}
RULES
";

/// Makes the hosts, once for a process that runs in namespaces of its own. Returns `false` in one that does not.
pub(crate) fn may_make_hosts() -> bool {
    static MADE: Once = Once::new();
    let boxed = std::env::var_os(INSIDE).is_some();
    if boxed {
        MADE.call_once(|| {
            let made = Command::new("sh").args(["-c", NETWORK]).status();
            assert!(made.expect("sh runs").success(), "the hosts are made");
        });
    }
    boxed
}

impl Host {
    /// A command on this host.
    pub(crate) fn command(self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.0, program]);
        command
    }

    /// Forgets the connections that the NAT of this host knows, or only the UDP flows: their next packets come from
    /// other ports.
    pub(crate) fn rebinds(self, only_udp: bool) {
        let which: &[&str] = if only_udp {
            &["-D", "-p", "udp"]
        } else {
            &["-F"]
        };
        let flushed = self.command("conntrack").args(which).output();
        let flushed = flushed.expect("conntrack runs");
        assert!(flushed.status.success(), "{flushed:?}");
    }
}
