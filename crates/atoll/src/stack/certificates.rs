//! What engines prove themselves with over TLS: from the files that options name, or from the stack's own authority.

use std::io;
use std::path::Path;

use atoll_kafka::security::Certificates as KafkaCertificates;
use atoll_net::Pem;
use atoll_pki::Authority;
use atoll_redis::Certificates as RedisCertificates;

use super::{Stack, start_failure};
use crate::config::Engine;
use crate::environment;
use crate::error::Result;
use crate::files;
use crate::plan::Plan;

/// How long a file of certificates or keys may be, and how many of them a folder may have.
const PEM_BYTES_MAX: usize = 1 << 20;
const PEM_FILES_MAX: usize = 1024;

impl Stack {
    /// What brokers prove themselves with. Clients find in `ca.pem` whom to trust.
    pub(super) fn kafka_certificate(&mut self, plan: &Plan) -> Result<KafkaCertificates> {
        let authority = self.authority(Engine::Kafka)?;
        let certificate = self.server_certificate(Engine::Kafka, &authority)?;
        let trusted = authority.certificate_pem().to_owned();
        self.hand_out(Engine::Kafka, environment::KAFKA_CA, &plan.home.certificate_authority(), &trusted)?;
        Ok(KafkaCertificates { own: certificate, trusted })
    }

    /// What instances of Redis prove themselves with, and whom they trust. Where that is the stack's own authority, clients
    /// find in `ca.pem` whom to trust, and in `redis-client.pem` a certificate for themselves.
    pub(super) fn redis_certificates(
        &mut self,
        config: &atoll_redis::Config,
        plan: &Plan,
    ) -> Result<RedisCertificates> {
        let failed = |error: &dyn std::fmt::Display| start_failure(Engine::Redis, &io::Error::other(error.to_string()));
        let read = |option: &str| -> Result<Option<String>> {
            let path = config.get(option).filter(|path| !path.is_empty());
            let text = path.map(|path| files::read_text(&plan.directory.join(path), PEM_BYTES_MAX)).transpose();
            text.map_err(|error| failed(&format!("{option}: {error}")))
        };
        let both = |certificate: &str, key: &str| match (read(certificate)?, read(key)?) {
            (Some(certificate_chain), Some(key)) => Ok(Some(Pem { certificate_chain, key })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(failed(&format!("No {key} configured!"))),
            (None, Some(_)) => Err(failed(&format!("No {certificate} configured!"))),
        };
        let own = both("tls-cert-file", "tls-key-file")?;
        let for_masters = both("tls-client-cert-file", "tls-client-key-file")?;
        let mut trusted = read("tls-ca-cert-file")?.unwrap_or_default();
        if let Some(folder) = config.get("tls-ca-cert-dir").filter(|folder| !folder.is_empty()) {
            let texts = files::read_folder(&plan.directory.join(folder), PEM_FILES_MAX, PEM_BYTES_MAX);
            trusted.extend(texts.map_err(|error| failed(&format!("tls-ca-cert-dir: {error}")))?);
        }
        let own = match own {
            Some(own) => own,
            None => {
                let (authority, file) = (self.authority(Engine::Redis)?, plan.home.certificate_authority());
                self.hand_out(Engine::Redis, environment::REDIS_CA, &file, authority.certificate_pem())?;
                self.server_certificate(Engine::Redis, &authority)?
            }
        };
        if trusted.is_empty() {
            let authority = self.authority(Engine::Redis)?;
            trusted = authority.certificate_pem().to_owned();
            let client = authority.client("redis-client").map_err(|error| failed(&error))?;
            let (certificate, key) = plan.home.redis_client();
            self.hand_out(Engine::Redis, environment::REDIS_CERTIFICATE, &certificate, &client.certificate_pem)?;
            self.hand_out(Engine::Redis, environment::REDIS_KEY, &key, &client.key_pem)?;
        }
        Ok(RedisCertificates { own, trusted, for_masters })
    }

    /// A certificate for every address of every node, with the authority that vouches for it.
    fn server_certificate(&self, engine: Engine, authority: &Authority) -> Result<Pem> {
        let mut names = vec!["localhost".to_owned()];
        for node in self.kernel().nodes() {
            names.push(node.config.address.to_string());
            names.push(node.config.pod_side_address.to_string());
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let made = authority.server(&names).map_err(|error| start_failure(engine, &io::Error::other(error)))?;
        let certificate_chain = format!("{}{}", made.certificate_pem, authority.certificate_pem());
        Ok(Pem { certificate_chain, key: made.key_pem.clone() })
    }

    /// Writes a file for clients, and names it to them.
    fn hand_out(&mut self, engine: Engine, variable: &str, file: &Path, text: &str) -> Result<()> {
        files::write_owner_only(file, text.as_bytes()).map_err(|error| start_failure(engine, &error))?;
        self.client_files.insert(variable.to_owned(), file.display().to_string());
        Ok(())
    }
}
