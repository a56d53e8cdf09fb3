//! `turn.segmentation`: whether runs of equally long datagrams are sent as one message that the kernel
//! segments (UDP_SEGMENT).
//!
//! Linux 7.0 to 7.1.4 can corrupt such datagrams on some network cards without an error (tailscale
//! issues 19777 and 21335).

use std::fs;

use serde::{Deserialize, Serialize};

/// The first and the last version that can corrupt segmented sends.
const FIRST_AFFECTED: [u32; 3] = [7, 0, 0];
const LAST_AFFECTED: [u32; 3] = [7, 1, 4];

/// The file with the Linux release.
const RELEASE_FILE: &str = "/proc/sys/kernel/osrelease";

/// The setting for UDP_SEGMENT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Segmentation {
    /// Use it unless the kernel can corrupt segments.
    Auto,
    On,
    Off,
}

/// Whether the relay uses UDP_SEGMENT, and the reason, worded as the end of a sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    pub used: bool,
    /// Whether the kernel can corrupt segments.
    pub affected: bool,
    pub reason: String,
}

impl Segmentation {
    /// Decides for the running kernel.
    pub fn decide(self) -> Decision {
        let release = fs::read_to_string(RELEASE_FILE).unwrap_or_default();
        self.decide_for(release.trim())
    }

    /// Decides for a kernel's `release`, such as `7.0.3-arch1-1`; empty where the system is not Linux.
    fn decide_for(self, release: &str) -> Decision {
        let affected = version(release).is_some_and(is_affected);
        let corrupts = format!("Linux {release} can corrupt segmented sends, as 7.0 to 7.1.4 do");
        let (used, reason) = match (self, affected) {
            (Segmentation::Off, _) => (false, "turn.segmentation is off".to_owned()),
            (Segmentation::On, false) => (true, "turn.segmentation is on".to_owned()),
            (Segmentation::On, true) => (
                true,
                format!("turn.segmentation is on, although {corrupts}"),
            ),
            (Segmentation::Auto, true) => (false, corrupts),
            (Segmentation::Auto, false) if release.is_empty() => {
                (false, "only Linux has it".to_owned())
            }
            (Segmentation::Auto, false) => (true, format!("Linux {release} is not affected")),
        };
        Decision {
            used,
            affected,
            reason,
        }
    }
}

impl Decision {
    /// The text for users.
    pub fn text(&self) -> String {
        let state = if self.used { "on" } else { "off" };
        format!("{state}: {}", self.reason)
    }
}

/// The three leading numbers of a release; a missing third number counts as 0.
fn version(release: &str) -> Option<[u32; 3]> {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.');
    let numbers = release[..end.unwrap_or(release.len())].split('.');
    let numbers: Vec<u32> = numbers.map_while(|number| number.parse().ok()).collect();
    match numbers[..] {
        [major, minor] => Some([major, minor, 0]),
        [major, minor, patch, ..] => Some([major, minor, patch]),
        _ => None,
    }
}

fn is_affected(version: [u32; 3]) -> bool {
    (FIRST_AFFECTED..=LAST_AFFECTED).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_release_is_parsed_by_its_leading_numbers() {
        for (release, expected) in [
            ("7.0.3-arch1-1", Some([7, 0, 3])),
            ("7.1-rc2", Some([7, 1, 0])),
            ("7.1.4", Some([7, 1, 4])),
            ("6.12.48+deb13-amd64", Some([6, 12, 48])),
            ("6.1.0-40-cloud-amd64", Some([6, 1, 0])),
            ("5.15.0.1-generic", Some([5, 15, 0])),
            ("10.20.30", Some([10, 20, 30])),
            ("7", None),
            ("", None),
            ("linux", None),
            ("7..1", None),
            ("99999999999.1", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn auto_leaves_segmentation_off_on_kernels_from_7_0_to_7_1_4() {
        for (release, used) in [
            ("6.19.14", true),
            ("6.18.44-fc-v669", true),
            ("7.0", false),
            ("7.0.0-rc1", false),
            ("7.0.22-generic", false),
            ("7.1.4-200.fc44.x86_64", false),
            ("7.1.5", true),
            ("7.2.0", true),
            ("17.0.1", true),
            ("unreadable", true),
            ("", false),
        ] {
            assert_eq!(
                Segmentation::Auto.decide_for(release).used,
                used,
                "{release}"
            );
        }
    }

    #[test]
    fn on_and_off_apply_to_every_kernel_and_the_reason_names_an_affected_one() {
        for release in ["6.12.1", "7.0.3", ""] {
            assert!(Segmentation::On.decide_for(release).used);
            assert!(!Segmentation::Off.decide_for(release).used);
        }
        assert_eq!(
            Segmentation::Auto.decide_for("7.0.3").text(),
            "off: Linux 7.0.3 can corrupt segmented sends, as 7.0 to 7.1.4 do"
        );
        assert_eq!(
            Segmentation::On.decide_for("7.0.3").text(),
            "on: turn.segmentation is on, although Linux 7.0.3 can corrupt segmented sends, as 7.0 \
             to 7.1.4 do"
        );
    }
}
