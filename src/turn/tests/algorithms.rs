//! Password algorithms: SHA-256 for clients that choose it, unchanged responses for others, and no
//! downgrade by an attacker on the path (RFC 8489 sections 9.2.1 and 9.2.4).

use super::*;
use crate::credential::long_term_key_sha256;
use crate::stun::Integrity;
use crate::turn::algorithms::OFFERED;

const SHA256: [u8; 4] = [0, 2, 0, 0];
const MD5: [u8; 4] = [0, 1, 0, 0];

/// The algorithms that a client names and signs with.
#[derive(Clone)]
struct Signer {
    list: Option<Vec<u8>>,
    chosen: Option<Vec<u8>>,
    /// The algorithm that derives the key from the password.
    sha256: bool,
    integrity: Vec<Integrity>,
}

/// A client that implements RFC 8489.
fn modern() -> Signer {
    Signer {
        list: Some(OFFERED.to_vec()),
        chosen: Some(SHA256.to_vec()),
        sha256: true,
        integrity: vec![Integrity::Sha256],
    }
}

/// A client that implements RFC 5389 only, like a browser.
fn browser() -> Signer {
    Signer {
        list: None,
        chosen: None,
        sha256: false,
        integrity: vec![Integrity::Sha1],
    }
}

impl Signer {
    fn key(&self, client: &Client, integrity: Integrity) -> IntegrityKey {
        let Minted {
            username,
            credential,
        } = &client.minted;
        let key = if self.sha256 {
            long_term_key_sha256(username, &client.realm, credential).to_vec()
        } else {
            long_term_key(username, &client.realm, credential).to_vec()
        };
        match integrity {
            Integrity::Sha1 => IntegrityKey::new(&key),
            Integrity::Sha256 => IntegrityKey::sha256(&key),
        }
    }

    fn sign(
        &self,
        client: &mut Client,
        method: Method,
        attributes: &[(Attribute, Vec<u8>)],
    ) -> Vec<u8> {
        let transaction = client.transaction();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, method, Class::Request, transaction);
        let said = [
            (Attribute::PASSWORD_ALGORITHMS, &self.list),
            (Attribute::PASSWORD_ALGORITHM, &self.chosen),
        ];
        for (attribute, value) in attributes {
            writer = writer.attribute(*attribute, value);
        }
        for (attribute, value) in said {
            if let Some(value) = value {
                writer = writer.attribute(attribute, value);
            }
        }
        writer = writer
            .attribute(Attribute::USERNAME, client.minted.username.as_bytes())
            .attribute(Attribute::REALM, client.realm.as_bytes())
            .attribute(Attribute::NONCE, &client.nonce);
        for integrity in &self.integrity {
            writer = writer.integrity(&self.key(client, *integrity));
        }
        writer.fingerprint();
        out
    }

    fn ask(
        &self,
        world: &mut World,
        client: &mut Client,
        method: Method,
        attributes: &[(Attribute, Vec<u8>)],
    ) -> Response {
        let request = self.sign(client, method, attributes);
        Response(world.response(&client.route, &request))
    }

    fn allocate(&self, world: &mut World, client: &mut Client) -> Response {
        client.greet(world);
        let transport = [(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())];
        self.ask(world, client, Method::ALLOCATE, &transport)
    }

    /// Returns whether a response has this integrity attribute only, and it is valid.
    fn is_signed(&self, response: &Response, client: &Client, by: Integrity) -> bool {
        let message = response.message();
        let other = match by {
            Integrity::Sha1 => Integrity::Sha256,
            Integrity::Sha256 => Integrity::Sha1,
        };
        message.integrity() == Some(by)
            && message.verify(&self.key(client, by))
            && !message.verify(&self.key(client, other))
    }
}

fn alice() -> Client {
    Client::new("192.88.1.1:1000", "alice")
}

fn refresh(seconds: u32) -> [(Attribute, Vec<u8>); 1] {
    [(Attribute::LIFETIME, seconds.to_be_bytes().to_vec())]
}

#[test]
fn every_challenge_offers_sha_256_and_flags_it_in_the_nonce() {
    let mut world = World::new();
    let mut client = alice();
    let mut bare = Vec::new();
    Writer::new(&mut bare, Method::ALLOCATE, Class::Request, [1; 12]).fingerprint();
    let unasked = Response(world.response(&client.route, &bare));
    client.nonce = b"stale".to_vec();
    let stale = modern().ask(&mut world, &mut client, Method::REFRESH, &[]);
    client.minted.credential.push('x');
    let wrong = modern().ask(&mut world, &mut client, Method::REFRESH, &[]);
    for (response, code) in [(unasked, 401), (stale, 438), (wrong, 401)] {
        assert_eq!(response.code(), Some(code));
        let message = response.message();
        let types: Vec<_> = message
            .attributes()
            .map(|(attribute, _)| attribute)
            .collect();
        let expected = [
            Attribute::ERROR_CODE,
            Attribute::REALM,
            Attribute::NONCE,
            Attribute::PASSWORD_ALGORITHMS,
        ];
        assert_eq!(types, expected, "and no integrity");
        let nonce = message.get(Attribute::NONCE).unwrap();
        assert!(nonce.starts_with(b"obMatJos2AAAB"), "no anonymity");
        assert_eq!(
            message.get(Attribute::PASSWORD_ALGORITHMS),
            Some(&OFFERED[..])
        );
    }
}

#[test]
fn a_client_that_chooses_sha_256_gets_it_in_success_and_error_responses() {
    let mut world = World::new();
    let (mut client, modern) = (alice(), modern());
    client.greet(&mut world);
    let transport = [(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())];
    let request = modern.sign(&mut client, Method::ALLOCATE, &transport);
    let granted = Response(world.response(&client.route, &request));
    assert_eq!(granted.code(), None);
    assert!(modern.is_signed(&granted, &client, Integrity::Sha256));
    let again = world.response(&client.route, &request);
    assert_eq!(again, granted.0, "a retransmission");
    let unknown = [(Attribute(0x7777), vec![])];
    for (method, attributes, code) in [
        (Method::REFRESH, &refresh(600)[..], None),
        (Method::REFRESH, &unknown[..], Some(420)),
        (Method::CREATE_PERMISSION, &[], Some(400)),
        (Method::ALLOCATE, &transport[..], Some(437)),
        (Method::REFRESH, &refresh(0)[..], None),
        (Method::REFRESH, &refresh(600)[..], Some(437)),
    ] {
        let response = modern.ask(&mut world, &mut client, method, attributes);
        assert_eq!(response.code(), code);
        assert!(
            modern.is_signed(&response, &client, Integrity::Sha256),
            "{code:?}"
        );
    }
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn a_bind_failure_is_signed_with_sha_256() {
    let mut world = World::new();
    world.taken = (50_000..=60_000)
        .map(|port| SocketAddr::new("198.41.0.4".parse().unwrap(), port))
        .collect();
    let mut client = alice();
    let response = modern().allocate(&mut world, &mut client);
    assert_eq!(response.code(), Some(508));
    assert!(modern().is_signed(&response, &client, Integrity::Sha256));
}

#[test]
fn responses_to_a_browser_match_recorded_bytes() {
    let mut world = World::new();
    let (mut client, browser) = (alice(), browser());
    let granted = browser.allocate(&mut world, &mut client);
    let relayed = granted.address(Attribute::XOR_RELAYED_ADDRESS).unwrap();
    let key = client.key();
    let mut expected = Vec::new();
    Writer::new(&mut expected, Method::ALLOCATE, Class::Success, [1; 12])
        .xor_address(Attribute::XOR_RELAYED_ADDRESS, relayed)
        .attribute(Attribute::LIFETIME, &[0, 0, 2, 88])
        .xor_address(Attribute::XOR_MAPPED_ADDRESS, client.route.client)
        .integrity(&key)
        .fingerprint();
    assert_eq!(granted.0, expected);
    let refreshed = browser.ask(&mut world, &mut client, Method::REFRESH, &refresh(600));
    expected.clear();
    Writer::new(&mut expected, Method::REFRESH, Class::Success, [2; 12])
        .attribute(Attribute::LIFETIME, &[0, 0, 2, 88])
        .integrity(&key)
        .fingerprint();
    assert_eq!(refreshed.0, expected);
    let peer = [xor_peer("10.0.0.1:1", &[3; 12])];
    let denied = browser.ask(&mut world, &mut client, Method::CREATE_PERMISSION, &peer);
    expected.clear();
    Writer::new(
        &mut expected,
        Method::CREATE_PERMISSION,
        Class::Error,
        [3; 12],
    )
    .error_code(403, "Forbidden")
    .integrity(&key)
    .fingerprint();
    assert_eq!(denied.0, expected);
}

#[test]
fn md5_by_name_makes_the_key_and_responses_carry_sha_256() {
    let mut world = World::new();
    for integrity in [Integrity::Sha256, Integrity::Sha1] {
        let signer = Signer {
            chosen: Some(MD5.to_vec()),
            sha256: false,
            integrity: vec![integrity],
            ..modern()
        };
        let mut client = alice();
        let response = signer.allocate(&mut world, &mut client);
        assert_eq!(response.code(), None);
        assert!(signer.is_signed(&response, &client, Integrity::Sha256));
        let ended = signer.ask(&mut world, &mut client, Method::REFRESH, &refresh(0));
        assert_eq!(ended.code(), None);
    }
}

#[test]
fn the_sha_256_integrity_decides_if_present() {
    let mut world = World::new();
    let both = Signer {
        integrity: vec![Integrity::Sha1, Integrity::Sha256],
        ..modern()
    };
    let mut client = alice();
    let response = both.allocate(&mut world, &mut client);
    assert_eq!(response.code(), None);
    assert!(both.is_signed(&response, &client, Integrity::Sha256));
    // A byte before FINGERPRINT (8 bytes) changes: SHA-256 becomes invalid, SHA-1 stays valid.
    let mut request = both.sign(&mut client, Method::REFRESH, &refresh(0));
    request.truncate(request.len() - 8);
    let last = request.len() - 1;
    request[last] ^= 1;
    let length = (request.len() - 20) as u16;
    request[2..4].copy_from_slice(&length.to_be_bytes());
    assert!(
        Message::parse(&request)
            .unwrap()
            .verify(&both.key(&client, Integrity::Sha1))
    );
    assert_eq!(
        Response(world.response(&client.route, &request)).code(),
        Some(401)
    );
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn a_sha_1_integrity_with_a_sha_256_key_gets_a_sha_256_response() {
    let mut world = World::new();
    let signer = Signer {
        integrity: vec![Integrity::Sha1],
        ..modern()
    };
    let mut client = alice();
    let response = signer.allocate(&mut world, &mut client);
    assert_eq!(response.code(), None);
    assert!(signer.is_signed(&response, &client, Integrity::Sha256));
}

#[test]
fn without_algorithms_the_key_is_md5_and_responses_carry_sha_1() {
    let mut world = World::new();
    let signer = Signer {
        integrity: vec![Integrity::Sha256],
        ..browser()
    };
    let mut client = alice();
    let response = signer.allocate(&mut world, &mut client);
    assert_eq!(response.code(), None);
    assert!(signer.is_signed(&response, &client, Integrity::Sha1));
    let of_sha256 = Signer {
        sha256: true,
        ..signer
    };
    let response = of_sha256.ask(&mut world, &mut client, Method::REFRESH, &refresh(0));
    assert_eq!(response.code(), Some(401));
}

#[test]
fn modified_password_algorithms_get_400() {
    let mut world = World::new();
    let mut client = alice();
    client.greet(&mut world);
    let (list, sha256, md5) = (OFFERED.to_vec(), SHA256.to_vec(), MD5.to_vec());
    let turned = [MD5, SHA256].concat();
    let longer = [&OFFERED[..], &[0, 3, 0, 0]].concat();
    let parameters = [&[0, 2, 0, 4][..], b"more"].concat();
    for (list, chosen) in [
        (Some(&list), None),
        (None, Some(&sha256)),
        (None, Some(&md5)),
        (Some(&md5), Some(&md5)),
        (Some(&sha256), Some(&sha256)),
        (Some(&turned), Some(&sha256)),
        (Some(&longer), Some(&sha256)),
        (Some(&list), Some(&vec![0, 3, 0, 0])),
        (Some(&list), Some(&parameters)),
        (Some(&list), Some(&list)),
        (Some(&list), Some(&Vec::new())),
    ] {
        let signer = Signer {
            list: list.cloned(),
            chosen: chosen.cloned(),
            ..modern()
        };
        let request = signer.sign(&mut client, Method::REFRESH, &[]);
        let (verdict, bytes) = world.receive(&client.route, &request);
        let outcome = Outcome::Refused(Method::REFRESH, ErrorReason::PasswordAlgorithms);
        assert_eq!(verdict, Verdict::Respond(outcome), "{list:?} {chosen:?}");
        let response = Response(bytes);
        assert_eq!(response.code(), Some(400));
        assert_eq!(response.message().integrity(), None);
        let more = [
            Attribute::NONCE,
            Attribute::REALM,
            Attribute::PASSWORD_ALGORITHMS,
        ];
        assert!(more.iter().all(|a| response.message().get(*a).is_none()));
    }
}

#[test]
fn a_nonce_without_its_feature_flags_is_invalid() {
    let mut world = World::new();
    let mut client = alice();
    client.greet(&mut world);
    let nonce = client.nonce.clone();
    for cookie in ["", "obMatJos2AAAA", "obMatJos2AAAC"] {
        client.nonce = [cookie.as_bytes(), &nonce[13..]].concat();
        for signer in [browser(), modern()] {
            let response = signer.ask(&mut world, &mut client, Method::REFRESH, &[]);
            assert_eq!(response.code(), Some(438), "{cookie}");
            let fresh = response.message().get(Attribute::NONCE).unwrap();
            assert!(fresh.starts_with(b"obMatJos2AAAB"));
        }
    }
}

#[test]
fn an_allocation_requires_the_algorithm_that_created_it() {
    for (first, second) in [(modern(), browser()), (browser(), modern())] {
        let mut world = World::new();
        let mut client = alice();
        assert_eq!(first.allocate(&mut world, &mut client).code(), None);
        let response = second.ask(&mut world, &mut client, Method::REFRESH, &refresh(0));
        assert_eq!(response.code(), Some(441));
        let transport = [(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())];
        let response = second.ask(&mut world, &mut client, Method::ALLOCATE, &transport);
        assert_eq!(response.code(), Some(437));
        assert_eq!(world.server.allocations(), 1);
        let response = first.ask(&mut world, &mut client, Method::REFRESH, &refresh(0));
        assert_eq!(response.code(), None);
    }
}

#[test]
fn a_wrong_credential_is_reported_before_a_stale_nonce() {
    let mut world = World::new();
    let mut client = alice();
    client.minted.credential.push('x');
    client.nonce = b"never given".to_vec();
    for signer in [browser(), modern()] {
        let request = signer.sign(&mut client, Method::REFRESH, &[]);
        let (verdict, bytes) = world.receive(&client.route, &request);
        let outcome = Outcome::Refused(Method::REFRESH, ErrorReason::BadCredentialAndNonce);
        assert_eq!(verdict, Verdict::Respond(outcome));
        assert_eq!(Response(bytes).code(), Some(401));
    }
}

#[test]
fn userhash_is_rejected_alone_and_unknown_beside_a_username() {
    let mut world = World::new();
    let mut client = alice();
    client.greet(&mut world);
    let hash = (Attribute::USERHASH, vec![7; 32]);
    let transaction = client.transaction();
    let mut out = Vec::new();
    Writer::new(&mut out, Method::REFRESH, Class::Request, transaction)
        .attribute(hash.0, &hash.1)
        .attribute(Attribute::REALM, client.realm.as_bytes())
        .attribute(Attribute::NONCE, &client.nonce)
        .attribute(Attribute::PASSWORD_ALGORITHMS, &OFFERED)
        .attribute(Attribute::PASSWORD_ALGORITHM, &SHA256)
        .integrity(&modern().key(&client, Integrity::Sha256))
        .fingerprint();
    let response = Response(world.response(&client.route, &out));
    assert_eq!(response.code(), Some(401));
    let response = modern().ask(&mut world, &mut client, Method::REFRESH, &[hash]);
    assert_eq!(response.code(), Some(420));
    let list = response
        .message()
        .get(Attribute::UNKNOWN_ATTRIBUTES)
        .map(<[u8]>::to_vec);
    assert_eq!(list, Some(vec![0x00, 0x1e]));
}
