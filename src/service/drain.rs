//! A drain: no new connection and no new allocation, while existing ones continue.

use super::app::App;

impl App {
    /// Rejects new connections and new allocations from now on. Existing ones continue.
    pub fn drain(&self) {
        self.hub.drain();
        self.relay.drain();
        if let Some(link) = self.hub.link() {
            link.set_draining(true);
        }
    }

    pub fn is_draining(&self) -> bool {
        self.hub.is_draining()
    }
}
