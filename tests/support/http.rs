//! HTTP by hand over a TCP socket, so that a test sees what is on the wire.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::{DEADLINE, leaks};

/// A client of one server, optionally with a token.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    token: Option<String>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Client {
        Client {
            address,
            token: None,
        }
    }

    /// A client of the same server that sends `Authorization: Bearer`.
    pub(crate) fn with_token(&self, token: &str) -> Client {
        leaks::note(token);
        Client {
            address: self.address,
            token: Some(token.to_owned()),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// Sends a POST request without a body.
    pub(crate) fn post(&self, path: &str) -> Answer {
        self.send("POST", path, &[], b"")
    }

    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Answer {
        leaks::note_all(body);
        let kind = [("Content-Type", "application/json")];
        self.send("POST", path, &kind, body.to_string().as_bytes())
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.exchange(&self.request(method, path, headers, body))
    }

    /// Like [`Client::post_json`], to a server that may be killed at any moment: `None` unless the whole response
    /// arrived.
    pub(crate) fn attempt(&self, path: &str, body: &Value) -> Option<Answer> {
        let kind = [("Content-Type", "application/json")];
        self.attempt_exchange(&self.request("POST", path, &kind, body.to_string().as_bytes()))
    }

    /// Like [`Client::get`], to a server that may be killed at any moment.
    pub(crate) fn attempt_get(&self, path: &str) -> Option<Answer> {
        self.attempt_exchange(&self.request("GET", path, &[], &[]))
    }

    fn attempt_exchange(&self, request: &[u8]) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        stream.write_all(request).ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let answer = Answer::parse(&bytes);
        let length = answer.header("content-length")?.parse();
        (length == Ok(answer.body.len())).then_some(answer)
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head += &format!("Host: {}\r\n", self.address);
        }
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    /// Sends bytes as they are, and reads until the server closes.
    pub(crate) fn exchange(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("the server listens");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // A server that refuses a body may close before it has read it all.
        let _ = stream.write_all(request);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let answer = Answer::parse(&bytes);
        if let Ok(value) = serde_json::from_slice(&answer.body) {
            leaks::note_all(&value);
        }
        answer
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no HTTP: {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).expect("a head in ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers = lines.filter_map(|line| line.split_once(": "));
        Answer {
            status: status.and_then(|text| text.parse().ok()).expect("a status"),
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body, which must be JSON with that content type.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The body of a success.
    pub(crate) fn ok(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert!((200..300).contains(&self.status), "{}: {text}", self.status);
        self.json()
    }

    /// `(status, code)` of an error response, which must have a message as well.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body = self.json();
        let detail = body["detail"].as_str().expect("a detail");
        assert!(detail.contains(' '), "a sentence: {detail}");
        (
            self.status,
            body["code"].as_str().expect("a code").to_owned(),
        )
    }
}
