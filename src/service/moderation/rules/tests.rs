use super::*;

const GUEST: Standing = Standing::Participant { is_guest: true };
const MEMBER: Standing = Standing::Participant { is_guest: false };
const EVERYBODY: [(&str, Standing); 5] = [
    ("guest", GUEST),
    ("member", MEMBER),
    ("moderator", Standing::Moderator),
    ("owner", Standing::Owner),
    ("admin", Standing::Admin),
];

/// For each act, a row for each actor, with the answers about each of `EVERYBODY` as another person: `+` for allowed,
/// and the first letter of the refusal otherwise (`p`rotected, `g`uest, `l`ast owner). Actors without any right have
/// a `-`.
const TABLE: [(Act, [&str; 5]); 7] = [
    (Act::Kick, ["-", "-", "++ppp", "+++pp", "++++p"]),
    (Act::Ban, ["-", "-", "++ppp", "+++pp", "+++pp"]),
    (Act::DeleteMessage, ["-", "-", "++ppp", "+++++", "+++++"]),
    (Act::Unban, ["-", "-", "+++++", "+++++", "+++++"]),
    (
        Act::SetRole(NewRole::Owner),
        ["-", "-", "-", "g++++", "g++++"],
    ),
    (
        Act::SetRole(NewRole::Moderator),
        ["-", "-", "-", "g++l+", "g++l+"],
    ),
    (
        Act::SetRole(NewRole::Member),
        ["-", "-", "-", "g++l+", "g++l+"],
    ),
];

#[test]
fn everybody_acts_on_those_below_them_alone() {
    for (act, rows) in TABLE {
        for ((actor_name, actor), row) in EVERYBODY.into_iter().zip(rows) {
            let is_allowed = check_act(actor, act, None).is_ok();
            assert_eq!(is_allowed, row != "-", "{act:?} by {actor_name}");
            let found: String = EVERYBODY
                .into_iter()
                .map(
                    |(_, target)| match check_act(actor, act, Some((target, false))) {
                        Ok(()) => '+',
                        Err(Refusal::Protected) => 'p',
                        Err(Refusal::Guest) => 'g',
                        Err(Refusal::LastOwner) => 'l',
                        Err(_) => '-',
                    },
                )
                .collect();
            let expected = if row == "-" { "-----" } else { row };
            assert_eq!(found, expected, "{act:?} by {actor_name}");
        }
    }
}

#[test]
fn moderators_lock_and_read_and_others_do_not() {
    for act in [Act::Lock, Act::Read] {
        let allowed = EVERYBODY.map(|(_, actor)| check_act(actor, act, None));
        let refused = Err(Refusal::NotAModerator);
        assert_eq!(allowed, [refused, refused, Ok(()), Ok(()), Ok(())]);
    }
    let role = Act::SetRole(NewRole::Member);
    let refused = check_act(Standing::Moderator, role, None);
    assert_eq!(refused, Err(Refusal::NotTheOwner));
}

#[test]
fn nobody_acts_on_themselves() {
    for (act, rows) in TABLE {
        for ((_, actor), row) in EVERYBODY.into_iter().zip(rows) {
            let on_themselves = check_act(actor, act, Some((actor, true)));
            if row != "-" {
                assert_eq!(on_themselves, Err(Refusal::Yourself), "{act:?}");
            }
        }
    }
}
