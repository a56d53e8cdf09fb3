//! TLS to the server, and the password.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;
use crate::secret::Secret;
use crate::storage::{PostgresOptions, Store};

/// An authority, and a certificate of it for `localhost`.
struct Authority {
    certificate: String,
    server: String,
    server_key: String,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(parameters, key);
        let server_key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let server = server.signed_by(&server_key, &issuer).unwrap();
        Authority {
            certificate,
            server: server.pem(),
            server_key: server_key.serialize_pem(),
        }
    }

    fn file(&self, place: &Path, name: &str) -> PathBuf {
        let path = place.join(name);
        fs::write(&path, &self.certificate).unwrap();
        path
    }
}

#[tokio::test]
async fn the_server_is_verified_as_the_url_says() {
    let place = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let (ca, other_ca) = (
        ours.file(place.path(), "ca"),
        other.file(place.path(), "other"),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let options = format!("-c ssl=on -c listen_addresses=127.0.0.1 -c port={port} -c fsync=off");
    let server = Server::start_on(port, &options, |data| {
        let key = data.join("server.key");
        fs::write(data.join("server.crt"), &ours.server).unwrap();
        fs::write(&key, &ours.server_key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let access = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), access).unwrap();
    });
    let database = server.create(None);
    database
        .sql("CREATE ROLE app LOGIN PASSWORD 'hunter2'; CREATE SCHEMA parlor AUTHORIZATION app");
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let connect = async |host: &str, query: &str, ca: Option<&PathBuf>, password: &str| {
        let url = format!("postgres://app@{host}:{port}/{name}?{query}");
        let options = PostgresOptions {
            url: url.parse().unwrap(),
            password: Some(Secret::new(password)),
            ca_file: ca.cloned(),
            max_connections: 2,
        };
        let connected = Store::connect(&options).await;
        connected.map(drop).map_err(|error| error.to_string())
    };
    let good = "hunter2";
    for (host, query, authority) in [
        (
            "localhost",
            "sslmode=verify-full&channel_binding=require",
            Some(&ca),
        ),
        (
            "127.0.0.1",
            "sslmode=verify-ca&channel_binding=require",
            Some(&ca),
        ),
        ("127.0.0.1", "sslmode=require&channel_binding=require", None),
        ("127.0.0.1", "sslmode=require", Some(&ca)),
    ] {
        let connected = connect(host, query, authority, good).await;
        assert_eq!(connected, Ok(()), "{host} {query}");
    }
    let (name, issuer, access) = ("not valid for name", "UnknownIssuer", "pg_hba.conf");
    // Both authorities have the same name.
    let signature = "BadSignature";
    for (host, query, authority, password, reason) in [
        ("127.0.0.1", "sslmode=verify-full", Some(&ca), good, name),
        (
            "localhost",
            "sslmode=verify-full",
            Some(&other_ca),
            good,
            signature,
        ),
        ("localhost", "sslmode=verify-full", None, good, issuer),
        (
            "127.0.0.1",
            "sslmode=verify-ca",
            Some(&other_ca),
            good,
            signature,
        ),
        (
            "127.0.0.1",
            "sslmode=require",
            Some(&other_ca),
            good,
            signature,
        ),
        ("localhost", "sslmode=disable", None, good, access),
        // Neither encrypted nor verified by default: the server refuses it.
        ("localhost", "", None, good, access),
        (
            "localhost",
            "sslmode=verify-full",
            Some(&ca),
            "wrong",
            "password authentication failed",
        ),
    ] {
        let error = connect(host, query, authority, password).await.unwrap_err();
        assert!(error.contains("cannot be used"), "{host} {query}: {error}");
        assert!(error.contains(reason), "{host} {query}: {error}");
        assert!(!error.contains(password), "{error}");
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_without_tls() {
    for mode in ["require", "verify-ca", "verify-full"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let plain = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 8];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(b"N").unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            (request, rest)
        });
        let options = PostgresOptions {
            url: format!("postgres://app@127.0.0.1:{port}/x?sslmode={mode}")
                .parse()
                .unwrap(),
            password: Some(Secret::new("hunter2")),
            ca_file: None,
            max_connections: 2,
        };
        let error = Store::connect(&options).await.map(drop).unwrap_err();
        assert!(matches!(error, StoreError::ServerRefused { .. }), "{error}");
        let (request, rest) = plain.join().unwrap();
        // SSLRequest, and nothing after it.
        assert_eq!(request, *b"\0\0\0\x08\x04\xd2\x16\x2f", "{mode}");
        assert_eq!(rest, b"", "{mode}");
    }
}
