//! Looks whether the files of the certificate are others than before. Looking every few seconds finds
//! what notices of the kernel miss: a link that points elsewhere, a directory above it that was
//! swapped, a disk of another host.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Tls;
use crate::daemon::reload::Reloader;

/// What tells the two files from those before, wherever links lead.
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

/// What was seen, and what came of it.
#[derive(Debug, Default)]
pub struct Watch {
    /// In force, or told to be of no use.
    handled: Option<FileStamps>,
    /// Of no use when they were looked at last: somebody may be in the middle of writing them.
    suspect: Option<FileStamps>,
}

/// What to do about what was seen.
#[derive(Debug, PartialEq, Eq)]
enum NextStep {
    /// Wait for the next look.
    Wait,
    /// Tell what is wrong.
    Report,
}

impl Watch {
    /// Takes other files where there are some. Waits for disks.
    pub fn check(&mut self, reloader: &Reloader) {
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
                tracing::info!(
                    "the certificate's files have changed: new connections get the new one"
                );
                warnings
                    .iter()
                    .for_each(|message| tracing::warn!("{message}"));
            }
            Err(problems) if self.recheck(stamps_now) == NextStep::Report => {
                problems
                    .iter()
                    .for_each(|message| tracing::error!("{message}"));
                tracing::error!("the certificate's files were refused: the old one stays in force");
            }
            Err(_) => {}
        }
    }

    /// Files that are of no use are told when they are still the same at the next look, and once.
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
    fn a_link_that_leads_elsewhere_is_another_file() {
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
        // The whole directory is swapped for another with equal names.
        fs::rename(&live, place.join("old")).unwrap();
        fs::create_dir(&live).unwrap();
        for name in ["fullchain.pem", "privkey.pem"] {
            fs::write(live.join(name), "the same").unwrap();
        }
        assert_ne!(FileStamps::of(&tls).unwrap(), second);
    }

    #[test]
    fn files_that_are_being_written_are_not_told_and_those_that_stay_bad_are_told_once() {
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
