//! Metrics and their names. Edges count; the state machines only report outcomes.

pub mod old_names;
mod prometheus_text;

use std::sync::Mutex;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// All metrics of the process.
pub struct Metrics {
    pub http: Http,
    pub auth: Auth,
    /// Totals from the database, as of the last scrape.
    pub totals: Totals,
    /// Unix seconds, as of the last scrape; 0 without a certificate.
    pub certificate_expiry: Gauge,
    registry: Mutex<Registry>,
}

/// The names and label values of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricNames {
    Current,
    /// Those of older versions (`admin.old_metric_names`).
    Old,
}

/// The reasons for closing connections at a connection limit: each has a sample, even if it is 0.
const CLOSE_REASONS: [&str; 3] = ["address", "all", "evicted"];

/// Requests, by route (never by path: paths carry ids) and status.
#[derive(Clone, Default)]
pub struct Http {
    pub connections: Gauge,
    /// Connections of trusted proxies that were closed without a valid PROXY header.
    pub missing_proxy_headers: Counter,
    /// TLS handshakes that failed or timed out.
    pub tls_handshake_errors: Counter,
    requests: Family<HttpLabels, Counter>,
    rejected: Family<[(&'static str, &'static str); 1], Counter>,
    closed_at_limit: Family<[(&'static str, &'static str); 1], Counter>,
}

/// Authentication results.
#[derive(Clone, Default)]
pub struct Auth {
    rejected: Family<[(&'static str, &'static str); 2], Counter>,
    login_attempts: Family<[(&'static str, &'static str); 2], Counter>,
}

#[derive(Clone, Default)]
pub struct Totals {
    pub rooms: Gauge,
    pub participants: Gauge,
}

/// Wait and work times of the store.
#[derive(Clone)]
pub struct StorageTimings {
    pub reads: Timings,
    pub writes: Timings,
}

/// Bucket bounds in seconds, from a cache hit to a slow disk.
const SECONDS_BUCKETS: [f64; 10] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];

/// Histograms for one kind of work: the wait for a thread, and the work itself.
#[derive(Clone)]
pub struct Timings {
    wait: Histogram,
    work: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    route: &'static str,
    status: u16,
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("parlor");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running version", build);
        let (http, auth, totals) = Default::default();
        Http::register(&http, &mut registry);
        Auth::register(&auth, &mut registry);
        Totals::register(&totals, &mut registry);
        let certificate_expiry = Gauge::default();
        registry.register(
            "tls_certificate_expiry_timestamp_seconds",
            "Expiry of the certificate in Unix seconds; 0 without one",
            certificate_expiry.clone(),
        );
        Metrics {
            http,
            auth,
            totals,
            certificate_expiry,
            registry: Mutex::new(registry),
        }
    }

    /// Registers a counter; `name` is without prefix and without `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.locked().register(name, help, counter.clone());
        counter
    }

    /// Registers one counter for each value of a label, in the order of `values`.
    pub fn counters<'a>(
        &self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Counter> {
        let family = Family::<[(&'static str, String); 1], Counter>::default();
        self.locked().register(name, help, family.clone());
        let counter = |value: &str| family.get_or_create(&[(label, value.to_owned())]).clone();
        values.into_iter().map(counter).collect()
    }

    /// Registers a histogram; `name` is without prefix.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let histogram = Histogram::new(bounds.iter().copied());
        self.locked().register(name, help, histogram.clone());
        histogram
    }

    /// Registers one histogram for each value of a label, in the order of the values.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        (label, values): (&'static str, &[&'static str]),
        bounds: &'static [f64],
    ) -> Vec<Histogram> {
        let new = || Histogram::new(bounds.iter().copied());
        let family =
            Family::<[(&'static str, &'static str); 1], Histogram, _>::new_with_constructor(new);
        self.locked().register(name, help, family.clone());
        let histogram = |value: &&'static str| family.get_or_create(&[(label, *value)]).clone();
        values.iter().map(histogram).collect()
    }

    /// Registers a gauge; `name` is without prefix.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.locked().register(name, help, gauge.clone());
        gauge
    }

    /// Adds the times of a store.
    pub fn register_storage_timings(&self, times: &StorageTimings) {
        let kinds = [("read", &times.reads), ("write", &times.writes)];
        let mut registry = self.locked();
        let registry = registry.sub_registry_with_prefix("storage");
        for (kind, times) in kinds {
            let registry = registry.sub_registry_with_prefix(kind);
            registry.register(
                "wait_seconds",
                "Time from the request to the start of the work",
                times.wait.clone(),
            );
            registry.register("seconds", "Time of the work itself", times.work.clone());
        }
    }

    /// Adds the counter of dropped log lines.
    pub fn count_dropped_log_lines(&self, dropped: &Counter) {
        self.locked().register(
            "log_lines_dropped",
            "Log lines lost because standard error was not read",
            dropped.clone(),
        );
    }

    /// Adds a collector that is read at each scrape.
    pub fn register(&self, collector: Box<dyn Collector>) {
        self.locked().register_collector(collector);
    }

    /// All metrics in the classic Prometheus text format, version 0.0.4.
    pub fn prometheus_text(&self, names: MetricNames) -> String {
        prometheus_text::text(&self.openmetrics(names))
    }

    /// All metrics in the OpenMetrics text format, version 1.0.0.
    pub fn openmetrics(&self, names: MetricNames) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.locked())
            .expect("writing to a string does not fail");
        match names {
            MetricNames::Current => text,
            MetricNames::Old => old_names::translate(&text),
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Http {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "http_connections",
            "Open TCP connections, WebSockets included",
            self.connections.clone(),
        );
        registry.register(
            "http_proxy_header_errors",
            "Connections of trusted proxies that were closed without a valid PROXY header",
            self.missing_proxy_headers.clone(),
        );
        registry.register(
            "http_tls_handshake_errors",
            "TLS handshakes that failed or timed out",
            self.tls_handshake_errors.clone(),
        );
        registry.register("http_requests", "Completed requests", self.requests.clone());
        registry.register(
            "http_errors",
            "Failed requests, by the code of the error",
            self.rejected.clone(),
        );
        registry.register(
            "http_connections_rejected",
            "Connections closed because of a connection limit",
            self.closed_at_limit.clone(),
        );
        for reason in CLOSE_REASONS {
            drop(self.closed_at_limit.get_or_create(&[("reason", reason)]));
        }
    }

    /// Counts a connection that was closed because of a connection limit.
    pub fn closed_at_limit(&self, reason: &'static str) {
        self.closed_at_limit
            .get_or_create(&[("reason", reason)])
            .inc();
    }

    /// Counts an answered request. `route` is the pattern of the route, empty if none matched.
    pub fn observe_response(&self, route: &'static str, status: u16) {
        self.requests
            .get_or_create(&HttpLabels { route, status })
            .inc();
    }

    /// Counts a request answered with an error. `code` is the error code in the response.
    pub fn rejected(&self, code: &'static str) {
        self.rejected.get_or_create(&[("reason", code)]).inc();
    }
}

impl Auth {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "auth_tokens_rejected",
            "Requests and WebSockets with a rejected token",
            self.rejected.clone(),
        );
        registry.register(
            "auth_attempts",
            "Attempts to get a token by a password or an invite",
            self.login_attempts.clone(),
        );
    }

    /// Counts a rejected caller at an `edge` (`http` or `websocket`).
    pub fn rejected(&self, edge: &'static str, reason: &'static str) {
        let labels = [("edge", edge), ("reason", reason)];
        self.rejected.get_or_create(&labels).inc();
    }

    /// Counts an attempt to get a token `by` a password or an invite.
    pub fn login_attempt(&self, by: &'static str, outcome: &'static str) {
        let labels = [("by", by), ("outcome", outcome)];
        self.login_attempts.get_or_create(&labels).inc();
    }
}

impl Totals {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "rooms",
            "Open rooms, empty ones included",
            self.rooms.clone(),
        );
        registry.register(
            "participants",
            "Memberships in open rooms, connected or not",
            self.participants.clone(),
        );
    }
}

impl Default for StorageTimings {
    fn default() -> StorageTimings {
        StorageTimings {
            reads: Timings::new(),
            writes: Timings::new(),
        }
    }
}

impl Timings {
    fn new() -> Timings {
        let histogram = || Histogram::new(SECONDS_BUCKETS);
        Timings {
            wait: histogram(),
            work: histogram(),
        }
    }

    pub fn observe_wait(&self, time: Duration) {
        self.wait.observe(time.as_secs_f64());
    }

    pub fn observe_work(&self, time: Duration) {
        self.work.observe(time.as_secs_f64());
    }
}
