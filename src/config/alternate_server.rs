//! Validation of `turn.alternate_server`.

use super::Turn;
use super::value_source::Violation;

/// Returns every violation of `turn.alternate_server`.
pub(super) fn violations(turn: &Turn) -> Vec<Violation> {
    let servers = &turn.alternate_server;
    let violations = servers.iter().enumerate().filter_map(|(index, server)| {
        const KEY: &str = "turn.alternate_server";
        let mut before = servers[..index].iter();
        if server.port() == 0 || server.ip().is_unspecified() {
            let text = format!("must be an address that clients can reach, not {server}");
            Some(Violation::new(KEY, text))
        } else if before.any(|other| other.is_ipv4() == server.is_ipv4()) {
            let text = "must name one address of each family at most: clients are messages of one";
            Some(Violation::new(KEY, text))
        } else if turn.listen.contains(server) {
            let text = format!("names {server}, which is this server's own (turn.listen)");
            Some(Violation::with(KEY, &["turn.listen"], text))
        } else {
            None
        }
    });
    violations.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(change: impl FnOnce(&mut Turn)) -> Vec<String> {
        let mut turn = Turn::default();
        change(&mut turn);
        let violations = violations(&turn).into_iter();
        violations
            .map(|violation| format!("{} {}", violation.key, violation.text))
            .collect()
    }

    #[test]
    fn an_alternate_server_is_one_per_family_and_not_this_server() {
        let servers = |servers: &[&str]| {
            let servers = servers.iter().map(|text| text.parse().unwrap()).collect();
            report(|turn| {
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
            let messages = servers(wrong);
            assert!(
                messages.len() == 1 && messages[0].contains(why),
                "{messages:?}"
            );
        }
    }
}
