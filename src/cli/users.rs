//! `parlor user …`

use std::io::{self, Read};

use serde_json::{Value, json};

use crate::password;
use crate::store::{CreateError, NewUser, User, utc};

use super::args;
use super::context::Context;
use super::failure::Failure;
use super::output::{Answer, table, tick};

pub async fn run(context: &Context, command: args::User) -> Result<Answer, Failure> {
    match command {
        args::User::Add {
            name,
            display_name,
            admin,
            password_stdin,
        } => {
            let password_hash = match password_stdin {
                true => Some(
                    password::hash(&read_password(io::stdin().lock())?)
                        .map_err(Failure::refused)?,
                ),
                false => None,
            };
            let new = NewUser {
                name,
                display_name,
                admin,
                password_hash,
            };
            add(context, new).await
        }
        args::User::List => list(context).await,
    }
}

async fn add(context: &Context, new: NewUser) -> Result<Answer, Failure> {
    let user = context.store.add_user(new).await.map_err(refusal)?;
    let text = format!("Added user {} with id {}", user.name, user.id);
    Ok(Answer::new(user_json(&user), text))
}

async fn list(context: &Context) -> Result<Answer, Failure> {
    let users = context.store.users().await?;
    let rows = users.iter().map(|user| {
        vec![
            user.id.clone(),
            user.name.clone(),
            user.display_name.clone(),
            tick(user.admin),
            tick(user.disabled),
        ]
    });
    let header = ["ID", "NAME", "DISPLAY NAME", "ADMIN", "DISABLED"];
    let json = users.iter().map(user_json).collect();
    Ok(match users.is_empty() {
        true => {
            Answer::new(json, "").remark("There are no users: `parlor user add NAME` adds one.")
        }
        false => Answer::new(json, table(&header, rows)),
    })
}

fn user_json(user: &User) -> Value {
    json!({
        "id": user.id,
        "name": user.name,
        "display_name": user.display_name,
        "admin": user.admin,
        "disabled": user.disabled,
        "created_at": utc::text(user.created_at),
    })
}

/// A name or id that can't be one is a fault of usage; one that is taken is not.
pub fn refusal(error: CreateError) -> Failure {
    match error {
        CreateError::BadName | CreateError::BadId(_) | CreateError::BadCapacity(_) => {
            Failure::usage(error)
        }
        error => Failure::refused(error),
    }
}

/// All of the input but the end of its last line.
fn read_password(input: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    input
        .take(password::LONGEST as u64 + 3)
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("the password can't be read: {error}")))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() || password.contains(['\n', '\r', '\0']) {
        return Err(Failure::usage(
            "--password-stdin needs one line on standard input, the password",
        ));
    }
    if password.len() > password::LONGEST {
        return Err(Failure::usage(format!(
            "a password has at most {} bytes",
            password::LONGEST
        )));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_without_its_end() {
        for input in ["correct horse", "correct horse\n", "correct horse\r\n"] {
            assert_eq!(read_password(input.as_bytes()).unwrap(), "correct horse");
        }
        for input in ["", "\n", "a\nb", "a\0b"] {
            assert!(read_password(input.as_bytes()).is_err(), "{input:?}");
        }
        let long = "x".repeat(1025);
        assert!(read_password(long.as_bytes()).is_err());
        assert!(read_password(&long.as_bytes()[1..]).is_ok());
    }
}
