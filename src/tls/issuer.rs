//! Finds chains that lack an intermediate certificate: clients have only root certificates.

use rustls::pki_types::CertificateDer;

use crate::der::{self, OBJECT_IDENTIFIER, SEQUENCE, SET};

use super::validity;

/// id-at-commonName and id-at-organizationName (RFC 5280 appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// Returns the name of the first certificate's issuer if the chain has no certificate of that issuer. A
/// self-signed certificate needs none.
pub(super) fn missing(chain: &[CertificateDer<'_>]) -> Option<String> {
    let first = validity::names(chain.first()?)?;
    if first.issuer == first.subject {
        return None;
    }
    let mut others = chain.iter().skip(1);
    let is_there = others.any(|one| {
        let names = validity::names(one);
        names.is_some_and(|names| names.subject == first.issuer)
    });
    (!is_there).then(|| readable(first.issuer))
}

/// The readable form of a distinguished name: its common name, else its organization.
fn readable(name: &[u8]) -> String {
    let found = attribute(name, COMMON_NAME).or_else(|| attribute(name, ORGANIZATION));
    let found = found.unwrap_or_else(|| "an issuer without a name".to_owned());
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    found.chars().take(100).map(printable).collect()
}

/// The text of an attribute of a name (RFC 5280 §4.1.2.4): sets of pairs.
fn attribute(mut name: &[u8], wanted: &[u8]) -> Option<String> {
    while let Some((mut set, rest)) = der::element(name, SET) {
        name = rest;
        while let Some((pair, rest)) = der::element(set, SEQUENCE) {
            set = rest;
            let (kind, value) = der::element(pair, OBJECT_IDENTIFIER)?;
            if kind == wanted {
                let (_tag, text, _) = der::first(value)?;
                return Some(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    fn named(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(["talk.example.org".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    #[test]
    fn a_certificate_without_that_of_its_issuer_is_found() {
        let [root_key, middle_key, leaf_key] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let mut root = named("Root X1");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::from_params(&root, &root_key);
        let mut middle = named("Middle R3");
        middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let middle_made = middle.signed_by(&middle_key, &issuer).unwrap();
        let by_middle = Issuer::from_params(&middle, &middle_key);
        let leaf = named("talk").signed_by(&leaf_key, &by_middle).unwrap();
        let root = root.self_signed(&root_key).unwrap();
        let [leaf, middle, root] = [leaf, middle_made, root].map(|made| made.der().clone());
        let name = Some("Middle R3".to_owned());
        assert_eq!(missing(std::slice::from_ref(&leaf)), name);
        assert_eq!(missing(&[leaf.clone(), root.clone()]), name);
        assert_eq!(missing(&[leaf.clone(), middle.clone()]), None);
        assert_eq!(missing(&[leaf, middle, root.clone()]), None);
        assert_eq!(missing(&[root]), None);
        assert_eq!(missing(&[]), None);
    }
}
