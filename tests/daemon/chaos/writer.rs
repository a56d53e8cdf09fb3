//! Chat messages during the faults: those that were acknowledged must be stored.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rand::RngExt;
use serde_json::json;

use super::Shared;
use super::user::User;
use crate::support::http::Client;
use crate::support::postgres::Database;

/// Pause between two messages, so that nobody writes too much.
const WRITE_PAUSE: Duration = Duration::from_millis(50);

/// A thread that writes until the process ends.
pub(super) struct Writer {
    acknowledged: Arc<Mutex<Vec<String>>>,
}

impl Writer {
    pub(super) fn start(shared: Arc<Shared>, users: &[Arc<User>]) -> Writer {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let (users, kept) = (users.to_vec(), acknowledged.clone());
        thread::spawn(move || {
            for number in 0_u64.. {
                let user = &users[rand::rng().random_range(0..users.len())];
                let client = Client::new(shared.any_node()).with_token(&user.token);
                let content = format!("message {number}");
                let path = format!("/api/rooms/{}/messages", user.room);
                let answer = client.attempt(&path, &json!({ "content": content }));
                if answer.is_some_and(|answer| answer.status == 201) {
                    kept.lock().unwrap().push(content);
                }
                thread::sleep(WRITE_PAUSE);
            }
        });
        Writer { acknowledged }
    }

    /// Compares with the database; returns the number of acknowledged messages.
    pub(super) fn check(&self, database: &Database) -> usize {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let stored = database.sql("SELECT content FROM parlor.room_messages");
        let stored: HashSet<_> = stored.lines().collect();
        for content in &acknowledged {
            assert!(stored.contains(content.as_str()), "{content:?} is lost");
        }
        assert!(!acknowledged.is_empty(), "nothing was written");
        acknowledged.len()
    }
}
