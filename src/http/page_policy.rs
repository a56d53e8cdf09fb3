//! Headers of the embedded pages that limit what they, and pages around them, may do.

use hyper::header::{self, HeaderName, HeaderValue};

const FRAME_ANCESTORS: &str = "frame-ancestors";

/// Sent with every file. `connect-src 'self'` covers the WebSocket of the same host, too.
pub(super) const POLICIES: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self' data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "microphone=(self), speaker-selection=(self), camera=(), geolocation=(), display-capture=()",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    // Cached, but revalidated on each use: after an upgrade no browser mixes two versions.
    (header::CACHE_CONTROL, "no-cache"),
];

/// Returns the content security policy of a room's page that pages of these origins may show in a frame;
/// `None` if there are none.
pub(super) fn framed_policy(ancestors: &[String]) -> Option<HeaderValue> {
    if ancestors.is_empty() {
        return None;
    }
    let [(_, policy), ..] = POLICIES;
    let named = format!("{FRAME_ANCESTORS} {}", ancestors.join(" "));
    let policy = policy.replace(&format!("{FRAME_ANCESTORS} 'none'"), &named);
    HeaderValue::from_str(&policy).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_for_frames_differs_in_their_ancestors_alone() {
        assert_eq!(framed_policy(&[]), None);
        let origins = ["https://a.example", "http://b.lan:8123"].map(str::to_owned);
        let framed = framed_policy(&origins).unwrap();
        let [(_, plain), ..] = POLICIES;
        let named = "frame-ancestors https://a.example http://b.lan:8123;";
        assert!(framed.to_str().unwrap().contains(named), "{framed:?}");
        let undone = framed
            .to_str()
            .unwrap()
            .replace(named, "frame-ancestors 'none';");
        assert_eq!(undone, plain);
    }
}
