//! TLS configurations from PEM, and the principals that clients' certificates give.
//!
//! <https://kafka.apache.org/documentation/#security_ssl>

use std::sync::Arc;

use atoll_net::{ClientCertificates, Pem};
use regex::Regex;
use rustls::crypto::aws_lc_rs;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

use super::listeners::{ClientAuthentication, TlsOptions};

/// What stands in for keystore and truststore where there are no options for them.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// What brokers prove themselves with.
    pub own: Pem,
    /// Who may vouch for clients, in PEM.
    pub trusted: String,
}

/// A listener's TLS, from its options or from `ours`. The error is a sentence for people.
pub(crate) fn server_config(options: &TlsOptions, ours: Option<&Certificates>) -> Result<Arc<ServerConfig>, String> {
    let missing = || "there is no certificate: set ssl.keystore.certificate.chain and ssl.keystore.key".to_owned();
    let (chain, key) = match (&options.keystore, ours) {
        (Some((chain, key)), _) => (chain.as_str(), key.as_str()),
        (None, Some(ours)) => (ours.own.certificate_chain.as_str(), ours.own.key.as_str()),
        (None, None) => return Err(missing()),
    };
    let chain = certificates(chain).map_err(|error| invalid("keystore configs", &error))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| invalid("private key", &error))?;
    let trusted =
        || roots(options.truststore.as_deref().or(ours.map(|ours| ours.trusted.as_str())).unwrap_or_default());
    let clients = match options.client_authentication {
        ClientAuthentication::None => ClientCertificates::NotAsked,
        ClientAuthentication::Requested => ClientCertificates::Optional(trusted()?),
        ClientAuthentication::Required => ClientCertificates::Required(trusted()?),
    };
    let provider = aws_lc_rs::default_provider();
    Ok(Arc::new(atoll_net::server_config(provider, options.versions, clients, (chain, key))?))
}

fn invalid(what: &str, error: &dyn std::fmt::Display) -> String {
    format!("Invalid PEM {what}: {error}")
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(|error| invalid("truststore configs", &error))? {
        roots.add(certificate).map_err(|error| invalid("truststore configs", &error))?;
    }
    Ok(roots)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = atoll_net::certificates(pem).map_err(|error| error.to_string())?;
    if all.is_empty() { Err("At least one certificate expected, but none found".to_owned()) } else { Ok(all) }
}

/// How the names in certificates become those of principals (`ssl.principal.mapping.rules`).
#[derive(Debug, Clone)]
pub(crate) struct PrincipalMapper {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
enum Rule {
    /// The name as it is.
    Default,
    /// What matches whole becomes the replacement.
    Replace { pattern: Regex, replacement: String, case: Option<char> },
}

impl PrincipalMapper {
    /// Reads a list of `DEFAULT` and `RULE:pattern/replacement/[LU]`.
    pub fn parse(text: &str) -> Result<PrincipalMapper, String> {
        let mut rules = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let after = if let Some(after) = rest.strip_prefix("DEFAULT") {
                rules.push(Rule::Default);
                after
            } else if let Some(after) = rest.strip_prefix("RULE:") {
                let (rule, after) = replacement(after).ok_or_else(|| format!("Invalid rule: `{rest}`"))?;
                rules.push(rule?);
                after
            } else {
                return Err(format!("Invalid rule: `{rest}`"));
            };
            rest = match after.trim_start().strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if after.trim_start().is_empty() => "",
                None => return Err(format!("Invalid rule: `{rest}`, unmatched substring: `{after}`")),
            };
        }
        Ok(PrincipalMapper { rules })
    }

    /// The principal's name; None where no rule applies, and then the connection ends.
    pub fn name(&self, distinguished_name: &str) -> Option<String> {
        self.rules.iter().find_map(|rule| match rule {
            Rule::Default => Some(distinguished_name.to_owned()),
            Rule::Replace { pattern, replacement, case } => {
                let captures = pattern.captures(distinguished_name)?;
                let mut name = String::new();
                expand(&captures, replacement, &mut name);
                Some(match case {
                    Some('L') => name.to_lowercase(),
                    Some('U') => name.to_uppercase(),
                    _ => name,
                })
            }
        })
    }
}

/// `pattern/replacement/[LU]`, and what comes behind it.
fn replacement(text: &str) -> Option<(Result<Rule, String>, &str)> {
    let (pattern, rest) = up_to_slash(text)?;
    let (replacement, rest) = up_to_slash(rest)?;
    let case = rest.chars().next().filter(|case| "LU".contains(*case));
    let rest = if case.is_some() { &rest[1..] } else { rest };
    let rule = Regex::new(&format!("^(?:{pattern})$"))
        .map(|pattern| Rule::Replace { pattern, replacement: replacement.to_owned(), case })
        .map_err(|error| format!("Invalid rule: `{text}`: {error}"));
    Some((rule, rest))
}

/// Splits at the first slash that no backslash stands before.
fn up_to_slash(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            '\\' if !escaped => escaped = true,
            '/' if !escaped => return Some((&text[..at], &text[at + 1..])),
            _ => escaped = false,
        }
    }
    None
}

/// Puts groups in the place of `$1`: as many digits as name a group, as in Java; a group that is not there stays as written.
fn expand(captures: &regex::Captures<'_>, replacement: &str, name: &mut String) {
    let mut rest = replacement;
    while let Some(first) = rest.chars().next() {
        let digits = rest.strip_prefix('$').map_or(0, |after| after.bytes().take_while(u8::is_ascii_digit).count());
        let taken = (1..=digits.min(4))
            .rev()
            .find(|count| rest[1..=*count].parse::<usize>().is_ok_and(|group| group < captures.len()));
        if let Some(count) = taken {
            let group = rest[1..=count].parse::<usize>().ok().and_then(|group| captures.get(group));
            name.push_str(group.map_or("", |group| group.as_str()));
            rest = &rest[1 + count..];
        } else if let Some(escaped) = rest.strip_prefix('\\').and_then(|after| after.chars().next()) {
            name.push(escaped);
            rest = &rest[1 + escaped.len_utf8()..];
        } else {
            name.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
}

/// The subject of a certificate as Java writes it (RFC 2253): the last part first, `CN=alice,OU=people,O=Example`.
pub(crate) fn distinguished_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(rfc2253(certificate.subject()))
}

fn rfc2253(name: &X509Name<'_>) -> String {
    let mut parts = Vec::new();
    for relative in name.iter() {
        let attributes = relative.iter().map(|attribute| {
            let oid = attribute.attr_type().to_id_string();
            match (keyword(&oid), attribute.as_str()) {
                (Some(keyword), Ok(value)) => format!("{keyword}={}", escaped(value)),
                // Java writes what it has no keyword for in hexadecimal, with its tag and length.
                _ => {
                    let value = attribute.attr_value();
                    let mut bytes = vec![value.header.tag().0 as u8, value.data.len() as u8];
                    bytes.extend_from_slice(value.data);
                    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("{}=#{digits}", keyword(&oid).unwrap_or(&oid))
                }
            }
        });
        parts.push(attributes.collect::<Vec<_>>().join("+"));
    }
    parts.reverse();
    parts.join(",")
}

/// The keywords that RFC 2253 has.
fn keyword(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        _ => return None,
    })
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        let outer_space = character == ' ' && (at == 0 || at == last);
        if ",=+<>#;\"\\".contains(character) || outer_space {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(rules: &str, name: &str) -> Option<String> {
        PrincipalMapper::parse(rules).expect("rules").name(name)
    }

    #[test]
    fn the_first_rule_that_matches_the_whole_name_gives_the_principal() {
        let rules = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/, RULE:^CN=(.*?),OU=(.*?),O=(.*?)$/$1@$2/L, RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/U, DEFAULT";
        assert_eq!(mapped(rules, "CN=Duke,OU=ServiceUsers,O=Org").as_deref(), Some("Duke"));
        assert_eq!(mapped(rules, "CN=Duke,OU=SME,O=Org").as_deref(), Some("duke@sme"));
        assert_eq!(mapped(rules, "cn=duke,DC=x").as_deref(), Some("DUKE"));
        assert_eq!(mapped(rules, "OU=nobody").as_deref(), Some("OU=nobody"));
        assert_eq!(mapped("RULE:^CN=a$/b/", "CN=c"), None, "nobody");
        assert_eq!(mapped("DEFAULT", "CN=c").as_deref(), Some("CN=c"));
    }

    #[test]
    fn groups_that_are_not_there_stay_as_written() {
        assert_eq!(mapped("RULE:^CN=(.*)$/$1@$4/", "CN=a").as_deref(), Some("a@$4"));
        assert_eq!(mapped("RULE:^CN=(.*)$/$12/", "CN=a").as_deref(), Some("a2"));
        assert_eq!(mapped(r"RULE:^CN=(.*)\/x$/$1\/y/", "CN=a/x").as_deref(), Some("a/y"));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["DEFLT", "RULE:", "RULE:a", "RULE:a/b", "RULE:(/b/", "RULE:a/b/X", "DEFAULT x"] {
            assert!(PrincipalMapper::parse(text).is_err(), "{text}");
        }
    }
}
