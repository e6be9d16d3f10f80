//! The certificate authority of a stack, and the certificates of its servers, users, nodes and workloads.
//!
//! Start at [`Authority`]: it is opened from a directory (or made in memory), issues [`Certificate`]s, and turns them
//! into rustls configurations. Names follow SPIFFE (trust domain `cluster.local`, as Istio and Linkerd use it):
//! `spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT` and `spiffe://cluster.local/node/N`; see [`Identity`].
//!
//! Only the authority's own key is ever written to disk. Every other key lives in memory and is issued anew at start, so
//! a copied data directory gives away one key, and nothing has to be revoked when a stack is deleted.

mod authority;
mod identity;
mod store;

#[cfg(test)]
mod tests;

pub use authority::{Authority, Certificate, Clients};
pub use identity::{Identity, NotAnIdentity, TRUST_DOMAIN, identity_of, node_dns_name, node_of};

/// What can go wrong while issuing or loading certificates. All of it is the machine's or the caller's fault, never a
/// remote peer's: a bad peer certificate is a TLS alert, not an error of this type.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The authority's file could not be read or written.
    #[error("certificate authority in {path}: {source}")]
    Store {
        /// The file or directory concerned.
        path: std::path::PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The authority's file is there, but is not what this crate wrote.
    #[error("certificate authority in {path} is damaged: {reason}; delete the file to make a new one")]
    Damaged {
        /// The file concerned.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that cannot stand in a certificate (not ASCII, for instance).
    #[error("cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// rustls refused the configuration.
    #[error("TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
    /// The verifier of client certificates could not be built.
    #[error("TLS client verifier: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Installs aws-lc-rs as the process's one crypto provider. Every configuration made here names the provider itself, so
/// this matters only to libraries that ask rustls for a default. Calling it again has no effect.
pub fn install_crypto_provider() {
    // The error means that a provider is installed already, which is what we want.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
