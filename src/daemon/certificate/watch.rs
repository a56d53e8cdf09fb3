//! Detects changes of the certificate files by polling. Polling finds changes that inotify misses: a changed
//! symbolic link, a replaced parent directory, a network file system.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Tls;
use crate::daemon::reload::Reloader;

/// Identifies the state of both files, behind all links.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileStamps {
    paths: [PathBuf; 2],
    stamps: [Option<Stamp>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

/// The states that were seen, and their result.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// In force, or reported as invalid.
    handled: Option<FileStamps>,
    /// Invalid at the last check: the files may be incomplete while they are being written.
    suspect: Option<FileStamps>,
}

/// The next step after invalid files.
#[derive(Debug, PartialEq, Eq)]
enum NextStep {
    /// Wait for the next check.
    Wait,
    /// Log the problems.
    Report,
}

impl Watch {
    /// Reloads changed files. Blocks on disks.
    pub(super) fn check(&mut self, reloader: &Reloader) {
        let Some(stamps_now) = FileStamps::of(&reloader.config().tls) else {
            return;
        };
        if self.handled.as_ref() == Some(&stamps_now) {
            return;
        }
        match reloader.reload_certificate() {
            Ok(taken) => {
                self.handled = Some(stamps_now);
                self.suspect = None;
                let Some(warnings) = taken else { return };
                tracing::info!("certificate reloaded from its files");
                warnings
                    .iter()
                    .for_each(|message| tracing::warn!("{message}"));
            }
            Err(problems) if self.recheck(stamps_now) == NextStep::Report => {
                problems
                    .iter()
                    .for_each(|message| tracing::error!("{message}"));
                tracing::error!("certificate files rejected: the old certificate stays in force");
            }
            Err(_) => {}
        }
    }

    /// Invalid files are reported once, and only if they are unchanged at the next check.
    fn recheck(&mut self, stamps_now: FileStamps) -> NextStep {
        if self.suspect.as_ref() != Some(&stamps_now) {
            self.suspect = Some(stamps_now);
            return NextStep::Wait;
        }
        self.handled = self.suspect.take();
        NextStep::Report
    }
}

impl FileStamps {
    fn of(tls: &Tls) -> Option<FileStamps> {
        let paths = [tls.cert_file.clone()?, tls.key_file.clone()?];
        let stamps = paths.each_ref().map(|path| Stamp::of(path));
        Some(FileStamps { paths, stamps })
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let found = fs::metadata(path).ok()?;
        Some(Stamp {
            device: found.dev(),
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            size: found.size(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tls(place: &Path) -> Tls {
        Tls {
            cert_file: Some(place.join("live/fullchain.pem")),
            key_file: Some(place.join("live/privkey.pem")),
            ..Tls::default()
        }
    }

    #[test]
    fn a_changed_link_is_detected_as_a_change_of_the_file() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let (live, archive) = (place.join("live"), place.join("archive"));
        for dir in [&live, &archive] {
            fs::create_dir(dir).unwrap();
        }
        for name in ["fullchain.pem", "privkey.pem"] {
            for number in ["1", "2"] {
                fs::write(archive.join(number.to_owned() + name), "the same").unwrap();
            }
            symlink(archive.join("1".to_owned() + name), live.join(name)).unwrap();
        }
        let tls = tls(place);
        let first = FileStamps::of(&tls).unwrap();
        assert_eq!(FileStamps::of(&tls).unwrap(), first);
        fs::remove_file(live.join("privkey.pem")).unwrap();
        let without = FileStamps::of(&tls).unwrap();
        assert_ne!(without, first);
        symlink(archive.join("2privkey.pem"), live.join("privkey.pem")).unwrap();
        let second = FileStamps::of(&tls).unwrap();
        assert!(second != first && second != without);
        // The whole directory is replaced by one with the same names.
        fs::rename(&live, place.join("old")).unwrap();
        fs::create_dir(&live).unwrap();
        for name in ["fullchain.pem", "privkey.pem"] {
            fs::write(live.join(name), "the same").unwrap();
        }
        assert_ne!(FileStamps::of(&tls).unwrap(), second);
    }

    #[test]
    fn incomplete_files_are_not_reported_and_invalid_files_are_reported_once() {
        let stamps_now = |size| FileStamps {
            paths: ["cert".into(), "key".into()],
            stamps: [
                None,
                Some(Stamp {
                    device: 1,
                    inode: 1,
                    modified: (0, 0),
                    size,
                }),
            ],
        };
        let mut watch = Watch::default();
        assert_eq!(watch.recheck(stamps_now(1)), NextStep::Wait);
        assert_eq!(watch.recheck(stamps_now(2)), NextStep::Wait);
        assert_eq!(watch.recheck(stamps_now(2)), NextStep::Report);
        assert_eq!(watch.handled, Some(stamps_now(2)));
        assert_eq!(watch.recheck(stamps_now(3)), NextStep::Wait);
    }
}
