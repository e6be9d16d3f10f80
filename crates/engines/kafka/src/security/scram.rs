//! SCRAM-SHA-256 and SCRAM-SHA-512: credentials, and the server's side of an exchange (RFC 5802, RFC 7677).
//!
//! Only the stored key and the server key are kept, from which nobody can log in. A message that Kafka's own patterns do
//! not match is refused.

use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The hash under SCRAM; the number is the one on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(i8)]
pub enum Hash {
    /// SCRAM-SHA-256.
    Sha256 = 1,
    /// SCRAM-SHA-512.
    Sha512 = 2,
}

/// The fewest iterations that are accepted, by either hash.
pub(crate) const ITERATIONS_MIN: i32 = 4096;
/// The most that a credential may ask of clients.
pub(crate) const ITERATIONS_MAX: i32 = 16_384;

impl Hash {
    /// By the number on the wire.
    pub(crate) fn from_number(number: i8) -> Option<Hash> {
        [Hash::Sha256, Hash::Sha512].into_iter().find(|hash| *hash as i8 == number)
    }

    fn hmac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec()
    }

    fn digest(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }
}

/// What a user's password has become.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Mixed into the password, and told to clients.
    pub salt: Vec<u8>,
    /// What a client's proof is held against.
    pub stored_key: Vec<u8>,
    /// What proves the server to the client.
    pub server_key: Vec<u8>,
    /// How often the password was hashed.
    pub iterations: i32,
}

/// Nothing of it belongs into logs and traces.
impl std::fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credential").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Credential {
    /// From a password that the client has salted and hashed already.
    pub(crate) fn from_salted(hash: Hash, salted_password: &[u8], salt: &[u8], iterations: i32) -> Credential {
        Credential {
            salt: salt.to_vec(),
            stored_key: hash.digest(&hash.hmac(salted_password, b"Client Key")),
            server_key: hash.hmac(salted_password, b"Server Key"),
            iterations,
        }
    }
}

/// Why an exchange cannot go on. What the client is told of it says nothing about users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Not such a message, or wrong credentials.
    Invalid,
    /// The client wants to be somebody else.
    OtherAuthorizationId,
}

/// A client's first message: who it is, and its half of the nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientFirst {
    pub username: String,
    authorization_id: String,
    nonce: String,
    /// The message without its header, as both sides sign it.
    bare: String,
}

impl ClientFirst {
    pub fn parse(message: &[u8]) -> Result<ClientFirst, Refused> {
        let text = std::str::from_utf8(message).map_err(|_| Refused::Invalid)?;
        // No channel binding: TLS channels are not bound to in Kafka.
        let rest = text.strip_prefix("n,").ok_or(Refused::Invalid)?;
        let (authorization_id, rest) = rest.split_once(',').ok_or(Refused::Invalid)?;
        let authorization_id = match authorization_id.strip_prefix("a=") {
            Some(name) => saslname(name)?,
            None if authorization_id.is_empty() => String::new(),
            None => return Err(Refused::Invalid),
        };
        // A reserved extension, which is passed over.
        let bare = match rest.strip_prefix("m=").and_then(|rest| rest.split_once(',')) {
            Some((value, bare)) if is_value(value) => bare,
            _ => rest,
        };
        let mut parts = bare.split(',');
        let name = parts.next().and_then(|part| part.strip_prefix("n=")).ok_or(Refused::Invalid)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or(Refused::Invalid)?;
        if !is_printable(nonce) || !parts.clone().all(is_extension) {
            return Err(Refused::Invalid);
        }
        // A delegation token in place of a password; these are not enabled.
        if parts.any(|part| part.eq_ignore_ascii_case("tokenauth=true")) {
            return Err(Refused::Invalid);
        }
        let (username, nonce, bare) = (saslname(name)?, nonce.to_owned(), bare.to_owned());
        Ok(ClientFirst { username, authorization_id, nonce, bare })
    }
}

/// The server's state between its two messages.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    hash: Hash,
    credential: Credential,
    client_first_bare: String,
    nonce: String,
    server_first: String,
}

impl Exchange {
    /// Answers a client's first message. `nonce` is this side's half: printable, and never the same twice.
    pub fn begin(hash: Hash, first: &ClientFirst, credential: Credential, nonce: &str) -> Result<Exchange, Refused> {
        if !first.authorization_id.is_empty() && first.authorization_id != first.username {
            return Err(Refused::OtherAuthorizationId);
        }
        if credential.iterations < ITERATIONS_MIN {
            return Err(Refused::Invalid);
        }
        let nonce = format!("{}{nonce}", first.nonce);
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&credential.salt), credential.iterations);
        Ok(Exchange { hash, credential, client_first_bare: first.bare.clone(), nonce, server_first })
    }

    /// The message that it answers with.
    pub fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Checks the proof in a client's final message. What it answers with proves the server to the client.
    pub fn finish(&self, message: &[u8]) -> Result<String, Refused> {
        let text = std::str::from_utf8(message).map_err(|_| Refused::Invalid)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Refused::Invalid)?;
        let mut parts = without_proof.split(',');
        let channel = parts.next().and_then(|part| part.strip_prefix("c=")).ok_or(Refused::Invalid)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or(Refused::Invalid)?;
        STANDARD.decode(channel).map_err(|_| Refused::Invalid)?;
        let proof = STANDARD.decode(proof).map_err(|_| Refused::Invalid)?;
        if nonce != self.nonce || !parts.all(is_extension) {
            return Err(Refused::Invalid);
        }
        let signed = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let signature = self.hash.hmac(&self.credential.stored_key, signed.as_bytes());
        if proof.len() != signature.len() {
            return Err(Refused::Invalid);
        }
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(one, other)| one ^ other).collect();
        let stored_key = self.hash.digest(&client_key);
        constant_time::verify_slices_are_equal(&stored_key, &self.credential.stored_key)
            .map_err(|_| Refused::Invalid)?;
        let signature = self.hash.hmac(&self.credential.server_key, signed.as_bytes());
        Ok(format!("v={}", STANDARD.encode(signature)))
    }
}

/// A name in which commas and equals signs are written `=2C` and `=3D`.
fn saslname(text: &str) -> Result<String, Refused> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("=2C") {
            name.push(',');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("=3D") {
            name.push('=');
            rest = after;
        } else if ('\x01'..='\x7f').contains(&first) && first != '=' {
            name.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            return Err(Refused::Invalid);
        }
    }
    if name.is_empty() { Err(Refused::Invalid) } else { Ok(name) }
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| (0x01..=0x7f).contains(&byte))
}

fn is_extension(part: &str) -> bool {
    part.split_once('=').is_some_and(|(name, value)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic()) && is_value(value)
    })
}

/// The client's side, for tests: what clients of other people's making compute as well.
#[cfg(test)]
pub(crate) mod client {
    use super::{Credential, Hash, STANDARD};
    use aws_lc_rs::pbkdf2;
    use base64::Engine as _;

    pub fn salted(hash: Hash, password: &str, salt: &[u8], iterations: i32) -> Vec<u8> {
        let (algorithm, size) = match hash {
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
            Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
        };
        let mut salted = vec![0; size];
        let iterations = std::num::NonZeroU32::new(iterations as u32).expect("at least one");
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
        salted
    }

    pub fn credential(hash: Hash, password: &str) -> Credential {
        Credential::from_salted(hash, &salted(hash, password, b"salt", 4096), b"salt", 4096)
    }

    /// The final message that answers `server_first`.
    pub fn last(hash: Hash, password: &str, first_bare: &str, server_first: &str) -> String {
        let fields: Vec<&str> = server_first.split(',').collect();
        let salt = STANDARD.decode(&fields[1][2..]).expect("base64");
        let salted = salted(hash, password, &salt, fields[2][2..].parse().expect("a number"));
        let without_proof = format!("c=biws,{}", fields[0]);
        let client_key = hash.hmac(&salted, b"Client Key");
        let signed = format!("{first_bare},{server_first},{without_proof}");
        let signature = hash.hmac(&hash.digest(&client_key), signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(one, other)| one ^ other).collect();
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange that RFC 7677, section 3, prints.
    #[test]
    fn the_exchange_of_the_specification_is_accepted_to_the_letter() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let salted = client::salted(Hash::Sha256, "pencil", &salt, 4096);
        let credential = Credential::from_salted(Hash::Sha256, &salted, &salt, 4096);
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(first.username, "user");
        let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let exchange = Exchange::begin(Hash::Sha256, &first, credential, nonce).unwrap();
        assert_eq!(
            exchange.server_first(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let answer = exchange.finish(last.as_bytes()).unwrap();
        assert_eq!(answer, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let wrong = last.replace("p=dH", "p=dI");
        assert_eq!(exchange.finish(wrong.as_bytes()), Err(Refused::Invalid));
    }

    #[test]
    fn wrong_passwords_and_foreign_nonces_are_refused_by_either_hash() {
        for hash in [Hash::Sha256, Hash::Sha512] {
            let first = ClientFirst::parse(b"n,,n=al=2Cice,r=abc").unwrap();
            assert_eq!(first.username, "al,ice");
            let exchange = Exchange::begin(hash, &first, client::credential(hash, "right"), "xyz").unwrap();
            let last = |password| client::last(hash, password, "n=al=2Cice,r=abc", exchange.server_first());
            assert!(exchange.finish(last("right").as_bytes()).is_ok());
            assert_eq!(exchange.finish(last("wrong").as_bytes()), Err(Refused::Invalid));
            let foreign = last("right").replace("abcxyz", "abcabc");
            assert_eq!(exchange.finish(foreign.as_bytes()), Err(Refused::Invalid));
        }
    }

    #[test]
    fn what_kafkas_patterns_do_not_match_is_no_message() {
        let refused: &[&[u8]] = &[
            b"",
            b"n",
            b"n,,",
            b"y,,n=a,r=b",
            b"p=tls-unique,,n=a,r=b",
            b"n,x,n=a,r=b",
            b"n,,n=,r=b",
            b"n,,n=a",
            b"n,,n=a,r=",
            b"n,,n=a=20,r=b",
            b"n,,n=a,r=b c",
            b"n,,n=a,r=b,",
            b"n,,n=a,r=b,1=2",
            b"n,,n=a,r=b,x=",
            b"n,a=,n=a,r=b",
            b"\xff,,n=a,r=b",
            "n,,n=é,r=b".as_bytes(),
            b"n,,n=a,r=b,tokenauth=true",
        ];
        for message in refused {
            assert_eq!(ClientFirst::parse(message), Err(Refused::Invalid), "{}", String::from_utf8_lossy(message));
        }
        for message in ["n,,n=a,r=b", "n,a=a,n=a,r=b", "n,,m=x,n=a,r=b", "n,,n=a,r=b,ext=1"] {
            assert!(ClientFirst::parse(message.as_bytes()).is_ok(), "{message}");
        }
        let other = ClientFirst::parse(b"n,a=root,n=a,r=b").unwrap();
        let refused = Exchange::begin(Hash::Sha256, &other, client::credential(Hash::Sha256, "p"), "c").err();
        assert_eq!(refused, Some(Refused::OtherAuthorizationId));
    }
}
