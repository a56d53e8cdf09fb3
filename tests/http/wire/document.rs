//! `docs/build/protocol.md` and `docs/build/extended-protocol.md`, executed: their examples are lines of `who, what
//! happens, text`.
//!
//! `>` sends, `<` reads exactly this text next, `<<` reads a frame of this type about this user, `+` connects to a
//! room, `++` does so by `parlor.v1` and reads the welcome, `-` closes with a code, `!` reads a close code, and `**`
//! runs a command. One story from the first example to the last.

use std::collections::{BTreeMap, BTreeSet};

use parlor::room::CloseCode;

use crate::wire::world::{Client, LOBBY, World};

const PLAIN: &str = include_str!("../../../docs/build/protocol.md");
const EXTENDED: &str = include_str!("../../../docs/build/extended-protocol.md");

/// The lines of all examples of a document.
fn examples(document: &'static str) -> Vec<&'static str> {
    let blocks = document.split("```json\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or(""));
    blocks.flat_map(str::lines).collect()
}

/// The connected users. A replaced connection is kept for its close code.
struct Cast {
    world: World,
    clients: BTreeMap<&'static str, Vec<Client>>,
}

impl Cast {
    fn play(&mut self, line: &'static str) {
        let (who, line) = line.split_once(' ').expect(line);
        let (act, text) = line.trim_start().split_once(' ').expect(line);
        match act {
            ">" => self.newest(who).send_text(text),
            "<" => assert_eq!(self.newest(who).read_text(), text, "{who}"),
            "<<" => {
                let (kind, about) = text.split_once(' ').expect(line);
                let frame = self.newest(who).read();
                assert_eq!(
                    (&frame["type"], &frame["from"]),
                    (&kind.into(), &about.into())
                );
            }
            "+" => {
                let client = self.world.connect(text, &self.world.token(who));
                self.clients.entry(who).or_default().push(client);
            }
            "++" => {
                let (client, _) = self.world.enter_extended(text, who);
                self.clients.entry(who).or_default().push(client);
            }
            "**" => {
                let command: Vec<&str> = text.split(' ').collect();
                self.world.daemon.cli_json(&command);
            }
            "-" => {
                let code = text.parse().expect(text);
                self.newest(who).close(code);
            }
            "!" => {
                let mut oldest = self.clients.get_mut(who).expect(who).remove(0);
                assert_eq!(oldest.close_code().to_string(), text, "{who}");
            }
            other => panic!("`{other}` is no act"),
        }
    }

    fn newest(&mut self, who: &str) -> &mut Client {
        let clients = self.clients.get_mut(who).expect(who);
        clients.last_mut().expect(who)
    }
}

#[test]
fn every_example_of_the_document_is_true() {
    let world = World::start();
    let examples = examples(PLAIN);
    assert!(examples.len() > 20, "the examples are found");
    world.join(LOBBY, "dave");
    let people = ["alice", "bob", "carol"];
    let clients = people.into_iter().zip(world.lobby(people));
    let clients = clients.map(|(who, client)| (who, vec![client])).collect();
    let mut cast = Cast { world, clients };
    for line in examples {
        cast.play(line);
    }
}

mod extended {
    use super::*;

    #[test]
    fn every_example_of_the_extended_protocol_is_true() {
        let world = World::start();
        world.join(LOBBY, "dave");
        let examples = examples(EXTENDED);
        assert!(examples.len() > 15, "the examples are found");
        let clients = BTreeMap::new();
        let mut cast = Cast { world, clients };
        for line in examples {
            cast.play(line);
        }
    }
}

#[test]
fn the_document_lists_the_close_codes_that_exist() {
    let table = include_str!("../../../docs/reference/close-codes.md");
    let cells = table.lines().filter_map(|line| line.strip_prefix("| "));
    let listed: BTreeSet<u16> = cells.filter_map(|l| l.get(..4)?.parse().ok()).collect();
    let existing: BTreeSet<u16> = CloseCode::ALL.iter().map(|code| code.code()).collect();
    assert_eq!(listed, existing);
}
