//! Validation of `turn.alternate_port`, and the address pairs for NAT behaviour discovery.

use std::net::SocketAddr;

use super::Turn;
use super::value_source::Violation;

/// The address pairs for RFC 5780: of each family the first two of `turn.listen` with the same
/// port. Empty if `turn.alternate_port` is 0.
pub fn discovery_pairs(turn: &Turn) -> Vec<[SocketAddr; 2]> {
    if turn.alternate_port == 0 {
        return Vec::new();
    }
    let single = |address: &&SocketAddr| address.port() != 0 && !address.ip().is_unspecified();
    let pair = |v4: bool| {
        let ours = turn.listen.iter().filter(single);
        let ours: Vec<_> = ours.filter(|address| address.is_ipv4() == v4).collect();
        ours.iter().enumerate().find_map(|(index, one)| {
            let mut behind = ours[index + 1..].iter();
            let other = behind.find(|other| other.port() == one.port() && other.ip() != one.ip());
            other.map(|other| [**one, **other])
        })
    };
    [true, false].into_iter().filter_map(pair).collect()
}

/// Returns every violation of `turn.alternate_port`.
pub(super) fn violations(turn: &Turn) -> Vec<Violation> {
    const KEY: &str = "turn.alternate_port";
    const LISTEN: &[&str] = &["turn.listen"];
    let port = turn.alternate_port;
    let pairs = discovery_pairs(turn);
    if port != 0 && pairs.is_empty() {
        let text = "needs two addresses of one family with the same port in turn.listen, \
                    such as 192.0.2.1:3478 and 192.0.2.2:3478 (0.0.0.0 and [::] are none)";
        return vec![Violation::with(KEY, LISTEN, text)];
    }
    let addresses = pairs.iter().flatten();
    let violations = addresses.filter_map(|address| {
        let other = SocketAddr::new(address.ip(), port);
        let text = match port == address.port() {
            true => format!("must be another port than {port}, which turn.listen has"),
            false if turn.listen.contains(&other) => {
                format!("makes {other}, which turn.listen has already")
            }
            false => return None,
        };
        Some(Violation::with(KEY, LISTEN, text))
    });
    // One error is enough.
    violations.take(1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(listen: &[&str], alternate_port: u16) -> Turn {
        Turn {
            listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
            alternate_port,
            ..Turn::default()
        }
    }

    fn report(listen: &[&str], alternate_port: u16) -> Vec<String> {
        let violations = violations(&turn(listen, alternate_port)).into_iter();
        violations
            .map(|violation| {
                assert_eq!(violation.key, "turn.alternate_port");
                violation.text
            })
            .collect()
    }

    #[test]
    fn two_addresses_of_a_family_with_the_same_port_are_a_pair() {
        let listen = [
            "0.0.0.0:3478",
            "192.0.2.1:3477",
            "192.0.2.2:3478",
            "192.0.2.3:3478",
            "192.0.2.4:3478",
            "[2001:db8::1]:3478",
        ];
        let pair = ["192.0.2.2:3478", "192.0.2.3:3478"].map(|text| text.parse().unwrap());
        assert_eq!(discovery_pairs(&turn(&listen, 3479)), [pair]);
        assert_eq!(discovery_pairs(&turn(&listen, 0)), [[pair[0]; 2]; 0]);
        assert_eq!(report(&listen, 3479), [""; 0]);
    }

    #[test]
    fn the_alternate_port_needs_two_addresses_and_differs_from_the_port() {
        let two = ["192.0.2.1:3478", "192.0.2.2:3478"];
        for (listen, port, why) in [
            (&["0.0.0.0:3478", "[::]:3478"][..], 3479, "two addresses"),
            (&["192.0.2.1:3478", "192.0.2.2:3477"], 3479, "same port"),
            (
                &["192.0.2.1:3478", "[2001:db8::1]:3478"],
                3479,
                "one family",
            ),
            (&["127.0.0.1:0", "127.0.0.2:0"], 3479, "same port"),
            (&two, 3478, "another port"),
            (&[&two[..], &["192.0.2.2:3479"]].concat(), 3479, "already"),
        ] {
            let messages = report(listen, port);
            assert!(
                messages.len() == 1 && messages[0].contains(why),
                "{messages:?}"
            );
        }
        assert_eq!(report(&["0.0.0.0:3478"], 0), [""; 0]);
    }
}
