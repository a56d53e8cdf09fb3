//! Metrics: their names, old names, and values.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use parlor::metrics::old_names::{LABEL_VALUES, METRICS};
use serde_json::json;
use tempfile::TempDir;

use crate::support::cluster::{Cluster, LONG_LEASE};
use crate::support::http::Client;
use crate::support::{Builder, Daemon};

/// The beginning of the names of metrics that only one of several nodes has.
const CLUSTER: &str = "parlor_cluster_";

/// Name → kind and labels.
type Figures = BTreeMap<String, (String, BTreeSet<String>)>;

/// Adds a user and returns their client.
pub(crate) fn caller(daemon: &Daemon, name: &str) -> Client {
    daemon.cli_json(&["user", "add", name]);
    let issued = daemon.cli_json(&["token", "issue", name]);
    let token = issued["token"].as_str().expect("a token");
    Client::new(daemon.http()).with_token(token)
}

/// Scrapes OpenMetrics, where info metrics have their own type.
pub(crate) fn scrape(daemon: &Daemon) -> String {
    let accept = [("Accept", "application/openmetrics-text; version=1.0.0")];
    let answer = Client::new(daemon.metrics()).send("GET", "/metrics", &accept, b"");
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body).expect("text")
}

/// Returns the metrics of a response by the names of their samples.
fn figures(text: &str) -> Figures {
    let suffix = |kind: &str| match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let mut figures = Figures::new();
    for line in text.lines() {
        let Some(declared) = line.strip_prefix("# TYPE ") else {
            continue;
        };
        let (name, kind) = declared.split_once(' ').expect("a kind");
        let name = format!("{name}{}", suffix(kind));
        figures.insert(name, (kind.to_owned(), BTreeSet::new()));
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        // A histogram has three series.
        let series = ["_bucket", "_sum", "_count"].into_iter();
        let mut stems = series.filter_map(|suffix| name.strip_suffix(suffix));
        let name = stems
            .find(|stem| figures.contains_key(*stem))
            .unwrap_or(name);
        let labels = rest.split_once('}').expect("labels").0;
        let names = labels.split(',').filter_map(|pair| pair.split_once('='));
        let names = names.map(|(label, _)| label.to_owned());
        let of = figures.get_mut(name).expect("a declared figure");
        of.1.extend(names.filter(|label| label != "le"));
    }
    figures
}

/// Returns the metrics in the documentation.
fn documented() -> Figures {
    let text = include_str!("../../docs/reference/metrics.md");
    let rows = text.lines().filter(|line| line.starts_with("| `parlor_"));
    let word = |cell: &str| cell.trim().trim_matches('`').to_owned();
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(',').map(word);
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (word(cells[1]), (cells[2].to_owned(), labels))
    })
    .collect()
}

/// Returns the value of one sample; 0 if there is none yet.
pub(crate) fn value(text: &str, sample: &str) -> f64 {
    let found = text.lines().find_map(|line| {
        let rest = line.strip_prefix(sample)?;
        rest.strip_prefix(' ')?.parse().ok()
    });
    found.unwrap_or(0.0)
}

#[test]
fn the_documentation_has_every_metric_with_its_kind_and_labels_and_no_other() {
    let daemon = Daemon::start();
    let client = Client::new(daemon.http());
    // A metric has no labels before its first event.
    client.get("/api/auth/me");
    let nobody = json!({"username": "nobody", "password": "x"});
    client.post_json("/api/auth/login", &nobody);
    let mut expected = documented();
    expected.retain(|name, _| !name.starts_with(CLUSTER));
    assert_eq!(figures(&scrape(&daemon)), expected);
}

#[test]
fn the_documentation_has_every_metric_of_one_of_several_nodes() {
    let node = Cluster::new(LONG_LEASE).start("one");
    let of_cluster = |mut figures: Figures| {
        figures.retain(|name, _| name.starts_with(CLUSTER));
        figures
    };
    let found = of_cluster(figures(&scrape(&node)));
    assert!(!found.is_empty());
    assert_eq!(found, of_cluster(documented()));
}

#[test]
fn metric_names_follow_the_conventions_of_prometheus() {
    for (name, (kind, labels)) in documented() {
        let is_word = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(
            is_word(&name) && labels.iter().all(|l| is_word(l)),
            "{name}"
        );
        assert!(name.starts_with("parlor_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        // Times are in the base unit, and shares are ratios.
        let has_unit = ["_seconds", "_ratio"]
            .iter()
            .any(|unit| name.ends_with(unit));
        assert!(kind != "histogram" || has_unit, "{name}");
        for suffix in ["_bucket", "_sum", "_count", "_milliseconds", "_ms"] {
            assert!(!name.ends_with(suffix), "{name}");
        }
    }
}

/// Whether a scrape declares a metric.
fn declares(text: &str, metric: &str) -> bool {
    let declared = format!("# TYPE {metric} ");
    text.lines().any(|line| line.starts_with(&declared))
}

/// Whether a scrape has a sample of a metric with a label value.
fn has_sample(text: &str, metric: &str, label: &str, value: &str) -> bool {
    let pair = format!("{label}=\"{value}\"");
    text.lines().any(|line| {
        let labels = line.strip_prefix(&format!("{metric}_total{{"));
        labels.is_some_and(|labels| labels.contains(&pair))
    })
}

#[test]
fn a_reload_switches_between_old_and_current_metric_names() {
    let place = TempDir::new().expect("a temporary directory");
    let file = place.path().join("parlor.toml");
    fs::write(&file, "").expect("a file");
    let path = file.to_str().expect("a UTF-8 path");
    let daemon = Builder::new().arg("--config").arg(path).start();
    // Tokens have no samples before the first one.
    Client::new(daemon.http()).get("/api/auth/me");

    let current_text = scrape(&daemon);
    fs::write(&file, "admin.old_metric_names = true").expect("a file");
    daemon.signal("HUP");
    daemon.wait_for_log("configuration reloaded");
    let old_text = scrape(&daemon);

    for (current, old) in METRICS {
        assert!(declares(&current_text, current), "{current}");
        assert!(!declares(&current_text, old), "{old}");
        assert!(declares(&old_text, old), "{old}");
        assert!(!declares(&old_text, current), "{current}");
    }
    let old_name = |metric| {
        let renamed = METRICS.iter().find(|(current, _)| *current == metric);
        renamed.map_or(metric, |(_, old)| *old)
    };
    for (metric, label, current, old) in LABEL_VALUES {
        assert!(
            has_sample(&current_text, metric, label, current),
            "{current}"
        );
        assert!(!has_sample(&current_text, metric, label, old), "{old}");
        let metric = old_name(*metric);
        assert!(has_sample(&old_text, metric, label, old), "{old}");
        assert!(!has_sample(&old_text, metric, label, current), "{current}");
    }
    let rejected = "{edge=\"http\",reason=\"no-token\"}";
    let rejected = format!("parlor_auth_refused_total{rejected}");
    assert_eq!(value(&old_text, &rejected), 1.0);
    let accept = [("Accept", "text/plain")];
    let classic = Client::new(daemon.metrics()).send("GET", "/metrics", &accept, b"");
    let classic = String::from_utf8(classic.body).expect("text");
    assert!(declares(&classic, "parlor_auth_refused_total"));
}

#[test]
fn every_reason_of_the_relay_is_explained() {
    let table = include_str!("../../docs/reference/relay-errors.md");
    let (errors, drops) = table
        .split_once("## Why a datagram was dropped")
        .expect("both tables");
    for reason in parlor::turn::ErrorReason::ALL {
        assert!(errors.contains(&format!("`{reason}`")), "{reason}");
    }
    for reason in parlor::turn::DropReason::ALL {
        assert!(drops.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[test]
fn metrics_follow_events() {
    let daemon = Daemon::start();
    let client = Client::new(daemon.http());
    let alice = caller(&daemon, "alice");
    alice.post("/api/rooms/lobby/join").ok();
    client.get("/api/auth/me");
    client.with_token("no.jwt.this").get("/api/auth/me");
    let guess = json!({"username": "alice", "password": "guess"});
    client.post_json("/api/auth/login", &guess);
    let invite = daemon.invite_link();
    let invite = invite.split_once('#').expect("an invite").1;
    let guest = json!({"invite": invite, "name": "Gast"});
    client.post_json("/api/auth/guest", &guest).ok();

    let text = scrape(&daemon);
    for (sample, expected) in [
        ("parlor_rooms", 1.0),
        ("parlor_participants", 1.0),
        (
            "parlor_auth_tokens_rejected_total{edge=\"http\",reason=\"no-token\"}",
            1.0,
        ),
        (
            "parlor_auth_tokens_rejected_total{edge=\"http\",reason=\"malformed\"}",
            1.0,
        ),
        (
            "parlor_auth_attempts_total{by=\"password\",outcome=\"wrong-credentials\"}",
            1.0,
        ),
        (
            "parlor_auth_attempts_total{by=\"invite\",outcome=\"success\"}",
            1.0,
        ),
        (
            "parlor_http_requests_total{route=\"/api/rooms/{room}/join\",status=\"200\"}",
            1.0,
        ),
        ("parlor_http_errors_total{reason=\"unauthorized\"}", 2.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}\n{text}");
    }
    for histogram in ["read_wait", "read", "write_wait", "write"] {
        let sample = format!("parlor_storage_{histogram}_seconds_count");
        assert!(value(&text, &sample) >= 1.0, "{sample}");
    }
    assert!(value(&text, "parlor_storage_write_seconds_sum") > 0.0);
}
