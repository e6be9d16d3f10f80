//! [`Authority`]: issues certificates and makes rustls configurations from them.
#![allow(clippy::disallowed_methods)] // A door: certificates are checked by programs that know only the real clock.

use crate::identity::{Identity, node_dns_name};
use crate::{PkiError, store};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The authority's own validity: ten years, as kubeadm and Istio have it.
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Servers and users: one year, as kubeadm issues them.
const SERVER_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);
/// Workloads and nodes: a day, as Istio issues them.
const WORKLOAD_VALIDITY: Duration = DAY;
/// Certificates begin this much in the past, for clients whose clock is slow.
const BACKDATED: Duration = HOUR;

/// A certificate authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    provider: Arc<CryptoProvider>,
}

/// An issued certificate with its private key.
pub struct Certificate {
    /// The leaf, then the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key, PKCS#8.
    pub key: PrivateKeyDer<'static>,
    /// The leaf as PEM (what kubeconfig's `client-certificate-data` holds, base64 again).
    pub certificate_pem: String,
    /// The private key as PEM (PKCS#8).
    pub key_pem: String,
    /// When issued, and when it ceases to be valid.
    pub validity: (SystemTime, SystemTime),
}

/// Whether a TLS server asks its clients for certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// No certificate is asked for.
    Anonymous,
    /// A certificate is asked for and checked if presented (the Kubernetes API: tokens work as well).
    MayPresent,
    /// A certificate of this authority is required (mutual TLS of the mesh).
    MustPresent,
}

impl Authority {
    /// Opens the authority kept in `directory`, or makes one there. The directory is created for the owner alone (0700),
    /// and so is the file (0600), which appears whole or not at all.
    pub fn open(directory: &Path) -> Result<Self, PkiError> {
        match store::read(directory)? {
            Some(stored) => Self::from_stored(&stored)
                .map_err(|error| PkiError::Damaged { path: store::file(directory), reason: error.to_string() }),
            None => {
                let (authority, stored) = Self::generate()?;
                store::write(directory, &stored)?;
                Ok(authority)
            }
        }
    }

    /// An authority that nothing outlives.
    pub fn in_memory() -> Result<Self, PkiError> {
        Ok(Self::generate()?.0)
    }

    /// The authority's certificate as PEM, for `certificate-authority-data` and trust stores.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A server certificate for these DNS names and addresses (each string is taken for an address if it reads as one).
    pub fn server(&self, names: &[&str]) -> Result<Certificate, PkiError> {
        let mut params = leaf(names.first().copied().unwrap_or("atoll"), None);
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into()?),
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, SERVER_VALIDITY)
    }

    /// A client certificate for a Kubernetes user: the common name is the user, the organization the group
    /// (`system:masters` for the administrator), as the X.509 authenticator of kube-apiserver reads them.
    pub fn kubernetes_user(&self, user: &str, group: &str) -> Result<Certificate, PkiError> {
        let mut params = leaf(user, Some(group));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, SERVER_VALIDITY)
    }

    /// A client certificate with this common name.
    pub fn client(&self, name: &str) -> Result<Certificate, PkiError> {
        let mut params = leaf(name, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, SERVER_VALIDITY)
    }

    /// The certificate of a node or of a workload on a node: its SPIFFE identity as the one URI name, and the node's DNS
    /// name ([`node_dns_name`]), so that ordinary host name checks tell which node one speaks with. For both sides of TLS.
    pub fn identity(&self, identity: &Identity, node: u16) -> Result<Certificate, PkiError> {
        let mut params = leaf(&identity.to_string(), None);
        params.subject_alt_names = vec![
            SanType::URI(identity.to_string().as_str().try_into()?),
            SanType::DnsName(node_dns_name(node).as_str().try_into()?),
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, WORKLOAD_VALIDITY)
    }

    /// A TLS server that presents `certificate`, with TLS 1.2 and 1.3. ALPN is left to the caller.
    pub fn server_config(&self, certificate: &Certificate, clients: Clients) -> Result<ServerConfig, PkiError> {
        let builder =
            ServerConfig::builder_with_provider(self.provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match clients {
            Clients::Anonymous => builder.with_no_client_auth(),
            Clients::MayPresent | Clients::MustPresent => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), self.provider.clone());
                let verifier = match clients {
                    Clients::MayPresent => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        Ok(builder.with_single_cert(certificate.chain.clone(), certificate.key.clone_key())?)
    }

    /// A TLS client that trusts this authority alone, and presents `certificate` if there is one.
    pub fn client_config(&self, certificate: Option<&Certificate>) -> Result<ClientConfig, PkiError> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?);
        Ok(match certificate {
            Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key())?,
            None => builder.with_no_client_auth(),
        })
    }

    fn roots(&self) -> Result<RootCertStore, PkiError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        Ok(roots)
    }

    fn issue(&self, mut params: CertificateParams, validity: Duration) -> Result<Certificate, PkiError> {
        let validity = valid_for(&mut params, validity);
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok(Certificate {
            certificate_pem: leaf.pem(),
            chain: vec![leaf.into(), self.certificate.clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            key_pem: key.serialize_pem(),
            validity,
        })
    }

    fn generate() -> Result<(Self, String), PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("Atoll development authority", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        valid_for(&mut params, AUTHORITY_VALIDITY);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let stored = format!("{}{}", key.serialize_pem(), certificate.pem());
        Ok((Self::assemble(key, certificate.der().clone(), certificate.pem())?, stored))
    }

    fn from_stored(stored: &str) -> Result<Self, rcgen::Error> {
        const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
        let at = stored.find(BEGIN).ok_or(rcgen::Error::CouldNotParseCertificate)?;
        let (key_pem, certificate_pem) = stored.split_at(at);
        use rustls_pki_types::pem::PemObject;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        Self::assemble(KeyPair::from_pem(key_pem)?, certificate, certificate_pem.to_owned())
    }

    fn assemble(
        key: KeyPair,
        certificate: CertificateDer<'static>,
        certificate_pem: String,
    ) -> Result<Self, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { issuer, certificate, certificate_pem, provider: Arc::new(aws_lc_rs::default_provider()) })
    }
}

impl Certificate {
    /// True once two thirds of the validity have passed, the point at which kubelet and the meshes renew: early enough
    /// that a failure to renew can be repeated for hours.
    pub fn needs_renewal(&self, now: SystemTime) -> bool {
        let (from, until) = self.validity;
        let whole = until.duration_since(from).unwrap_or_default();
        now >= from + whole * 2 / 3
    }
}

/// The private key stays out of logs.
impl std::fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Certificate").field("validity", &self.validity).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn leaf(common_name: &str, organization: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common_name, organization);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}

fn valid_for(params: &mut CertificateParams, validity: Duration) -> (SystemTime, SystemTime) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + validity).into();
    (now, now + validity)
}
