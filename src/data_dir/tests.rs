//! Tests of a directory that another user may write to.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};

use super::*;
use crate::secret::Secret;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A directory, and a file outside it that must stay unchanged.
struct Fixture {
    place: tempfile::TempDir,
    outside: PathBuf,
}

impl Fixture {
    fn new() -> Fixture {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        fs::create_dir(place.path().join("data")).unwrap();
        fs::write(&outside, SECRET).unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o4755)).unwrap();
        Fixture { place, outside }
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    /// Asserts that an entry planted under a name is rejected, and that the file outside is unchanged.
    fn assert_rejects(&self, name: &str, used: impl Fn(&DataDir) -> Result<(), DataDirError>) {
        let path = self.data().join(name);
        let planted: [(&str, &dyn Fn()); 4] = [
            ("a symbolic link", &|| {
                symlink(&self.outside, &path).unwrap();
            }),
            ("a symbolic link", &|| symlink("/nowhere", &path).unwrap()),
            ("a FIFO", &|| mkfifo(&path, Mode::S_IRUSR).unwrap()),
            ("a directory", &|| fs::create_dir(&path).unwrap()),
        ];
        for (kind, plant) in planted {
            plant();
            let data_dir = DataDir::open(&self.data()).unwrap();
            let message = used(&data_dir).unwrap_err().to_string();
            assert!(
                message.contains(name) && message.contains(kind),
                "{message}"
            );
            let (file, directory) = (fs::remove_file(&path), fs::remove_dir(&path));
            file.or(directory).unwrap();
        }
        assert_eq!(fs::read_to_string(&self.outside).unwrap(), SECRET);
        assert_eq!(self.outside.metadata().unwrap().mode() & 0o7777, 0o4755);
    }
}

#[test]
fn planted_links_and_fifos_are_rejected_without_blocking() {
    let fixture = Fixture::new();
    let secret = |kept| move |dir: &DataDir| dir.secret(kept).map(drop);
    fixture.assert_rejects("auth.secret", secret(SecretFile::Auth));
    fixture.assert_rejects("turn.secret", secret(SecretFile::Turn));
    fixture.assert_rejects("nonce.previous", |dir| dir.nonce_keys(0).map(drop));
    fixture.assert_rejects("self-signed.pem", |dir| {
        dir.read_file("self-signed.pem").map(drop)
    });
    fixture.assert_rejects("parlor.lock", |dir| DataDir::acquire(dir.path()).map(drop));
    for name in [
        "parlor.db",
        "parlor.db-wal",
        "parlor.db-shm",
        "parlor.db-journal",
    ] {
        fixture.assert_rejects(name, |dir| dir.database_path().map(drop));
    }
}

#[test]
fn a_planted_link_is_replaced_and_not_followed() {
    let fixture = Fixture::new();
    symlink(&fixture.outside, fixture.data().join("made.pem")).unwrap();
    let dir = DataDir::open(&fixture.data()).unwrap();
    dir.write_file("made.pem", &Secret::new("text")).unwrap();
    assert_eq!(
        dir.read_file("made.pem").unwrap(),
        Some(Secret::new("text"))
    );
    assert_eq!(fs::read_to_string(&fixture.outside).unwrap(), SECRET);
}

#[test]
fn files_that_root_creates_belong_to_the_owner_of_the_directory() {
    if !geteuid().is_root() {
        eprintln!("left out: only root can make files for somebody else");
        return;
    }
    const OWNER: u32 = 65_534;
    let fixture = Fixture::new();
    let data = fixture.data();
    std::os::unix::fs::chown(&data, Some(OWNER), Some(OWNER)).unwrap();
    fs::hard_link(&fixture.outside, data.join("turn.secret")).unwrap();
    let dir = DataDir::acquire(&data.join("made/here")).unwrap();
    dir.secret(SecretFile::Auth).unwrap();
    dir.write_file("made.pem", &Secret::new("text")).unwrap();
    dir.database_path().unwrap();
    let made = fs::read_dir(dir.path()).unwrap();
    let made: Vec<_> = made.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(made.len(), 4, "{made:?}");
    for path in made
        .iter()
        .chain([&data.join("made"), &data.join("made/here")])
    {
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (OWNER, OWNER), "{path:?}");
    }
    let dir = DataDir::open(&data).unwrap();
    let message = dir.secret(SecretFile::Turn).unwrap_err().to_string();
    assert!(message.contains("a hard link"), "{message}");
    let found = fixture.outside.metadata().unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o4755));
    // Root's own files are accepted.
    fs::write(data.join("auth.secret"), SECRET).unwrap();
    dir.secret(SecretFile::Auth).unwrap();
    let found = data.join("auth.secret").metadata().unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o644));
    // A file that belongs neither to root nor to the directory's owner.
    std::os::unix::fs::chown(data.join("auth.secret"), Some(1), None).unwrap();
    let message = dir.secret(SecretFile::Auth).unwrap_err().to_string();
    assert!(
        message.contains("belongs to user 1") && message.contains("chown 65534"),
        "{message}"
    );
}
