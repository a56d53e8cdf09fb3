//! Tests of the watcher, with a fake host and fake shards.

use std::sync::Mutex;

use super::*;
use crate::relay::current_addresses::ListenAddresses;
use crate::relay::external_ip::ExternalIps;
use crate::relay::fake_shard::FakeShard;
use crate::stun::{Attribute, Class, Method, Writer};
use crate::turn::AddressState;

/// A host whose addresses a test sets, without change notifications.
#[derive(Clone, Default)]
struct FakeHost(Arc<Mutex<Vec<HostAddress>>>);

impl AddressSource for FakeHost {
    fn list(&mut self) -> io::Result<Vec<HostAddress>> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn watch(&mut self) -> io::Result<Watch> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl FakeHost {
    fn set(&self, ips: &[&str]) {
        let addresses = ips.iter().map(|ip| HostAddress {
            ip: ip.parse().unwrap(),
            interface: 1,
            state: AddressState::Preferred,
            temporary: false,
        });
        *self.0.lock().unwrap() = addresses.collect();
    }
}

/// The updates of a running watcher.
struct RunningWatcher {
    in_force: watch::Receiver<CurrentAddresses>,
    start: Instant,
    stop: CancellationToken,
    /// Keeps the other end open.
    _wanted: watch::Sender<ExternalIpSettings>,
}

impl Drop for RunningWatcher {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A watcher of a host, with the `known` entries of a previous process.
fn start_watcher(
    mut source: FakeHost,
    shards: Vec<Mailbox>,
    (entries, stun_urls): (&[String], &[String]),
    known: &[(&str, &str)],
) -> RunningWatcher {
    let known = known.iter();
    let known = known.map(|(name, ip)| ((*name).to_owned(), ip.parse().unwrap()));
    let external_ips = ExternalIps::new(entries, stun_urls, known.collect());
    let listening = ListenAddresses {
        turn: vec!["0.0.0.0:3478".parse().unwrap()],
        other: Vec::new(),
    };
    let host = listening.host(source.list().unwrap(), external_ips.nat_mappings().unwrap());
    let host = Arc::new(host);
    let (current, in_force) = watch::channel(CurrentAddresses { host, external_ips });
    let (wanted, wanted_by_watcher) = watch::channel(ExternalIpSettings {
        entries: entries.to_vec(),
        stun_urls: stun_urls.to_vec(),
    });
    let running = AddressWatcher {
        source,
        listening,
        shards: shards.into(),
        current,
        wanted: wanted_by_watcher,
    };
    let stop = CancellationToken::new();
    tokio::spawn(running.run(stop.clone()));
    RunningWatcher {
        in_force,
        start: Instant::now(),
        stop,
        _wanted: wanted,
    }
}

fn is_called(ip: [u8; 4]) -> impl FnMut(&CurrentAddresses) -> bool {
    move |current| {
        let external = current.host.nat_mappings();
        external.iter().any(|one| one.public == IpAddr::from(ip))
    }
}

/// Answers one question with 192.0.2.77.
fn stun_server() -> (String, std::thread::JoinHandle<()>) {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("stun:{}", server.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let mut request = [0; 100];
        let (_, client) = server.recv_from(&mut request).unwrap();
        let transaction = request[8..20].try_into().unwrap();
        let mut answer = Vec::new();
        let mapped = "192.0.2.77:5".parse().unwrap();
        Writer::new(&mut answer, Method::BINDING, Class::Success, transaction)
            .xor_address(Attribute::XOR_MAPPED_ADDRESS, mapped)
            .fingerprint();
        server.send_to(&answer, client).unwrap();
    });
    (url, answering)
}

#[tokio::test(start_paused = true)]
async fn without_change_notifications_the_list_is_read_every_ten_seconds() {
    let host = FakeHost::default();
    host.set(&["198.41.0.4"]);
    let mut watcher = start_watcher(host.clone(), Vec::new(), (&[], &[]), &[]);
    sleep(Duration::from_secs(1)).await;
    host.set(&["198.41.0.5"]);
    let new = |current: &CurrentAddresses| {
        current.host.own_addresses() == [IpAddr::from([198, 41, 0, 5])]
    };
    watcher.in_force.wait_for(new).await.unwrap();
    let seconds = watcher.start.elapsed().as_secs();
    assert!((9..12).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn every_shard_denies_a_new_address_before_any_shard_offers_it() {
    let host = FakeHost::default();
    host.set(&["198.41.0.4"]);
    let (shards, mut fakes): (Vec<_>, Vec<_>) = (0..2).map(|_| FakeShard::shard()).unzip();
    let mut watcher = start_watcher(host.clone(), shards, (&[], &[]), &[]);
    sleep(Duration::from_secs(1)).await;
    host.set(&["198.41.0.4", "198.41.0.5"]);
    // Less than a second after the list is read.
    sleep(BLIND_LIST_INTERVAL - DENY_TIMEOUT / 2).await;
    let new: [IpAddr; 1] = [[198, 41, 0, 5].into()];
    let mut denied = Vec::new();
    for shard in &mut fakes {
        match shard.next_command() {
            Some(Command::Deny { addresses, done }) if addresses == new => denied.push(done),
            _ => panic!("the new address is not denied"),
        }
    }
    // One of them has not answered yet.
    denied.pop().unwrap().send(()).unwrap();
    tokio::task::yield_now().await;
    assert!(fakes.iter_mut().all(|shard| shard.next_command().is_none()));
    denied.pop().unwrap().send(()).unwrap();
    watcher.in_force.changed().await.unwrap();
    for shard in &mut fakes {
        assert!(
            matches!(shard.next_command(), Some(Command::SetHost(host)) if host.own_addresses().len() == 2)
        );
    }
}

/// `localhost` is a name that needs no name server.
#[tokio::test(start_paused = true)]
async fn a_name_is_resolved_again_every_minute() {
    let entries = ["localhost".to_owned()];
    let known = [("localhost", "192.0.2.1")];
    let mut watcher = start_watcher(FakeHost::default(), Vec::new(), (&entries, &[]), &known);
    let loopback = |current: &CurrentAddresses| current.host.nat_mappings()[0].public.is_loopback();
    watcher.in_force.wait_for(loopback).await.unwrap();
    let seconds = watcher.start.elapsed().as_secs();
    assert!((60..62).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn auto_is_queried_again_every_five_minutes() {
    let (url, answering) = stun_server();
    let entries = ["auto".to_owned()];
    let known = [("auto", "192.0.2.1")];
    let mut watcher = start_watcher(FakeHost::default(), Vec::new(), (&entries, &[url]), &known);
    let new = is_called([192, 0, 2, 77]);
    watcher.in_force.wait_for(new).await.unwrap();
    let seconds = watcher.start.elapsed().as_secs();
    assert!((300..302).contains(&seconds), "{seconds}");
    answering.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn auto_is_queried_again_when_addresses_change() {
    let (url, answering) = stun_server();
    let (entries, host) = (["auto".to_owned()], FakeHost::default());
    let known = [("auto", "192.0.2.1")];
    let mut watcher = start_watcher(host.clone(), Vec::new(), (&entries, &[url]), &known);
    sleep(Duration::from_secs(1)).await;
    host.set(&["10.0.0.5"]);
    let new = is_called([192, 0, 2, 77]);
    watcher.in_force.wait_for(new).await.unwrap();
    assert!(watcher.start.elapsed() < Duration::from_secs(15));
    answering.join().unwrap();
}
