//! Tokens of service accounts: JSON Web Tokens, signed with HMAC-SHA-256 by a key that only this server has.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::object::{int, text};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// What every token of this server starts with: its encoded header.
pub const HEADER_START: &str = "eyJhbGciOiJIUzI1NiIs";

/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Namespace of the account.
    pub namespace: String,
    /// Name of the account.
    pub account: String,
    /// Name and uid of the pod that the token is bound to.
    pub pod: Option<(String, String)>,
    /// Seconds since the Unix epoch.
    pub issued_at: u64,
    /// Seconds since the Unix epoch.
    pub expires_at: u64,
}

/// Makes a token.
pub fn sign(key: &[u8], claims: &Claims) -> String {
    let mut private = json!({"namespace": claims.namespace, "serviceaccount": {"name": claims.account}});
    if let Some((name, uid)) = &claims.pod {
        private["pod"] = json!({"name": name, "uid": uid});
    }
    let payload = json!({
        "aud": [ISSUER],
        "exp": claims.expires_at,
        "iat": claims.issued_at,
        "iss": ISSUER,
        "kubernetes.io": private,
        "nbf": claims.issued_at,
        "sub": format!("system:serviceaccount:{}:{}", claims.namespace, claims.account),
    });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(payload.to_string())
    );
    let signature = URL_SAFE_NO_PAD.encode(hmac(key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// Reads a token of this server; `None` for a forged, foreign or expired one.
pub fn verify(key: &[u8], token: &str, now_seconds: u64) -> Option<Claims> {
    if token.len() > TOKEN_BYTES_MAX || key.is_empty() {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    if !equal(&signature, &hmac(key, signed.as_bytes())) {
        return None;
    }
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?).ok()?;
    let seconds = |claim: &str| int(&payload, claim).and_then(|seconds| u64::try_from(seconds).ok());
    let private = &payload["kubernetes.io"];
    let claims = Claims {
        namespace: text(private, "/namespace").to_owned(),
        account: text(private, "/serviceaccount/name").to_owned(),
        pod: private.get("pod").map(|pod| (text(pod, "/name").to_owned(), text(pod, "/uid").to_owned())),
        issued_at: seconds("/iat")?,
        expires_at: seconds("/exp")?,
    };
    (claims.expires_at > now_seconds && text(&payload, "/iss") == ISSUER).then_some(claims)
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let keyed = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(keyed(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(keyed(0x5c)).chain_update(inner).finalize().into()
}

/// Compares without telling by its duration where the difference is.
fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_gives_the_values_of_rfc_4231() {
        let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn a_token_is_believed_only_unchanged_and_in_its_time() {
        let claims = Claims { namespace: "a".into(), account: "b".into(), pod: None, issued_at: 100, expires_at: 200 };
        let token = sign(b"secret", &claims);
        assert!(token.starts_with(HEADER_START));
        assert_eq!(verify(b"secret", &token, 150), Some(claims));
        assert_eq!(verify(b"secret", &token, 200), None);
        assert_eq!(verify(b"other", &token, 150), None);
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(verify(b"secret", &String::from_utf8(forged).expect("ASCII"), 150), None);
        }
    }
}
