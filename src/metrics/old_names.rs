//! The metric names and label values before 0.2, for dashboards that have not changed yet
//! (`admin.old_metric_names`, until 0.3.0).

/// Current name and old name of each renamed metric, without the suffixes of samples.
pub const METRICS: &[(&str, &str)] = &[
    ("parlor_auth_tokens_rejected", "parlor_auth_refused"),
    (
        "parlor_http_connections_rejected",
        "parlor_http_connections_refused",
    ),
    ("parlor_http_errors", "parlor_http_refused"),
    ("parlor_http_proxy_header_errors", "parlor_http_unannounced"),
    (
        "parlor_http_tls_handshake_errors",
        "parlor_http_handshakes_failed",
    ),
    ("parlor_storage_read_seconds", "parlor_store_read_seconds"),
    (
        "parlor_storage_read_wait_seconds",
        "parlor_store_read_wait_seconds",
    ),
    ("parlor_storage_write_seconds", "parlor_store_write_seconds"),
    (
        "parlor_storage_write_wait_seconds",
        "parlor_store_write_wait_seconds",
    ),
    (
        "parlor_tls_certificate_expiry_timestamp_seconds",
        "parlor_tls_certificate_end_seconds",
    ),
    ("parlor_turn_error_responses", "parlor_turn_refused"),
    ("parlor_turn_redirected_messages", "parlor_turn_passed_on"),
    ("parlor_turn_send_errors", "parlor_turn_unsent"),
    (
        "parlor_turn_streams_rejected",
        "parlor_turn_streams_refused",
    ),
    ("parlor_turn_success_responses", "parlor_turn_granted"),
];

/// Current metric name, label, current value and old value of each renamed label value.
pub const LABEL_VALUES: &[(&str, &str, &str, &str)] = &[
    ("parlor_admin_commands", "outcome", "rejected", "refused"),
    (
        "parlor_http_connections_rejected",
        "reason",
        "evicted",
        "gave way",
    ),
    (
        "parlor_turn_relayed_packets",
        "path",
        "hairpin_cross_shard",
        "across",
    ),
    (
        "parlor_turn_relayed_bytes",
        "path",
        "hairpin_cross_shard",
        "across",
    ),
    (
        "parlor_turn_dropped",
        "reason",
        "unauthenticated request over the rate",
        "stranger over the rate",
    ),
    (
        "parlor_turn_dropped",
        "reason",
        "request in progress",
        "retransmitted while being served",
    ),
    (
        "parlor_turn_dropped",
        "reason",
        "unsupported class",
        "not for a server",
    ),
    (
        "parlor_turn_dropped",
        "reason",
        "allocation bandwidth",
        "bandwidth of the allocation",
    ),
    (
        "parlor_turn_dropped",
        "reason",
        "user bandwidth",
        "bandwidth of the user",
    ),
    (
        "parlor_turn_dropped",
        "reason",
        "total bandwidth",
        "bandwidth of all",
    ),
    (
        "parlor_turn_error_responses",
        "reason",
        "anonymous not allowed",
        "no user named",
    ),
    (
        "parlor_turn_streams_rejected",
        "reason",
        "connection limit",
        "too many",
    ),
    (
        "parlor_turn_streams_rejected",
        "reason",
        "evicted",
        "crowded out",
    ),
    (
        "parlor_turn_streams_rejected",
        "reason",
        "proxy header",
        "no proxy header",
    ),
    (
        "parlor_turn_streams_rejected",
        "reason",
        "tls handshake",
        "no handshake",
    ),
];

/// Suffixes of samples.
const SUFFIXES: [&str; 5] = ["_total", "_bucket", "_sum", "_count", ""];

/// Replaces the current names and label values in a scrape by the old ones.
pub(super) fn translate(text: &str) -> String {
    let mut translated = String::with_capacity(text.len());
    for line in text.lines() {
        translated.push_str(&translate_line(line));
        translated.push('\n');
    }
    translated
}

fn translate_line(line: &str) -> String {
    // `# HELP name …`, `# TYPE name …` or a sample.
    let start = if line.starts_with("# ") {
        line.match_indices(' ').nth(1).map_or(0, |(at, _)| at + 1)
    } else {
        0
    };
    let length = line[start..].find(['{', ' ']).unwrap_or(line.len() - start);
    let (before, name, after) = (
        &line[..start],
        &line[start..start + length],
        &line[start + length..],
    );
    let mut labels = after.to_owned();
    for (metric, label, current, old) in LABEL_VALUES {
        if suffix(name, metric).is_some() {
            let (current, old) = (
                format!("{label}=\"{current}\""),
                format!("{label}=\"{old}\""),
            );
            labels = labels.replacen(&current, &old, 1);
        }
    }
    let renamed = METRICS
        .iter()
        .find_map(|(current, old)| Some(format!("{old}{}", suffix(name, current)?)));
    format!("{before}{}{labels}", renamed.as_deref().unwrap_or(name))
}

/// The suffix of a sample of `metric`; `None` if the name belongs to another metric.
fn suffix<'a>(name: &'a str, metric: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(metric)?;
    SUFFIXES.contains(&rest).then_some(rest)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The metrics in the documentation, without the suffixes of samples. A test of the running
    /// server compares that list with a scrape.
    fn documented() -> HashSet<&'static str> {
        let rows = include_str!("../../docs/reference/metrics.md").lines();
        rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next())
            .map(|name| name.trim_end_matches("_total"))
            .collect()
    }

    #[test]
    fn every_old_name_is_used_once_and_belongs_to_a_current_metric() {
        let documented = documented();
        let mut old_names = HashSet::new();
        for (current, old) in METRICS {
            assert!(documented.contains(current), "{current}");
            assert!(!documented.contains(old), "{old}");
            assert!(old_names.insert(old), "{old}");
        }
        assert_eq!(old_names.len(), 15);
    }

    #[test]
    fn every_old_label_value_is_used_once_in_a_current_metric() {
        let documented = documented();
        let mut old_values = HashSet::new();
        for (metric, label, current, old) in LABEL_VALUES {
            assert!(documented.contains(metric), "{metric}");
            assert_ne!(current, old);
            assert!(old_values.insert((metric, label, old)), "{metric} {old}");
        }
    }

    #[test]
    fn names_and_values_of_a_scrape_become_the_old_ones() {
        let current = "\
# HELP parlor_turn_streams_rejected Streams
# TYPE parlor_turn_streams_rejected counter
parlor_turn_streams_rejected_total{reason=\"evicted\"} 1
parlor_storage_read_seconds_bucket{le=\"0.1\"} 2
parlor_rooms 3
parlor_http_errors_of_another_metric 4
# EOF
";
        let old = "\
# HELP parlor_turn_streams_refused Streams
# TYPE parlor_turn_streams_refused counter
parlor_turn_streams_refused_total{reason=\"crowded out\"} 1
parlor_store_read_seconds_bucket{le=\"0.1\"} 2
parlor_rooms 3
parlor_http_errors_of_another_metric 4
# EOF
";
        assert_eq!(translate(current), old);
    }
}
