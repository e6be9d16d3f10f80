//! TLS configurations of listeners, and of links to masters, from PEM and the options.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion, version,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{ClientCertificates, TlsSettings};

/// What is in the files that the options of TLS name, or stands in for them.
#[derive(Clone)]
pub struct Pem {
    /// The certificate and those that vouch for it: `tls-cert-file`.
    pub certificate_chain: String,
    /// Its private key: `tls-key-file`.
    pub key: String,
    /// Who may vouch for clients and for masters: `tls-ca-cert-file` and `tls-ca-cert-dir`.
    pub trusted: String,
    /// What masters are shown instead: `tls-client-cert-file` and `tls-client-key-file`.
    pub for_masters: Option<(String, String)>,
}

/// Keys stay out of logs.
impl std::fmt::Debug for Pem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pem").finish_non_exhaustive()
    }
}

/// TLS as the options have it; it follows them when they are changed.
pub(crate) struct Tls {
    pem: Pem,
    made_for: TlsSettings,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// The error is a sentence for people.
    pub(crate) fn new(pem: Pem, settings: &TlsSettings) -> Result<Tls, String> {
        let (server, client) = (server_config(&pem, settings)?, client_config(&pem, settings)?);
        Ok(Tls { pem, made_for: settings.clone(), server, client })
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
            *self = Tls::new(self.pem.clone(), settings).ok()?;
        }
        Some(())
    }
}

fn server_config(pem: &Pem, settings: &TlsSettings) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(provider(settings));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(settings))
        .map_err(|error| error.to_string())?;
    let builder = match settings.clients {
        ClientCertificates::NotAsked => builder.with_no_client_auth(),
        asked => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider);
            let verifier = match asked {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
        }
    };
    let (chain, key) = identity("tls-cert-file", &pem.certificate_chain, &pem.key)?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| error.to_string())?;
    config.ignore_client_order = settings.prefers_own_order;
    if !settings.resumes_sessions {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

fn client_config(pem: &Pem, settings: &TlsSettings) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(provider(settings));
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(pem)?), Arc::clone(&provider));
    let verifier = AnyName(verifier.build().map_err(|error| error.to_string())?);
    let (chain, key) = match &pem.for_masters {
        Some((chain, key)) => identity("tls-client-cert-file", chain, key)?,
        None => identity("tls-cert-file", &pem.certificate_chain, &pem.key)?,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(settings))
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

fn versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let (tls12, tls13) = settings.versions;
    let offered = [(tls13, &version::TLS13), (tls12, &version::TLS12)];
    offered.into_iter().filter_map(|(is_offered, version)| is_offered.then_some(version)).collect()
}

fn identity(
    option: &str,
    chain: &str,
    key: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = certificates(chain).map_err(|reason| format!("{option}: {reason}"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
    Ok((chain, key.map_err(|error| format!("the key of {option}: {error}"))?))
}

fn roots(pem: &Pem) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let refused = |reason: String| format!("tls-ca-cert-file: {reason}");
    for certificate in certificates(&pem.trusted).map_err(refused)? {
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| error.to_string())?;
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
