//! TLS configurations of listeners, and of links to masters, from PEM and the options.

use std::sync::Arc;

use atoll_net::{Identity, Pem, protocol_versions};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{ClientCertificates, TlsSettings};

/// What is in the files that the options of TLS name, or stands in for them.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// `tls-cert-file` and `tls-key-file`.
    pub own: Pem,
    /// Who may vouch for clients and for masters: `tls-ca-cert-file` and `tls-ca-cert-dir`.
    pub trusted: String,
    /// What masters are shown instead: `tls-client-cert-file` and `tls-client-key-file`.
    pub for_masters: Option<Pem>,
}

/// TLS as the options have it; it follows them when they are changed.
pub(crate) struct Tls {
    certificates: Certificates,
    made_for: TlsSettings,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// The error is a sentence for people.
    pub(crate) fn new(certificates: Certificates, settings: &TlsSettings) -> Result<Tls, String> {
        let (server, client) = (server_config(&certificates, settings)?, client_config(&certificates, settings)?);
        Ok(Tls { certificates, made_for: settings.clone(), server, client })
    }

    /// For listeners. None if these settings cannot be had, and then nobody is let in.
    pub(crate) fn server(&mut self, settings: &TlsSettings) -> Option<Arc<ServerConfig>> {
        self.follow(settings)?;
        Some(Arc::clone(&self.server))
    }

    /// For links to masters.
    pub(crate) fn client(&mut self, settings: &TlsSettings) -> Option<Arc<ClientConfig>> {
        self.follow(settings)?;
        Some(Arc::clone(&self.client))
    }

    fn follow(&mut self, settings: &TlsSettings) -> Option<()> {
        if self.made_for != *settings {
            *self = Tls::new(self.certificates.clone(), settings).ok()?;
        }
        Some(())
    }
}

fn server_config(certificates: &Certificates, settings: &TlsSettings) -> Result<Arc<ServerConfig>, String> {
    let clients = match settings.clients {
        ClientCertificates::NotAsked => atoll_net::ClientCertificates::NotAsked,
        ClientCertificates::Optional => atoll_net::ClientCertificates::Optional(roots(certificates)?),
        ClientCertificates::Required => atoll_net::ClientCertificates::Required(roots(certificates)?),
    };
    let identity = identity("tls-cert-file", &certificates.own)?;
    let mut config = atoll_net::server_config(provider(settings), settings.versions, clients, identity)?;
    config.ignore_client_order = settings.prefers_own_order;
    if !settings.resumes_sessions {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

fn client_config(certificates: &Certificates, settings: &TlsSettings) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(provider(settings));
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(certificates)?), Arc::clone(&provider));
    let verifier = AnyName(verifier.build().map_err(|error| error.to_string())?);
    let (chain, key) = match &certificates.for_masters {
        Some(pem) => identity("tls-client-cert-file", pem)?,
        None => identity("tls-cert-file", &certificates.own)?,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&protocol_versions(settings.versions))
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(config))
}

/// Suites of TLS 1.2 are all there are; `tls-ciphersuites` is about those of TLS 1.3.
fn provider(settings: &TlsSettings) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !settings.suites.is_empty() {
        let place = |suite: &rustls::SupportedCipherSuite| {
            let name = openssl_name(suite.suite())?;
            settings.suites.iter().position(|wanted| wanted == name)
        };
        provider.cipher_suites.retain(|suite| openssl_name(suite.suite()).is_none() || place(suite).is_some());
        provider.cipher_suites.sort_by_key(place);
    }
    provider
}

/// The name of a suite of TLS 1.3.
fn openssl_name(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        _ => return None,
    })
}

fn identity(option: &str, pem: &Pem) -> Result<Identity, String> {
    let chain = certificates(&pem.certificate_chain).map_err(|reason| format!("{option}: {reason}"))?;
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes());
    Ok((chain, key.map_err(|error| format!("the key of {option}: {error}"))?))
}

fn roots(certificates: &Certificates) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let refused = |reason: String| format!("tls-ca-cert-file: {reason}");
    for certificate in self::certificates(&certificates.trusted).map_err(refused)? {
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = atoll_net::certificates(pem).map_err(|error| error.to_string())?;
    if all.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(all) }
}

/// Redis checks who vouches for a master, and not which name its certificate has.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        status: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(certificate, intermediates, name, status, now) {
            // It is the last thing that is looked at.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
