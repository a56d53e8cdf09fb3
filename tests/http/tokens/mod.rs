//! The token matrix: the signatures that the server accepts under each configuration.

mod issuer;
mod load;
mod published;

use crate::support::http::{Answer, Client};
use crate::support::{Builder, Daemon};
use parlor::clock;
use serde_json::{Value, json};

pub(crate) use issuer::sign_by_secret;
use issuer::{Issuer, claims, encode, unsigned};

const SECRET: &str = "a shared secret of at least 32 bytes";
const OLD: &str = "what it was before: 32 bytes and more";

const BY_SECRET: [&str; 3] = ["HS256", "HS384", "HS512"];
const BY_RSA: [&str; 6] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const BY_CURVE: [&str; 3] = ["ES256", "ES384", "EdDSA"];

/// A server that accepts tokens of one algorithm and creates their users.
struct Fixture {
    daemon: Daemon,
    client: Client,
}

impl Fixture {
    fn pinned(algorithm: &str, change: impl FnOnce(Builder) -> Builder) -> Fixture {
        let builder = Builder::new()
            .env("PARLOR_AUTH__ALGORITHM", algorithm)
            .env("PARLOR_AUTH__PROVISION_USERS", "true");
        let daemon = change(builder).start();
        let client = Client::new(daemon.http());
        Fixture { daemon, client }
    }

    fn of(algorithm: &str, issuer: &Issuer) -> Fixture {
        let pem = issuer.pem();
        Fixture::pinned(algorithm, |builder| {
            builder.env("PARLOR_AUTH__PUBLIC_KEY_FILE", pem.to_str().unwrap())
        })
    }

    fn me(&self, token: &str) -> Answer {
        self.client.with_token(token).get("/api/auth/me")
    }

    fn accepts(&self, token: &str) -> bool {
        let answer = self.me(token);
        if answer.status != 200 {
            assert_eq!(answer.refusal(), (401, "unauthorized".to_owned()));
        }
        answer.status == 200
    }

    /// A guest's token, which parlor signs itself.
    fn own_token(&self) -> String {
        let link = self.daemon.invite_link();
        let (page, invite) = link.split_once('#').expect("an invite in the fragment");
        let room = page.rsplit_once('/').unwrap().1;
        let body = json!({"room": room, "invite": invite, "name": "Gast"});
        let entered = self.client.post_json("/api/auth/guest", &body).ok();
        entered["access_token"].as_str().unwrap().to_owned()
    }
}

fn now() -> u64 {
    clock::now().unix
}

/// The header of a token, decoded.
fn header(token: &str) -> Value {
    use base64::Engine;
    let part = token.split('.').next().unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part);
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

#[test]
fn each_hmac_algorithm_accepts_its_own_tokens_and_no_other() {
    for pinned in BY_SECRET {
        let fixture = Fixture::pinned(pinned, |builder| builder.env("SECRET_KEY", SECRET));
        for other in BY_SECRET {
            let token = sign_by_secret(
                SECRET.as_bytes(),
                other,
                &json!({ "alg": other }),
                &claims(),
            );
            assert_eq!(fixture.accepts(&token), pinned == other, "{pinned} {other}");
            let lying = sign_by_secret(
                SECRET.as_bytes(),
                other,
                &json!({ "alg": pinned }),
                &claims(),
            );
            assert_eq!(fixture.accepts(&lying), pinned == other, "{pinned} {other}");
        }
    }
}

#[test]
fn each_rsa_algorithm_accepts_its_own_tokens_and_no_other() {
    let issuer = Issuer::of("RS256");
    let other_issuer = Issuer::of("RS256");
    for pinned in BY_RSA {
        let fixture = Fixture::of(pinned, &issuer);
        for other in BY_RSA {
            let token = issuer.token(other);
            assert_eq!(fixture.accepts(&token), pinned == other, "{pinned} {other}");
            let lying = issuer.sign(other, &json!({ "alg": pinned }), &claims());
            assert_eq!(fixture.accepts(&lying), pinned == other, "{pinned} {other}");
        }
        assert!(!fixture.accepts(&other_issuer.token(pinned)), "{pinned}");
    }
}

#[test]
fn each_curve_algorithm_accepts_its_own_tokens_and_no_other() {
    let issuers = BY_CURVE.map(|algorithm| (algorithm, Issuer::of(algorithm)));
    for (pinned, issuer) in &issuers {
        let fixture = Fixture::of(pinned, issuer);
        for (other, somebody) in &issuers {
            let token = somebody.token(other);
            assert_eq!(fixture.accepts(&token), pinned == other, "{pinned} {other}");
            let lying = somebody.sign(other, &json!({ "alg": pinned }), &claims());
            assert_eq!(fixture.accepts(&lying), pinned == other, "{pinned} {other}");
        }
        assert!(
            !fixture.accepts(&Issuer::of(pinned).token(pinned)),
            "{pinned}"
        );
    }
}

#[test]
fn a_token_without_a_signature_is_rejected_under_every_kind_of_key() {
    let issuer = Issuer::of("ES256");
    let houses = [
        Fixture::of("ES256", &issuer),
        Fixture::pinned("HS256", |builder| builder.env("SECRET_KEY", SECRET)),
    ];
    for fixture in houses {
        for alg in ["none", "None", "NONE", "nOnE", "", "ES256", "HS256"] {
            for kid in [json!(null), json!("parlor")] {
                let bare = unsigned(&json!({"alg": alg, "kid": kid}), &claims());
                assert!(!fixture.accepts(&format!("{bare}.")), "{alg}");
                assert!(
                    !fixture.accepts(&format!("{bare}.{}", encode(b"x"))),
                    "{alg}"
                );
            }
        }
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let issuer = Issuer::of(algorithm);
        let fixture = Fixture::of(algorithm, &issuer);
        let pem = std::fs::read(issuer.pem()).unwrap();
        let jwk = issuer.jwk("a").to_string();
        for secret in [&pem[..], pem.trim_ascii(), jwk.as_bytes(), b""] {
            for alg in ["HS256", "HS384", "HS512", algorithm] {
                for kid in [json!(null), json!("parlor")] {
                    let header = json!({"alg": alg, "kid": kid});
                    let token = sign_by_secret(secret, alg, &header, &claims());
                    assert!(!fixture.accepts(&token), "{algorithm} {header}");
                }
            }
        }
        assert!(fixture.accepts(&issuer.token(algorithm)));
    }
}

#[test]
fn times_issuer_and_audience_are_checked_under_a_public_key_too() {
    let issuer = Issuer::of("ES256");
    let pem = issuer.pem();
    let fixture = Fixture::pinned("ES256", |builder| {
        builder
            .env("PARLOR_AUTH__PUBLIC_KEY_FILE", pem.to_str().unwrap())
            .env("PARLOR_AUTH__ISSUER", "https://id.example")
            .env("PARLOR_AUTH__AUDIENCE", "parlor")
    });
    let good = json!({
        "sub": "alice", "exp": now() + 3600, "nbf": now() - 1,
        "iss": "https://id.example", "aud": ["other", "parlor"],
    });
    let answer = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        fixture.me(&issuer.sign("ES256", &json!({"alg": "ES256"}), &claims))
    };
    answer("name", json!("Alice")).ok();
    let late = answer("exp", json!(now() - 1)).refusal();
    assert_eq!(late, (401, "token-expired".to_owned()));
    for (key, value) in [
        ("exp", json!(null)),
        ("nbf", json!(now() + 600)),
        ("iss", json!("https://other.example")),
        ("iss", json!(null)),
        ("aud", json!("other")),
        ("aud", json!(null)),
        ("sub", json!("")),
    ] {
        let refused = answer(key, value.clone()).refusal();
        assert_eq!(refused, (401, "unauthorized".to_owned()), "{key} {value}");
    }
    // parlor's own tokens say what the configuration asks for.
    assert!(fixture.accepts(&fixture.own_token()));
}

#[test]
fn a_key_of_a_jwks_is_found_by_its_kid_and_an_unknown_kid_finds_none() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let (first, second) = (Issuer::of(algorithm), Issuer::of(algorithm));
        let other = Issuer::of(if algorithm == "ES256" {
            "RS256"
        } else {
            "ES256"
        });
        let jwks = first.jwks(&[other.jwk("c"), first.jwk("a"), second.jwk("b")]);
        let fixture = Fixture::pinned(algorithm, |builder| {
            builder.env("PARLOR_AUTH__JWKS_FILE", jwks.to_str().unwrap())
        });
        let signed = |issuer: &Issuer, header: Value| issuer.sign(algorithm, &header, &claims());
        for (issuer, kid, believed) in [
            (&first, "a", true),
            (&second, "b", true),
            (&first, "b", false),
            (&first, "unknown", false),
            (&second, "parlor", false),
        ] {
            let token = signed(issuer, json!({"alg": algorithm, "kid": kid}));
            assert_eq!(fixture.accepts(&token), believed, "{algorithm} {kid}");
        }
        for issuer in [&first, &second] {
            assert!(fixture.accepts(&signed(issuer, json!({ "alg": algorithm }))));
        }
        let token = signed(&Issuer::of(algorithm), json!({ "alg": algorithm }));
        assert!(!fixture.accepts(&token));
    }
}

#[test]
fn keys_of_both_files_are_accepted_and_one_without_an_id_under_any_kid() {
    let (named, nameless) = (Issuer::of("ES256"), Issuer::of("ES256"));
    let jwks = named.jwks(&[named.jwk("a")]);
    let pem = nameless.pem();
    let fixture = Fixture::pinned("ES256", |builder| {
        builder
            .env("PARLOR_AUTH__JWKS_FILE", jwks.to_str().unwrap())
            .env("PARLOR_AUTH__PUBLIC_KEY_FILE", pem.to_str().unwrap())
    });
    assert!(fixture.accepts(&named.token("ES256")));
    let header = json!({"alg": "ES256", "kid": "2026-11"});
    assert!(fixture.accepts(&nameless.sign("ES256", &header, &claims())));
    assert!(!fixture.accepts(&named.sign("ES256", &header, &claims())));
}

#[test]
fn parlor_signs_with_a_key_of_its_own_beside_a_public_key() {
    let issuer = Issuer::of("RS256");
    let fixture = Fixture::of("RS256", &issuer);
    let own = fixture.own_token();
    assert_eq!(
        header(&own),
        json!({"typ": "JWT", "alg": "HS256", "kid": "parlor"})
    );
    assert!(fixture.accepts(&own));
    let fresh = fixture
        .client
        .with_token(&own)
        .post("/api/auth/refresh")
        .ok();
    assert!(fixture.accepts(fresh["access_token"].as_str().unwrap()));
    fixture.daemon.cli_json(&["user", "add", "bob"]);
    let issued = fixture.daemon.cli_json(&["token", "issue", "bob"]);
    assert!(fixture.accepts(issued["token"].as_str().unwrap()));
    // The key is good for the tokens that name it, and for those alone.
    let secret = std::fs::read_to_string(fixture.daemon.data_dir().join("auth.secret")).unwrap();
    let by_secret =
        |header: Value| sign_by_secret(secret.trim().as_bytes(), "HS256", &header, &claims());
    assert!(fixture.accepts(&by_secret(json!({"alg": "HS256", "kid": "parlor"}))));
    assert!(!fixture.accepts(&by_secret(json!({"alg": "HS256"}))));
    assert!(!fixture.accepts(&by_secret(json!({"alg": "RS256", "kid": "parlor"}))));
    // The session of a foreign token is renewed by its issuer, also if its key has parlor's id.
    let header = json!({"alg": "RS256", "kid": "parlor"});
    let foreign = issuer.sign("RS256", &header, &claims());
    let refused = fixture
        .client
        .with_token(&foreign)
        .post("/api/auth/refresh");
    assert_eq!(refused.refusal(), (403, "foreign-token".to_owned()));
}

#[test]
fn a_rotated_secret_still_verifies_and_a_removed_one_does_not() {
    let token = |secret: &str| {
        let header = json!({"alg": "HS256", "kid": "of another program"});
        sign_by_secret(secret.as_bytes(), "HS256", &header, &claims())
    };
    let fixture = Fixture::pinned("HS256", |builder| {
        builder
            .env("SECRET_KEY", SECRET)
            .env("PARLOR_AUTH__PREVIOUS_SECRETS", OLD)
    });
    assert!(fixture.accepts(&token(SECRET)));
    assert!(fixture.accepts(&token(OLD)));
    assert!(!fixture.accepts(&token("one that was taken out of the list")));

    let issuer = Issuer::of("EdDSA");
    let pem = issuer.pem();
    let own = |secrets: &[(&str, &str)]| {
        Fixture::pinned("EdDSA", |builder| {
            let builder = builder.env("PARLOR_AUTH__PUBLIC_KEY_FILE", pem.to_str().unwrap());
            secrets
                .iter()
                .fold(builder, |builder, (key, value)| builder.env(key, value))
        })
    };
    let header = json!({"alg": "HS256", "kid": "parlor"});
    let before = sign_by_secret(OLD.as_bytes(), "HS256", &header, &claims());
    let rotated = [
        ("PARLOR_AUTH__SECRET", SECRET),
        ("PARLOR_AUTH__PREVIOUS_SECRETS", OLD),
    ];
    assert!(own(&rotated).accepts(&before));
    assert!(!own(&rotated[..1]).accepts(&before));
}

#[test]
fn a_role_in_a_foreign_token_counts_only_if_roles_are_trusted() {
    let issuer = Issuer::of("ES256");
    let pem = issuer.pem();
    let mut claims = claims();
    claims["role"] = json!("admin");
    let token = issuer.sign("ES256", &json!({"alg": "ES256"}), &claims);
    for (trusted, role, status) in [("false", "user", 403), ("true", "admin", 201)] {
        let fixture = Fixture::pinned("ES256", |builder| {
            builder
                .env("PARLOR_AUTH__PUBLIC_KEY_FILE", pem.to_str().unwrap())
                .env("PARLOR_AUTH__TRUST_ROLES", trusted)
        });
        let alice = fixture.client.with_token(&token);
        assert_eq!(alice.get("/api/auth/me").ok()["role"], json!(role));
        let invites = "/api/rooms/lobby/invites";
        assert_eq!(alice.post_json(invites, &json!({})).status, status);
        // The trust ends with the token: the store knows of no admin, nor do parlor's own tokens.
        let secret = fixture.daemon.data_dir().join("auth.secret");
        let secret = std::fs::read_to_string(secret).unwrap();
        let header = json!({"alg": "HS256", "kid": "parlor"});
        let own = sign_by_secret(secret.trim().as_bytes(), "HS256", &header, &claims);
        assert_eq!(fixture.me(&own).ok()["role"], json!("user"));
    }
}
