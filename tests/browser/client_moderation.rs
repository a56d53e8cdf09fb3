//! Chat and moderation by `/assets/client.js`: by frames of `parlor.v1`, and over HTTP in the plain protocol.

use serde_json::{Value, json};

use crate::client::{PLAIN, bare_page, starts};
use crate::support::call::Person;
use crate::support::namespace::in_a_namespace;
use crate::support::{Builder, Daemon};
use crate::{ADA, GRACE, folder};

in_a_namespace! {
    fn a_client_posts_and_deletes_chat_and_moderates_by_frames() {
        moderates("");
    }

    fn a_client_posts_and_deletes_chat_and_moderates_over_http_in_the_plain_protocol() {
        moderates(PLAIN);
    }
}

/// Ada, the owner of the room, moderates Grace; `protocol` is a script for Ada's page.
fn moderates(protocol: &str) {
    let no_pause = Builder::new().env("PARLOR_ROOMS__KICK_COOLDOWN", "0s");
    let (daemon, folder) = (no_pause.start(), folder());
    let mut ada = bare_page(ADA, protocol, folder.path());
    let mut grace = bare_page(GRACE, "", folder.path());
    let ada_id = starts(&mut ada, &daemon);
    let grace_id = starts(&mut grace, &daemon);
    daemon.cli_json(&["room", "role", "lobby", ADA.0, "owner"]);
    grace.wait("for the owner", &format!("{} === 'owner'", role(&ada_id)));
    let expected = if protocol.is_empty() {
        "parlor.v1"
    } else {
        "plain"
    };
    assert_eq!(ada.ask("client.protocol"), expected);

    chat(&mut ada, &mut grace, &ada_id);
    moderation(&mut ada, &mut grace, &grace_id);
    removal(&daemon, &mut ada, &mut grace, &grace_id);
    for person in [&mut ada, &mut grace] {
        person.has_seen_no_errors();
    }
}

fn chat(ada: &mut Person, grace: &mut Person, ada_id: &Value) {
    ada.ask("client.chat('Hello')");
    grace.wait("for the message", "events('chat').length === 1");
    let message = grace.ask("events('chat')[0]");
    let written = json!([ada_id, "Ada", "Hello"]);
    assert_eq!(
        json!([
            message["userId"],
            message["displayName"],
            message["content"]
        ]),
        written
    );
    let id = &message["id"];
    assert_eq!(refusal(grace, &format!("deleteChat({id})")), "forbidden");
    assert_eq!(refusal(ada, "chat('')"), "bad-request");
    ada.ask(&format!("client.deleteChat({id})"));
    grace.wait("for the deletion", "events('chatDeleted').length === 1");
    assert_eq!(grace.ask("events('chatDeleted')"), json!([id]));
    assert_eq!(refusal(ada, &format!("deleteChat({id})")), "not-found");
}

fn moderation(ada: &mut Person, grace: &mut Person, grace_id: &Value) {
    let lock = |locked: bool| format!("moderate('lock', undefined, {{ locked: {locked} }})");
    assert_eq!(refusal(grace, &lock(true)), "forbidden");
    ada.ask(&format!(
        "client.moderate('role', {grace_id}, {{ role: 'moderator' }})"
    ));
    grace.wait(
        "for the role",
        &format!("{} === 'moderator'", role(grace_id)),
    );
    for (changes, locked) in [true, false].into_iter().enumerate() {
        grace.ask(&format!("client.{}", lock(locked)));
        grace.wait(
            "for the lock",
            &format!("events('roomUpdated').length === {}", changes + 1),
        );
        assert_eq!(grace.ask("client.info.locked"), locked);
    }
    ada.ask(&format!(
        "client.moderate('mute', {grace_id}, {{ reason: 'noise' }})"
    ));
    grace.wait("for the request", "events('muted').length === 1");
    let muted = format!("client.participants.get({grace_id}).state.mutedByModerator");
    grace.wait("for the state", &muted);
    ada.ask(&format!(
        "client.moderate('role', {grace_id}, {{ role: 'member' }})"
    ));
    grace.wait("for the role", &format!("{} === 'member'", role(grace_id)));
    assert_eq!(refusal(grace, &lock(true)), "forbidden");
    assert_eq!(refusal(ada, "moderate('mute', 'nobody')"), "not-found");
}

fn removal(daemon: &Daemon, ada: &mut Person, grace: &mut Person, grace_id: &Value) {
    let issued = daemon.cli_json(&["token", "issue", GRACE.0]);
    let join = format!("join({})", issued["token"]);
    ada.ask(&format!("client.moderate('kick', {grace_id})"));
    grace.wait("for the kick", "events('closed').length === 1");
    assert_eq!(grace.ask("events('closed')"), json!([4005]));
    grace.ask(&format!("client.{join}"));
    grace.wait("to be back", "events('open').length === 2");

    ada.ask(&format!(
        "client.moderate('ban', {grace_id}, {{ reason: 'noise', keepInvite: true }})"
    ));
    grace.wait("for the ban", "events('closed').length === 2");
    assert_eq!(refusal(grace, &join), "banned");
    let bans = daemon.cli_json(&["room", "bans", "lobby"]);
    assert_eq!(
        (&bans[0]["user"]["id"], &bans[0]["reason"]),
        (grace_id, &json!("noise"))
    );
    ada.ask(&format!("client.moderate('unban', {grace_id})"));
    assert_eq!(daemon.cli_json(&["room", "bans", "lobby"]), json!([]));
    grace.ask(&format!("client.{join}"));
    grace.wait("to be back", "events('open').length === 3");
    assert_eq!(
        refusal(ada, &format!("moderate('unban', {grace_id})")),
        "not-found"
    );
}

/// The role of a participant, as an expression.
fn role(id: &Value) -> String {
    format!("client.participants.get({id}).role")
}

/// The code of the error of a method that fails.
fn refusal(person: &mut Person, call: &str) -> Value {
    person.ask(&format!(
        "client.{call}.then(() => 'no error', ({{ code }}) => code)"
    ))
}
