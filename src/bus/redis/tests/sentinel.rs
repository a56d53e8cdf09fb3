//! Sentinels that name servers.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::server::Server as Process;
use crate::bus::redis::{LinkError, Server};
use crate::tls::{Verification, client_config};

/// A sentinel that answers each question with the same bytes, to clients that know its password.
async fn sentinel(answer: String, password: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer.clone(), password));
        }
    });
    port
}

/// Answers the commands of a connection, each of which is an array that ends before the next one.
async fn serve(mut stream: TcpStream, answer: String, password: &'static str) {
    let (mut bytes, mut is_known) = ([0; 4096], password.is_empty());
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        let commands = String::from_utf8_lossy(&bytes[..read]).into_owned();
        for command in commands.split('*').skip(1) {
            is_known |= command.contains("AUTH") && command.contains(password);
            let is_question =
                command.contains("GET-MASTER-ADDR-BY-NAME") && command.contains("main");
            let reply = match (is_question, is_known) {
                (false, _) => "+OK\r\n",
                (true, false) => "-NOAUTH Authentication required.\r\n",
                (true, true) => &answer,
            };
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    }
}

fn address(port: u16) -> String {
    let port = port.to_string();
    format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len())
}

/// Asks sentinels on these ports for the server, which must answer.
async fn probe(login: &str, sentinels: &[u16]) -> Result<(), LinkError> {
    let sentinels = sentinels.iter().map(|port| format!("127.0.0.1:{port}"));
    let sentinels = sentinels.collect::<Vec<_>>().join(",");
    let tls = client_config(Verification::None, None).unwrap();
    let server = Server::new(&format!("redis+sentinel://{login}{sentinels}/main"), &tls);
    server.unwrap().probe().await
}

#[tokio::test]
async fn sentinels_are_asked_until_one_names_a_server_that_is_a_master() {
    let [port, replica_port] = [(); 2].map(|()| Process::unused_port());
    let _master = Process::start_with(&format!("--port {port}"));
    let _replica = Process::start_with(&format!("--port {replica_port} --replicaof 127.0.0.1 1"));
    let outdated = sentinel(address(replica_port), "").await;
    let empty = sentinel("*-1\r\n".to_owned(), "").await;
    let current = sentinel(address(port), "").await;
    probe("", &[1, empty, outdated, current]).await.unwrap();
    let error = probe("", &[empty, outdated]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("127.0.0.1:{replica_port} is no master")
    );
    assert!(error.may_pass(), "a failover takes a moment");
    let error = probe("", &[outdated, empty]).await.unwrap_err();
    assert_eq!(error.to_string(), "the sentinels know no service main");
    assert!(!error.may_pass());
    let error = probe("", &[1]).await.unwrap_err();
    assert!(
        error.to_string().starts_with("the sentinel 127.0.0.1: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_sentinel_with_a_password_gets_that_of_the_server() {
    let port = Process::unused_port();
    let _master = Process::start_with(&format!("--port {port} --requirepass hunter2"));
    let current = sentinel(address(port), "hunter2").await;
    probe(":hunter2@", &[current]).await.unwrap();
    probe(":hunter3@", &[current]).await.unwrap_err();
}
