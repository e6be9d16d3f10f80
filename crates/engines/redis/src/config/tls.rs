//! The options of TLS: <https://redis.io/docs/latest/operate/oss_and_stack/management/security/encryption/>.

use std::collections::BTreeMap;

use crate::wire::split_line;

/// What Redis answers to a change of a live server after which TLS could not be had; its log says more.
pub(crate) const REFUSED: &str = "Unable to update TLS configuration. Check server logs.";

/// Whether clients are to present certificates (`tls-auth-clients`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientCertificates {
    NotAsked,
    Required,
    Optional,
}

/// What the options of TLS mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// `tls-port`; 0: nothing listens.
    pub(crate) port: u16,
    /// `tls-cluster`: what the bus of a cluster uses, and MIGRATE.
    pub(crate) is_for_cluster: bool,
    /// `tls-replication`: how a replica reaches its master.
    pub(crate) is_for_replication: bool,
    pub(crate) clients: ClientCertificates,
    /// TLS 1.2 and TLS 1.3.
    pub(crate) versions: (bool, bool),
    /// `tls-ciphersuites`, of TLS 1.3; empty: all.
    pub(crate) suites: Vec<String>,
    /// `tls-prefer-server-ciphers`.
    pub(crate) prefers_own_order: bool,
    /// `tls-session-caching`.
    pub(crate) resumes_sessions: bool,
}

impl TlsSettings {
    pub(super) fn of(values: &BTreeMap<&'static str, String>) -> TlsSettings {
        let text = |name: &str| values.get(name).map(String::as_str).unwrap_or_default();
        let yes = |name| text(name) == "yes";
        let suites = text("tls-ciphersuites").split(':').filter(|name| !name.is_empty()).map(str::to_owned);
        TlsSettings {
            port: text("tls-port").parse().unwrap_or_default(),
            is_for_cluster: yes("tls-cluster"),
            is_for_replication: yes("tls-replication"),
            clients: match text("tls-auth-clients") {
                "no" => ClientCertificates::NotAsked,
                "optional" => ClientCertificates::Optional,
                _ => ClientCertificates::Required,
            },
            versions: versions(text("tls-protocols")).unwrap_or((true, true)),
            suites: suites.collect(),
            prefers_own_order: yes("tls-prefer-server-ciphers"),
            resumes_sessions: yes("tls-session-caching"),
        }
    }

    /// True if anything is encrypted.
    pub(crate) fn is_used(&self) -> bool {
        self.port != 0 || self.is_for_cluster || self.is_for_replication
    }

    /// True if replicas reach masters at the port for TLS.
    pub(crate) fn is_between_replicas(&self) -> bool {
        self.is_for_replication && self.port != 0
    }
}

/// The suites of TLS 1.3 that there are, by the names that OpenSSL has for them.
pub(crate) const SUITES: [&str; 3] =
    ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];

/// Whether the options of TLS suit each other, as far as that can be told without files. Redis looks at them only if it
/// needs any.
pub(super) fn check(values: &BTreeMap<&'static str, String>) -> Result<(), String> {
    let text = |name: &str| values.get(name).map(String::as_str).unwrap_or_default();
    let settings = TlsSettings::of(values);
    if !settings.is_used() {
        return Ok(());
    }
    let offers_suite = settings.suites.is_empty() || settings.suites.iter().any(|name| SUITES.contains(&name.as_str()));
    let is_known = settings.suites.iter().all(|name| SUITES.contains(&name.as_str()));
    let has_versions = matches!(versions(text("tls-protocols")), Some((true, _) | (_, true)));
    if !has_versions || !offers_suite || !is_known {
        return Err(REFUSED.to_owned());
    }
    Ok(())
}

/// What is wrong with the ports of a whole configuration.
pub(super) fn port_trouble(settings: &super::Settings) -> Option<String> {
    let (port, tls) = (settings.port, settings.tls.port);
    if tls == 0 && settings.tls.is_for_cluster && settings.is_cluster {
        return Some("tls-cluster needs a tls-port".to_owned());
    }
    // The replica instance of a node listens two ports above its primary instance.
    let gap = port.abs_diff(tls);
    let is_taken = port != 0 && tls != 0 && (gap == 0 || settings.is_cluster && gap == 2);
    is_taken.then(|| format!("tls-port {tls} is taken by port {port} or by that of a node's replica"))
}

/// TLS 1.2 and TLS 1.3 among the versions that are named; None for what is no version. Older ones are not there.
fn versions(text: &str) -> Option<(bool, bool)> {
    if text.is_empty() {
        return Some((true, true));
    }
    let mut offered = (false, false);
    for word in split_line(text.as_bytes())? {
        match word.to_ascii_lowercase().as_slice() {
            b"tlsv1" | b"tlsv1.1" => {}
            b"tlsv1.2" => offered.0 = true,
            b"tlsv1.3" => offered.1 = true,
            _ => return None,
        }
    }
    Some(offered)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError};
    use super::*;

    fn refused(options: &[(&str, &str)]) -> String {
        let mut config = Config::default();
        let (last, first) = options.split_last().expect("an option");
        for (name, value) in first {
            config.set(name, value).expect("it suits");
        }
        let before = config.clone();
        match config.set(last.0, last.1) {
            Err(ConfigError::Invalid { reason, .. }) => {
                assert_eq!(config, before, "what is refused changes nothing");
                reason
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn versions_and_suites_are_looked_at_only_where_there_is_tls() {
        let mut config = Config::default();
        config.set("tls-protocols", "SSLv3").expect("Redis does not look at it either");
        assert_eq!(refused(&[("tls-protocols", "SSLv3"), ("tls-port", "6380")]), REFUSED);
        assert_eq!(refused(&[("tls-port", "6380"), ("tls-protocols", "TLSv1 TLSv1.1")]), REFUSED);
        assert_eq!(refused(&[("tls-port", "6380"), ("tls-ciphersuites", "TLS_NONE")]), REFUSED);
        config.set("tls-protocols", "tlsv1.3").expect("a version");
        config.set("tls-port", "6380").expect("a port");
        assert_eq!(config.settings.tls.versions, (false, true));
    }

    #[test]
    fn the_ports_of_a_node_are_different() {
        let trouble = |options: &[(&str, &str)]| {
            let mut config = Config::default();
            options.iter().for_each(|(name, value)| config.set(name, value).expect("an option"));
            config.trouble().unwrap_or_default()
        };
        assert!(trouble(&[("tls-port", "6379")]).contains("taken"));
        assert!(trouble(&[("tls-port", "6381")]).contains("taken"));
        assert_eq!(trouble(&[("tls-port", "6381"), ("cluster-enabled", "no")]), "");
        assert_eq!(trouble(&[("tls-port", "6379"), ("tls-cluster", "yes"), ("port", "0")]), "");
        assert!(trouble(&[("tls-cluster", "yes")]).contains("tls-port"));
    }

    #[test]
    fn clients_are_to_have_certificates_unless_told_otherwise() {
        let mut config = Config::default();
        assert_eq!(config.settings.tls.clients, ClientCertificates::Required);
        for (value, meant) in [("no", ClientCertificates::NotAsked), ("optional", ClientCertificates::Optional)] {
            config.set("tls-auth-clients", value).expect("a value");
            assert_eq!(config.settings.tls.clients, meant);
        }
    }
}
