//! Sends an admin command to the server, or executes it on the database.

use crate::admin::{
    self, AdminClient, AdminCommand, Failure, PasswordHash, Response, SocketPaths, Target,
    UserCommand,
};
use crate::config::Config;

use super::output::write_stderr;
use super::password;

/// Executes the command. A failure also says which server or database was used: the name may exist in
/// another.
pub(super) fn run(config: Config, command: AdminCommand, json: bool) -> Result<Response, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let without_server = command.without_server(config.auth.provision_users);
        let paths = SocketPaths::default();
        let Target { client, remark } = admin::find(config, &paths, without_server).await?;
        let requires_server = command.requires_server();
        match send(&client, command).await {
            Ok(mut response) => {
                response.remarks.splice(0..0, remark);
                Ok(response)
            }
            Err(failure) => {
                let remark = remark.filter(|_| !json && !requires_server);
                remark.iter().for_each(|remark| write_stderr(remark));
                Err(failure)
            }
        }
    })
}

async fn send(client: &AdminClient, command: AdminCommand) -> Result<Response, Failure> {
    let command = match command {
        AdminCommand::User(command) => AdminCommand::User(prepare(client, command).await?),
        command => command,
    };
    client.send(command).await
}

/// Replaces the flags that concern this process alone: reads and hashes the password, and selects the
/// kind of list.
async fn prepare(client: &AdminClient, command: UserCommand) -> Result<UserCommand, Failure> {
    Ok(match command {
        UserCommand::Add {
            name,
            display_name,
            admin,
            source,
            ..
        } => UserCommand::Add {
            name,
            display_name,
            admin,
            source,
            password: if source.ask || source.stdin {
                Some(read_hash(source.stdin)?)
            } else {
                None
            },
        },
        UserCommand::List { guests: false } => UserCommand::ListUsers,
        UserCommand::List { guests: true } => UserCommand::ListGuests,
        UserCommand::Passwd {
            user,
            password_stdin,
            ..
        } => {
            // Report a user who cannot have a password before one is typed.
            let check = UserCommand::CheckPassword { user: user.clone() };
            client.send(AdminCommand::User(check)).await?;
            UserCommand::Passwd {
                user,
                password_stdin,
                password: Some(read_hash(password_stdin)?),
            }
        }
        command => command,
    })
}

/// The password itself stays in this process.
fn read_hash(stdin: bool) -> Result<PasswordHash, Failure> {
    Ok(PasswordHash(password::hash(stdin)?))
}
