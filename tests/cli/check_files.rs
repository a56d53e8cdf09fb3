//! `parlor check` and `parlor config`: files of secrets and certificates.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use crate::check::{SECRET, checked, cli_with_file, keys};
use crate::support::certificate::Authority;
use crate::support::command::Cli;

#[test]
fn previous_secrets_can_be_read_from_a_file_with_one_on_each_line() {
    let cli = cli_with_file("[auth]\nprevious_secrets_file = \"old\"\n");
    let old = cli.place().join("old");
    fs::write(&old, format!("{SECRET}\n\nshort\n")).unwrap();
    fs::set_permissions(&old, Permissions::from_mode(0o600)).unwrap();
    let (_, answer) = checked(&cli);
    assert_eq!(
        keys(&answer["problems"]),
        ["auth.previous_secrets"],
        "{answer}"
    );
    assert_eq!(answer["problems"][0]["file"], "old");
    fs::write(&old, format!("{SECRET}\n")).unwrap();
    assert_eq!(checked(&cli).0, 0);
    let twice = cli.env("PARLOR_AUTH__PREVIOUS_SECRETS", SECRET);
    assert_eq!(
        keys(&checked(&twice).1["problems"]),
        ["auth.previous_secrets_file"]
    );
}

#[test]
fn a_certificate_error_is_reported_with_key_and_file() {
    let cli = Cli::new();
    let (cert, key) = Authority::new().issue(cli.place(), &["talk.example.org"]);
    let other = cli.place().join("other");
    fs::create_dir(&other).unwrap();
    let (_, other_key) = Authority::new().issue(&other, &["talk.example.org"]);
    let report = |mode: &str, cert: Option<&Path>, key: Option<&Path>| {
        let mut command = cli.command(&["check"]);
        command.env("PARLOR_TLS__MODE", mode);
        command.env("PARLOR_SERVER__PUBLIC_URL", "https://talk.example.org");
        cert.map(|path| command.env("PARLOR_TLS__CERT_FILE", path));
        key.map(|path| command.env("PARLOR_TLS__KEY_FILE", path));
        let output = command.output().expect("parlor ends");
        String::from_utf8(output.stdout).unwrap()
    };
    let sound = report("files", Some(&cert), Some(&key));
    assert_eq!(sound, "the configuration (no file) is valid\n");
    let nowhere = cli.place().join("nowhere.pem");
    for (mode, cert_file, key_file, expected) in [
        (
            "auto",
            None,
            None,
            "PARLOR_TLS__MODE is wrong: it must be one of off, files, self-signed, acme (",
        ),
        (
            "files",
            None,
            Some(&key),
            "error: tls.cert_file must name the file of the certificate",
        ),
        ("off", Some(&cert), None, "PARLOR_TLS__CERT_FILE names "),
        (
            "files",
            Some(&nowhere),
            Some(&key),
            "nowhere.pem, which does not exist",
        ),
        (
            "files",
            Some(&cert),
            Some(&other_key),
            "key.pem, which holds another key than that of the first certificate in ",
        ),
        (
            "files",
            Some(&key),
            Some(&key),
            "key.pem, which holds no certificate",
        ),
    ] {
        let printed = report(
            mode,
            cert_file.map(PathBuf::as_path),
            key_file.map(PathBuf::as_path),
        );
        assert!(printed.contains(expected), "{printed}");
    }
}

#[test]
fn a_key_file_that_the_user_cannot_read_is_reported_with_the_user() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("left out: only root can be somebody else");
        return;
    }
    let cli = Cli::new();
    let (cert, key) = Authority::new().issue(cli.place(), &["talk.example.org"]);
    fs::set_permissions(cli.place(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let mut command = cli.command(&["check"]);
    command.env("PARLOR_TLS__MODE", "files");
    command.env("PARLOR_TLS__CERT_FILE", &cert);
    command.env("PARLOR_TLS__KEY_FILE", &key);
    let output = command.uid(65_534).gid(65_534).output();
    let report = String::from_utf8(output.expect("parlor ends").stdout).unwrap();
    let expected = "key.pem, which the user nobody (uid 65534), whom parlor runs as, may not read";
    assert!(report.contains(expected), "{report}");
}
