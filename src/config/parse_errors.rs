//! Turns parser errors of a value into text for the author of the value.

use std::net::{IpAddr, SocketAddr};

/// The error text of std for every text that is not an address with a port.
const STD_ADDRESS_ERROR: &str = "invalid socket address syntax";

/// Rewrites `reason` for this text; returns a readable reason unchanged.
pub(super) fn for_readers(reason: &str, text: &str) -> String {
    if reason == STD_ADDRESS_ERROR {
        return address_error(text.trim());
    }
    match expected_choices(reason) {
        Some(choices) => choice_error(text, &choices),
        None => reason.to_owned(),
    }
}

/// The expected form of an address, derived from the given text.
fn address_error(text: &str) -> String {
    let shape = "it must be an address and a port";
    if let Ok(ip) = text.parse::<IpAddr>() {
        return format!("it has no port: write {}", SocketAddr::new(ip, 8000));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = match port.parse::<u16>() {
        // Port 0 means any free port, which is hardly intended if it stands alone.
        Ok(0) if host.is_empty() => 8000,
        Ok(port) => port,
        Err(_) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            return "a port is a number up to 65535".to_owned();
        }
        Err(_) => return format!("{shape}, such as 127.0.0.1:8000 or [::1]:8000"),
    };
    match host {
        "" | "*" => format!(
            "{shape}: write 0.0.0.0:{port} and [::]:{port} for every address of this host, \
             127.0.0.1:{port} for this host alone"
        ),
        "localhost" => format!("{shape}, not a name: write 127.0.0.1:{port} and [::1]:{port}"),
        host if host.parse::<std::net::Ipv6Addr>().is_ok() => {
            format!("{shape}, with IPv6 in brackets: write [{host}]:{port}")
        }
        _ => format!("{shape}, not a name: write the address of this host, or 0.0.0.0:{port}"),
    }
}

/// The values that serde expected in place of an unknown one.
fn expected_choices(reason: &str) -> Option<Vec<&str>> {
    let (_, expected) = reason
        .strip_prefix("unknown variant ")?
        .rsplit_once(", expected ")?;
    let choices: Vec<_> = expected.split('`').skip(1).step_by(2).collect();
    (!choices.is_empty()).then_some(choices)
}

fn choice_error(text: &str, choices: &[&str]) -> String {
    let likeness = |choice: &str| {
        strsim::normalized_damerau_levenshtein(&choice.to_lowercase(), &text.to_lowercase())
    };
    let near = choices.iter().map(|choice| (likeness(choice), choice));
    let near = near.max_by(|(a, _), (b, _)| a.total_cmp(b));
    let near = match near.filter(|(likeness, _)| *likeness > 0.5) {
        Some((_, near)) => format!("; did you mean {near}?"),
        None => String::new(),
    };
    format!("it must be one of {}{near}", choices.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_wrong_address_gets_a_suggestion() {
        for (text, expected) in [
            ("0", "write 0.0.0.0:8000 and [::]:8000"),
            ("8000", "write 0.0.0.0:8000 and [::]:8000"),
            (":8000", "write 0.0.0.0:8000 and [::]:8000"),
            ("*:8000", "127.0.0.1:8000 for this host alone"),
            ("localhost:8000", "write 127.0.0.1:8000 and [::1]:8000"),
            ("talk.example.org:443", "not a name"),
            ("127.0.0.1", "has no port: write 127.0.0.1:8000"),
            ("::1", "has no port: write [::1]:8000"),
            ("fe80::1%eth0", "such as 127.0.0.1:8000"),
            (
                "2001:db8:0:0:0:0:0:1:443",
                "write [2001:db8:0:0:0:0:0:1]:443",
            ),
            ("127.0.0.1:80000", "up to 65535"),
            ("127.0.0.1:", "such as 127.0.0.1:8000"),
            ("here", "such as 127.0.0.1:8000"),
            ("", "such as 127.0.0.1:8000"),
        ] {
            let messages = for_readers(STD_ADDRESS_ERROR, text);
            assert!(messages.contains(expected), "{text}: {messages}");
        }
        let std_says = "here".parse::<SocketAddr>().unwrap_err().to_string();
        assert_eq!(std_says, STD_ADDRESS_ERROR);
    }

    #[test]
    fn an_unknown_value_gets_the_list_of_known_values() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        enum Mode {
            Off,
            SelfSigned,
        }
        let message = |text: &str| {
            let read = serde_json::from_value::<Mode>(text.into());
            for_readers(&read.unwrap_err().to_string(), text)
        };
        let _ = (Mode::Off, Mode::SelfSigned);
        assert_eq!(message("x"), "it must be one of off, self-signed");
        assert_eq!(
            message("selfsigned"),
            "it must be one of off, self-signed; did you mean self-signed?"
        );
        assert_eq!(
            message("OFF"),
            "it must be one of off, self-signed; did you mean off?"
        );
        // A value that contains the error text of serde.
        assert!(message("x`, expected `y`").starts_with("it must be one of off, self-signed"));
        assert_eq!(
            for_readers("`x` is not a duration", "x"),
            "`x` is not a duration"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(reason in ".*", text in ".*", address in "[0-9a-f:.*]{0,20}") {
            for_readers(&reason, &text);
            for_readers(&format!("unknown variant `{text}`, expected {reason}"), &text);
            for_readers(STD_ADDRESS_ERROR, &text);
            for_readers(STD_ADDRESS_ERROR, &address);
        }
    }
}
