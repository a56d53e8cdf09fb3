//! Small text files that an admin wrote: settings, secrets, public keys. A file that is larger than its
//! limit is not read to its end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// The reason why a file can't be used, worded as the end of a sentence that names it.
#[derive(Debug, thiserror::Error)]
pub enum TextFileError {
    #[error("does not exist")]
    Missing,
    #[error("is not UTF-8 text")]
    NotText,
    #[error("is UTF-16 text: save it as UTF-8")]
    Utf16,
    #[error("is larger than {}", size(*.0))]
    TooLarge(u64),
    #[error("can't be read: {0}")]
    Unreadable(io::Error),
}

/// The byte-order mark that some editors write at the beginning of UTF-8 text. It is not part of the text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The byte-order mark of UTF-16, in either order. UTF-8 text never begins with these bytes.
const UTF_16_MARKS: [&[u8]; 2] = [&[0xff, 0xfe], &[0xfe, 0xff]];

/// Returns the text without a byte-order mark at its beginning.
pub fn strip_bom(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Returns the content of a file of at most `max_bytes` bytes, without a byte-order mark. It may contain
/// secrets, so it is zeroized when it is dropped.
pub fn read(path: &Path, max_bytes: u64) -> Result<Zeroizing<String>, TextFileError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => TextFileError::Missing,
        _ => TextFileError::Unreadable(error),
    };
    let file = File::open(path).map_err(unreadable)?;
    // The whole capacity at once: a buffer that grows leaves copies behind.
    let size = file.metadata().map_or(0, |found| found.len());
    let capacity = size.min(max_bytes) as usize + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > max_bytes {
        return Err(TextFileError::TooLarge(max_bytes));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(strip_bom(text).to_owned())),
        Err(_) if UTF_16_MARKS.iter().any(|mark| bytes.starts_with(mark)) => {
            Err(TextFileError::Utf16)
        }
        Err(_) => Err(TextFileError::NotText),
    }
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
    fn a_file_is_read_or_rejected_with_a_reason() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        let outcome = |max_bytes| {
            let text = read(&path, max_bytes);
            text.map(|text| text.to_string())
                .map_err(|error| error.to_string())
        };
        let problem = |text: &str| Err(text.to_owned());
        assert_eq!(outcome(4), problem("does not exist"));
        fs::write(&path, "döt").unwrap();
        assert_eq!(outcome(4), Ok("döt".to_owned()));
        // The limit cuts a character: the error is still about the size.
        assert_eq!(outcome(1), problem("is larger than 1 bytes"));
        fs::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert_eq!(outcome(1 << 20), problem("is larger than 1 MiB"));
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(outcome(4), problem("is not UTF-8 text"));
        fs::write(&path, "\u{feff}[turn]").unwrap();
        assert_eq!(outcome(20), Ok("[turn]".to_owned()));
        for utf_16 in [[0xff, 0xfe, b'x', 0], [0xfe, 0xff, 0, b'x']] {
            fs::write(&path, utf_16).unwrap();
            assert_eq!(outcome(4), problem("is UTF-16 text: save it as UTF-8"));
        }
        let directory = read(place.path(), 4).unwrap_err().to_string();
        assert!(directory.starts_with("can't be read: "), "{directory}");
    }
}
