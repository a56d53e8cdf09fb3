//! The load of clients that send and connect as fast as they can.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::client::{Client, Session, masked};
use crate::server::Server;

/// Messages that each person keeps in flight.
const IN_FLIGHT: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections that are opened at a time, where it is not a storm.
const ORDERLY: usize = 64;

/// The times and the size of a measurement.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub people: usize,
    pub warm_up: Duration,
    pub span: Duration,
    /// Until the server has nothing to do for connections that came or went: pings have acknowledged the frames of
    /// sessions, and the others know of lost connections.
    pub settling: Duration,
}

/// CPU time per message while each message that arrives sends the next.
pub(crate) fn flood(server: &Rc<Server>, plan: Plan) -> Vec<f64> {
    run(async {
        let clients = open_all(server, plan.people, ORDERLY).await;
        let delivered = Rc::new(Cell::new(0u64));
        for (number, client) in clients.into_iter().enumerate() {
            let message = masked(server.person(number).message("").as_bytes());
            spawn_local(pass_on(client, message, delivered.clone()));
        }
        sleep(plan.warm_up).await;
        let (cpu, before) = (server.cpu(), delivered.get());
        sleep(plan.span).await;
        vec![(server.cpu() - cpu) / 1e3 / (delivered.get() - before) as f64]
    })
}

/// CPU time per connection while all are cut and all come back at once.
pub(crate) fn storm(server: &Rc<Server>, plan: Plan) -> Vec<f64> {
    run(async {
        let clients = open_all(server, plan.people, ORDERLY).await;
        let clients = settled(clients, plan.warm_up).await;
        let cpu = server.cpu();
        let sessions = clients.into_iter().map(Client::cut).collect();
        let clients = reopen_all(server, sessions, plan.people).await;
        // What the server still sends to the others belongs to the storm.
        let _clients = settled(clients, plan.settling).await;
        vec![(server.cpu() - cpu) / 1e3 / plan.people as f64]
    })
}

/// Memory that a connection adds while nothing happens.
pub(crate) fn idle(server: &Rc<Server>, plan: Plan) -> Vec<f64> {
    run(async {
        let before = server.memory();
        let clients = open_all(server, plan.people, ORDERLY).await;
        let _clients = settled(clients, plan.settling).await;
        vec![(server.memory() - before) / plan.people as f64]
    })
}

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, work)
}

pub(crate) async fn open_all(server: &Rc<Server>, people: usize, at_a_time: usize) -> Vec<Client> {
    reopen_all(server, vec![None; people], at_a_time).await
}

async fn reopen_all(
    server: &Rc<Server>,
    sessions: Vec<Option<Session>>,
    at_a_time: usize,
) -> Vec<Client> {
    let turns = Rc::new(Semaphore::new(at_a_time));
    let opening = sessions
        .into_iter()
        .enumerate()
        .map(|(number, session)| {
            let (turns, server) = (turns.clone(), server.clone());
            spawn_local(async move {
                let person = server.person(number);
                let _turn = turns.acquire().await.expect("never closed");
                Client::open(&server, &person, session).await
            })
        })
        .collect();
    all(opening).await
}

/// The clients after this time, in which they have read everything and answered pings.
async fn settled(clients: Vec<Client>, time: Duration) -> Vec<Client> {
    let reading = clients.into_iter().map(|mut client| {
        spawn_local(async move {
            let _ = timeout(time, client.read_to_the_end()).await;
            client
        })
    });
    all(reading.collect()).await
}

async fn all(tasks: Vec<JoinHandle<Client>>) -> Vec<Client> {
    let mut clients = Vec::with_capacity(tasks.len());
    for task in tasks {
        let client = timeout(CONNECT_TIMEOUT, task).await;
        clients.push(client.expect("in time").expect("a connection"));
    }
    clients
}

/// Sends the first messages, and one more for each that arrives.
async fn pass_on(mut client: Client, message: Vec<u8>, delivered: Rc<Cell<u64>>) {
    let writer = client.writer();
    let batch = message.repeat(IN_FLIGHT);
    writer.send(&batch).await;
    loop {
        let mut arrived = 0;
        let is_open = client
            .read(|text| arrived += usize::from(is_message(text)))
            .await;
        delivered.set(delivered.get() + arrived as u64);
        // Others may have sent more than this client has in flight.
        writer
            .send(&batch[..message.len() * arrived.min(IN_FLIGHT)])
            .await;
        if !is_open {
            return;
        }
    }
}

/// Whether a text is a message of another client, as opposed to one of the server.
pub(crate) fn is_message(text: &[u8]) -> bool {
    // After `seq`, if the frame has one.
    let start = text.iter().position(|byte| *byte == b't').unwrap_or(0);
    text[start..].starts_with(b"type\":\"ice")
}
