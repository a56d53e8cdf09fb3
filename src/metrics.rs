//! What is counted, and under which name. Edges count; the state machines only report outcomes.

use std::sync::Mutex;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Every figure of the process.
pub struct Metrics {
    pub http: Http,
    registry: Mutex<Registry>,
}

/// Requests, by route (never by path: paths carry ids) and status.
#[derive(Clone, Default)]
pub struct Http {
    requests: Family<HttpLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    route: &'static str,
    status: u16,
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("parlor");
        let http = Http::default();
        registry.register("http_requests", "Requests answered", http.requests.clone());
        Metrics {
            http,
            registry: Mutex::new(registry),
        }
    }

    /// A counter; `name` is without prefix and without `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.locked().register(name, help, counter.clone());
        counter
    }

    /// One counter for each value of a label, in the order of `values`.
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

    /// A figure that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.locked().register(name, help, gauge.clone());
        gauge
    }

    /// Adds figures that somebody else keeps, and that are read at each scrape.
    pub fn register(&self, collector: Box<dyn Collector>) {
        self.locked().register_collector(collector);
    }

    /// All figures in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.locked())
            .expect("writing to a string does not fail");
        text
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
    /// `route` is the pattern of the route, empty where none matched.
    pub fn answered(&self, route: &'static str, status: u16) {
        self.requests
            .get_or_create(&HttpLabels { route, status })
            .inc();
    }
}
