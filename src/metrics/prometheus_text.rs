//! Converts OpenMetrics text to the classic Prometheus text format (`text/plain; version=0.0.4`).
//!
//! Samples have the same names in both; only the metadata lines differ. OpenMetrics declares a counter
//! without its `_total` and an info without its `_info`. The classic format declares the sample names, and
//! has no info type, no unit and no `# EOF`.

/// Rewrites `openmetrics`, which has a HELP and a TYPE line for each metric.
pub(super) fn text(openmetrics: &str) -> String {
    let mut classic = String::with_capacity(openmetrics.len() + openmetrics.len() / 16);
    let mut help = "";
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // The name depends on the type, which is in the next line.
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap_or((declared, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            classic.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            classic.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            classic.push_str(line);
            classic.push('\n');
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_gets_the_name_of_its_samples() {
        let openmetrics = "\
            # HELP parlor_build What is running.\n\
            # TYPE parlor_build info\n\
            parlor_build_info{version=\"1\"} 1\n\
            # HELP parlor_refused Requests refused.\n\
            # TYPE parlor_refused counter\n\
            parlor_refused_total{reason=\"a b\"} 3\n\
            # HELP parlor_rooms Open rooms.\n\
            # TYPE parlor_rooms gauge\n\
            parlor_rooms 2\n\
            # HELP parlor_wait_seconds A wait.\n\
            # TYPE parlor_wait_seconds histogram\n\
            # UNIT parlor_wait_seconds seconds\n\
            parlor_wait_seconds_sum 0.5\n\
            parlor_wait_seconds_bucket{le=\"+Inf\"} 1\n\
            # HELP parlor_other Other.\n\
            # TYPE parlor_other unknown\n\
            parlor_other 1\n\
            # EOF\n";
        let classic = "\
            # HELP parlor_build_info What is running.\n\
            # TYPE parlor_build_info gauge\n\
            parlor_build_info{version=\"1\"} 1\n\
            # HELP parlor_refused_total Requests refused.\n\
            # TYPE parlor_refused_total counter\n\
            parlor_refused_total{reason=\"a b\"} 3\n\
            # HELP parlor_rooms Open rooms.\n\
            # TYPE parlor_rooms gauge\n\
            parlor_rooms 2\n\
            # HELP parlor_wait_seconds A wait.\n\
            # TYPE parlor_wait_seconds histogram\n\
            parlor_wait_seconds_sum 0.5\n\
            parlor_wait_seconds_bucket{le=\"+Inf\"} 1\n\
            # HELP parlor_other Other.\n\
            # TYPE parlor_other untyped\n\
            parlor_other 1\n";
        assert_eq!(text(openmetrics), classic);
    }
}
