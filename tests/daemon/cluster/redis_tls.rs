//! A Redis server with TLS and a password.

use tempfile::TempDir;

use super::Client;
use crate::support::certificate::Authority;
use crate::support::cluster::{Cluster, LONG_LEASE};
use crate::support::command::Cli;
use crate::support::postgres;
use crate::support::redis::Server as Redis;

const PASSWORD: &str = "a-password-of-redis";

#[test]
fn a_redis_server_is_verified_by_its_certificate_and_verifies_nodes_by_a_password() {
    let (own, foreign) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let authority = Authority::new();
    let (certificate, key) = authority.issue(own.path(), &["localhost"]);
    let write = |directory: &TempDir, authority: &Authority| {
        let file = directory.path().join("authority.pem");
        std::fs::write(&file, &authority.pem).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let trusted = write(&own, &authority);
    let other = write(&foreign, &Authority::new());
    let port = Redis::unused_port();
    let _redis = Redis::start_with(&format!(
        "--tls-port {port} --bind 127.0.0.1 --tls-auth-clients no --requirepass {PASSWORD} \
         --tls-cert-file {} --tls-key-file {} --tls-ca-cert-file {trusted}",
        certificate.display(),
        key.display()
    ));
    let cluster = Cluster::at(
        postgres::server(),
        format!("rediss://localhost:{port}"),
        LONG_LEASE,
    );
    let start = |name: &str| {
        let node = cluster.node(name);
        let node = node.env("PARLOR_CLUSTER__REDIS_PASSWORD", PASSWORD);
        node.env("PARLOR_CLUSTER__REDIS_CA_FILE", &trusted).start()
    };
    let (one, two) = (start("one"), start("two"));
    let mut alice = Client::enter(&one, "alice");
    let mut bob = Client::enter(&two, "bob");
    alice.hears("user-joined", "bob");
    alice.reaches("alice", &mut bob, "bob");
    let start_is_refused = |ca_file: &str, password: &str, message: &str| {
        let mut cli = Cli::new();
        for (key, value) in cluster.settings("three") {
            cli = cli.env(key, &value);
        }
        for listen in ["HTTP__LISTEN", "TURN__LISTEN", "ADMIN__METRICS_LISTEN"] {
            cli = cli.env(&format!("PARLOR_{listen}"), "127.0.0.1:0");
        }
        let cli = cli.env("PARLOR_CLUSTER__REDIS_CA_FILE", ca_file);
        let cli = cli.env("PARLOR_CLUSTER__REDIS_PASSWORD", password);
        let outcome = cli.run(&["serve"]);
        let errors: Vec<&str> = outcome
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!((outcome.code, errors.len()), (1, 1), "{}", outcome.stderr);
        let expected =
            format!("the Redis server rediss://localhost:{port} can't be used: {message}");
        assert!(errors[0].contains(&expected), "{}", outcome.stderr);
    };
    start_is_refused(
        &other,
        PASSWORD,
        "cannot connect to Redis: invalid peer certificate: BadSignature; set `cluster.redis_ca_file` to the \
         certificate of its authority",
    );
    let login = "check `cluster.redis_password`, its file or its credential";
    let refused = format!("Redis refuses the user name or the password; {login}");
    start_is_refused(&trusted, "another", &refused);
}
