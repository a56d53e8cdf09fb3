//! Small files of text that an admin wrote: settings, secrets, public keys. What is larger than such a
//! file ever is, is not read to its end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Why a file gives no text: the end of a sentence that named it.
#[derive(Debug, thiserror::Error)]
pub enum TextFileError {
    #[error("does not exist")]
    Missing,
    #[error("is not UTF-8 text")]
    NotText,
    #[error("is larger than {}", size(*.0))]
    TooLarge(u64),
    #[error("can't be read: {0}")]
    Unreadable(io::Error),
}

/// All of a file that has `largest` bytes at most.
pub fn read(path: &Path, largest: u64) -> Result<String, TextFileError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => TextFileError::Missing,
        _ => TextFileError::Unreadable(error),
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(largest.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > largest {
        return Err(TextFileError::TooLarge(largest));
    }
    String::from_utf8(bytes).map_err(|_| TextFileError::NotText)
}

fn size(bytes: u64) -> String {
    match (bytes >> 20, bytes % (1 << 20)) {
        (1.., 0) => format!("{} MiB", bytes >> 20),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_read_whole_or_told_of() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        let told = |largest| read(&path, largest).map_err(|error| error.to_string());
        let problem = |text: &str| Err(text.to_owned());
        assert_eq!(told(4), problem("does not exist"));
        fs::write(&path, "döt").unwrap();
        assert_eq!(told(4), Ok("döt".to_owned()));
        // Cut in the middle of a letter, it would be no text: what is wrong is the size.
        assert_eq!(told(1), problem("is larger than 1 bytes"));
        fs::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert_eq!(told(1 << 20), problem("is larger than 1 MiB"));
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(told(4), problem("is not UTF-8 text"));
        let directory = read(place.path(), 4).unwrap_err().to_string();
        assert!(directory.starts_with("can't be read: "), "{directory}");
    }
}
