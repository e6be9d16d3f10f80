//! [`Identity`]: who a certificate speaks for, and how to read it from a peer's certificate.

use rustls_pki_types::CertificateDer;
use std::fmt;
use std::str::FromStr;
use x509_parser::extensions::GeneralName;

/// The trust domain of all identities, which is also the cluster's DNS domain, as in Istio's default.
pub const TRUST_DOMAIN: &str = "cluster.local";

/// A SPIFFE identity. Its text form is the URI; source: SPIFFE-ID specification, and Istio for the workload's path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// `spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT`
    Workload {
        /// The Kubernetes namespace.
        namespace: String,
        /// The service account, `default` if the pod names none.
        service_account: String,
    },
    /// `spiffe://cluster.local/node/N`
    Node(u16),
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload { namespace, service_account } => {
                write!(formatter, "spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{service_account}")
            }
            Self::Node(number) => write!(formatter, "spiffe://{TRUST_DOMAIN}/node/{number}"),
        }
    }
}

/// The text was not an identity of our trust domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SPIFFE identity of {TRUST_DOMAIN}")]
pub struct NotAnIdentity;

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        let path =
            text.strip_prefix("spiffe://").and_then(|rest| rest.strip_prefix(TRUST_DOMAIN)).ok_or(NotAnIdentity)?;
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["", "ns", namespace, "sa", account] if !namespace.is_empty() && !account.is_empty() => {
                Ok(Self::Workload { namespace: (*namespace).into(), service_account: (*account).into() })
            }
            ["", "node", number] => number.parse().map(Self::Node).map_err(|_| NotAnIdentity),
            _ => Err(NotAnIdentity),
        }
    }
}

/// The DNS name that certificates of node `number`, and of the workloads on it, carry.
pub fn node_dns_name(number: u16) -> String {
    format!("node-{number}.nodes.{TRUST_DOMAIN}")
}

/// The identity in a certificate that TLS has verified already. `None` unless there is exactly one URI name, as SPIFFE
/// demands, and it is one of ours.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let mut uris = names(certificate, |name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    })?;
    match (uris.pop(), uris.is_empty()) {
        (Some(uri), true) => uri.parse().ok(),
        _ => None,
    }
}

/// The node that a verified certificate's DNS name says its holder is on.
pub fn node_of(certificate: &CertificateDer<'_>) -> Option<u16> {
    let dns = names(certificate, |name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    })?;
    dns.iter().find_map(|name| {
        let number = name.strip_prefix("node-")?.strip_suffix(TRUST_DOMAIN)?.strip_suffix(".nodes.")?;
        number.parse().ok()
    })
}

fn names(certificate: &CertificateDer<'_>, wanted: fn(&GeneralName<'_>) -> Option<String>) -> Option<Vec<String>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    Some(names.value.general_names.iter().filter_map(wanted).collect())
}
