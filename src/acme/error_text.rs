//! Turns errors of `hyper`, `rustls` and `webpki` into a text for an admin: why parlor could not reach an
//! authority.

use std::error::Error as StdError;
use std::io;

use rustls::{CertificateError, Error as TlsError};

/// Returns the error and its causes on one line, or only the TLS error if there is one.
pub(super) fn describe(error: &(dyn StdError + 'static)) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = tls_error(error) {
            return tls_error_text(tls);
        }
        let text = error.to_string();
        // A wrapper with the same text as its cause.
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        next = error.source();
    }
    causes.join(": ")
}

/// An `io::Error` does not return the error that it wraps as its source.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    let wrapped = error.downcast_ref::<io::Error>()?.get_ref()?;
    tls_error(wrapped)
}

fn tls_error_text(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(fault) => certificate(fault),
        TlsError::AlertReceived(alert) => format!("it ended the handshake of TLS ({alert:?})"),
        TlsError::InvalidMessage(_) => "the service at that port does not speak TLS".to_owned(),
        error => format!("TLS failed: {error}"),
    }
}

fn certificate(fault: &CertificateError) -> String {
    match fault {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "this host does not trust the issuer of its certificate: name its root certificate in \
             tls.acme_ca_file"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired, or this host's clock is wrong".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet, or this host's clock is wrong".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name than that in tls.acme_directory".to_owned()
        }
        // The webpki error is more specific than the rustls error.
        CertificateError::Other(other) => match other.0.to_string().as_str() {
            "CaUsedAsEndEntity" => {
                "its certificate is that of an authority itself (CA:TRUE), which no server may \
                 use: have its root sign one for the server, and name the root in \
                 tls.acme_ca_file"
            }
            "UnsupportedCertVersion" => {
                "its certificate is of an old version of X.509: it must be of version 3"
            }
            text => return format!("its certificate is refused ({text})"),
        }
        .to_owned(),
        fault => format!("its certificate is refused ({fault:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use rustls::OtherError;

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Connect(#[source] io::Error);

    fn text_of(fault: CertificateError) -> String {
        describe(&Connect(io::Error::other(TlsError::InvalidCertificate(
            fault,
        ))))
    }

    #[test]
    fn a_tls_error_is_described_in_words_and_alone() {
        let other = |text: &str| CertificateError::Other(OtherError(Arc::from(Box::from(text))));
        for (fault, expected) in [
            (CertificateError::UnknownIssuer, "name its root certificate"),
            (CertificateError::Expired, "has expired"),
            (CertificateError::NotValidForName, "for another name"),
            (other("CaUsedAsEndEntity"), "that of an authority itself"),
            (other("UnsupportedCertVersion"), "must be of version 3"),
            (other("NewFault"), "is refused (NewFault)"),
        ] {
            let text = text_of(fault);
            assert!(text.contains(expected), "{text}");
            assert!(!text.contains("client error"), "{text}");
        }
        let plain = Connect(io::Error::other(TlsError::HandshakeNotComplete));
        assert!(describe(&plain).starts_with("TLS failed: "));
    }

    #[test]
    fn other_causes_are_described_in_order_and_once() {
        let refused = Connect(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(
            describe(&refused),
            "client error (Connect): connection refused"
        );
    }
}
