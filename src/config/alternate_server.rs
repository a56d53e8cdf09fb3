//! What `turn.alternate_server` must be.

use super::Turn;
use super::origin::Fault;

/// Every fault of what clients are told of other places.
pub fn faults(turn: &Turn) -> Vec<Fault> {
    let servers = &turn.alternate_server;
    let faults = servers.iter().enumerate().filter_map(|(index, server)| {
        const KEY: &str = "turn.alternate_server";
        let mut before = servers[..index].iter();
        if server.port() == 0 || server.ip().is_unspecified() {
            let text = format!("must be an address that clients can reach, not {server}");
            Some(Fault::new(KEY, text))
        } else if before.any(|other| other.is_ipv4() == server.is_ipv4()) {
            let text = "must name one address of each family at most: clients are told of one";
            Some(Fault::new(KEY, text))
        } else if turn.listen.contains(server) {
            let text = format!("names {server}, which is this server's own (turn.listen)");
            Some(Fault::with(KEY, &["turn.listen"], text))
        } else {
            None
        }
    });
    faults.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(change: impl FnOnce(&mut Turn)) -> Vec<String> {
        let mut turn = Turn::default();
        change(&mut turn);
        let faults = faults(&turn).into_iter();
        faults
            .map(|fault| format!("{} {}", fault.key, fault.text))
            .collect()
    }

    #[test]
    fn another_server_is_one_of_each_family_and_not_this_one() {
        let servers = |servers: &[&str]| {
            let servers = servers.iter().map(|text| text.parse().unwrap()).collect();
            told(|turn| {
                turn.listen = vec!["192.0.2.1:3478".parse().unwrap()];
                turn.alternate_server = servers;
            })
        };
        assert_eq!(servers(&["192.0.2.2:3478", "[2001:db8::2]:3478"]), [""; 0]);
        for (wrong, why) in [
            (
                &["192.0.2.2:3478", "192.0.2.3:3478"][..],
                "one address of each family",
            ),
            (&["192.0.2.1:3478"], "this server's own"),
            (&["192.0.2.2:0"], "can reach"),
            (&["0.0.0.0:3478"], "can reach"),
        ] {
            let told = servers(wrong);
            assert!(told.len() == 1 && told[0].contains(why), "{told:?}");
        }
    }
}
