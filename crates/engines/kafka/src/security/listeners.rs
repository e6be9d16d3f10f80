//! The listeners of a broker and their options, by Kafka's names. A stack's nodes have addresses of their own, so that a
//! listener is a name and a port: `SASL_SSL://:9093`.
//!
//! <https://kafka.apache.org/documentation/#listener_configuration>

use std::collections::BTreeMap;

use super::jaas;
use super::scram::Hash;
use super::tls::PrincipalMapper;
use crate::config::Config;

/// How bytes travel, and whether clients say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// As they are, from anybody.
    Plaintext,
    /// Over TLS; a client's certificate may say who it is.
    Ssl,
    /// As they are, after an authentication.
    SaslPlaintext,
    /// Over TLS, after an authentication.
    SaslSsl,
}

impl Protocol {
    fn from_name(name: &str) -> Option<Protocol> {
        Some(match name {
            "PLAINTEXT" => Protocol::Plaintext,
            "SSL" => Protocol::Ssl,
            "SASL_PLAINTEXT" => Protocol::SaslPlaintext,
            "SASL_SSL" => Protocol::SaslSsl,
            _ => return None,
        })
    }

    /// Whether bytes travel over TLS.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }

    /// Whether clients authenticate themselves first.
    pub fn is_authenticated(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }
}

/// A way to authenticate that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// Name and password in the clear.
    Plain,
    /// A proof of knowing the password.
    Scram(Hash),
}

impl Mechanism {
    const ALL: [Mechanism; 3] = [Mechanism::Plain, Mechanism::Scram(Hash::Sha256), Mechanism::Scram(Hash::Sha512)];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(Hash::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(Hash::Sha512) => "SCRAM-SHA-512",
        }
    }

    fn login_module(self) -> &'static str {
        match self {
            Mechanism::Plain => "org.apache.kafka.common.security.plain.PlainLoginModule",
            Mechanism::Scram(_) => "org.apache.kafka.common.security.scram.ScramLoginModule",
        }
    }
}

/// How clients of a listener authenticate themselves.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SaslOptions {
    /// What is offered, in the order of the option.
    pub mechanisms: Vec<Mechanism>,
    /// Passwords of PLAIN by user.
    pub plain_users: BTreeMap<String, String>,
    /// For how long an authentication holds, by mechanism; for ever where nothing is said.
    pub reauthentication_ms: BTreeMap<Mechanism, u64>,
}

/// Passwords stay out of logs.
impl std::fmt::Debug for SaslOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SaslOptions").field("mechanisms", &self.mechanisms).finish_non_exhaustive()
    }
}

/// Whether clients are asked for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// No.
    None,
    /// They may present one.
    Requested,
    /// They must present one.
    Required,
}

/// The TLS options of a listener.
#[derive(Clone)]
pub struct TlsOptions {
    /// The chain and the key in PEM; None is a certificate of the stack's own authority.
    pub keystore: Option<(String, String)>,
    /// Who may vouch for clients, in PEM; None is the stack's own authority.
    pub truststore: Option<String>,
    /// Whether clients are asked for certificates.
    pub client_authentication: ClientAuthentication,
    /// Whether TLS 1.2 and TLS 1.3 are offered.
    pub versions: (bool, bool),
    pub(crate) mapper: PrincipalMapper,
}

/// The key stays out of logs.
impl std::fmt::Debug for TlsOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let asked = &self.client_authentication;
        formatter.debug_struct("TlsOptions").field("client_authentication", asked).finish_non_exhaustive()
    }
}

/// One listener of every broker.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// Its name, which is that of its protocol unless the map says otherwise.
    pub name: String,
    /// Its port on every node; 0 is any free one.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// For protocols that authenticate.
    pub sasl: SaslOptions,
    /// For protocols that encrypt.
    pub tls: Option<TlsOptions>,
}

impl ListenerOptions {
    /// A plain listener, as there is one by default.
    pub fn plaintext(port: u16) -> ListenerOptions {
        let name = "PLAINTEXT".to_owned();
        ListenerOptions { name, port, protocol: Protocol::Plaintext, sasl: SaslOptions::default(), tls: None }
    }
}

impl Config {
    /// The listeners that the options come to. The error is a sentence for people.
    pub fn listeners(&self) -> Result<Vec<ListenerOptions>, String> {
        if self.security.listeners.trim().is_empty() {
            return Ok(vec![ListenerOptions::plaintext(self.port)]);
        }
        let mut listeners: Vec<ListenerOptions> = Vec::new();
        for endpoint in self.security.listeners.split(',').map(str::trim) {
            let listener = self.listener(endpoint)?;
            let same = |other: &&ListenerOptions| {
                other.name == listener.name || (other.port == listener.port && other.port != 0)
            };
            if let Some(other) = listeners.iter().find(same) {
                let (name, other) = (&listener.name, &other.name);
                return Err(format!("Each listener must have a different name and port: {other} and {name}"));
            }
            listeners.push(listener);
        }
        Ok(listeners)
    }

    fn listener(&self, endpoint: &str) -> Result<ListenerOptions, String> {
        let unreadable = || format!("Unable to parse {endpoint} to a broker endpoint");
        let (name, address) = endpoint.split_once("://").ok_or_else(unreadable)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(unreadable)?;
        let port = port.parse::<u16>().map_err(|_| unreadable())?;
        if !host.is_empty() {
            return Err(format!("{endpoint} names a host, but every node has an address of its own: {name}://:{port}"));
        }
        let name = name.to_uppercase();
        let protocol = self.protocol_of(&name)?;
        let own = Own { config: self, prefix: format!("{}.", name.to_lowercase()) };
        let sasl = if protocol.is_authenticated() { own.sasl()? } else { SaslOptions::default() };
        let tls = if protocol.is_encrypted() { Some(own.tls()?) } else { None };
        Ok(ListenerOptions { name, port, protocol, sasl, tls })
    }

    fn protocol_of(&self, name: &str) -> Result<Protocol, String> {
        for entry in self.security.listener_security_protocol_map.split(',').map(str::trim) {
            let Some((mapped, protocol)) = entry.split_once(':') else {
                return Err(format!(
                    "Error creating broker listeners from '{}'",
                    self.security.listener_security_protocol_map
                ));
            };
            if mapped.eq_ignore_ascii_case(name) {
                let unknown =
                    || format!("Invalid security protocol {protocol} defined in listener.security.protocol.map");
                return Protocol::from_name(protocol).ok_or_else(unknown);
            }
        }
        Err(format!("No security protocol defined for listener {name}"))
    }

    /// Whether some listener needs a certificate of the stack's own authority, or its trust.
    pub fn needs_authority(&self) -> bool {
        let needs = |tls: &TlsOptions| {
            let asks = tls.client_authentication != ClientAuthentication::None;
            tls.keystore.is_none() || (asks && tls.truststore.is_none())
        };
        self.listeners().is_ok_and(|all| all.iter().any(|listener| listener.tls.as_ref().is_some_and(needs)))
    }
}

/// Options of one listener, before those of all.
struct Own<'c> {
    config: &'c Config,
    prefix: String,
}

impl Own<'_> {
    fn of_listener(&self, option: &str) -> Option<&str> {
        self.config.security.listener_options.get(&format!("{}{option}", self.prefix)).map(String::as_str)
    }

    fn sasl(&self) -> Result<SaslOptions, String> {
        let mut options = SaslOptions::default();
        let enabled =
            self.of_listener("sasl.enabled.mechanisms").unwrap_or(&self.config.security.sasl_enabled_mechanisms);
        for name in enabled.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let known = Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name);
            let unknown = || format!("{name} is not offered: there are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512");
            let mechanism = known.ok_or_else(unknown)?;
            self.mechanism(mechanism, &mut options)?;
            options.mechanisms.push(mechanism);
        }
        if options.mechanisms.is_empty() { Err("No SASL mechanisms are enabled".to_owned()) } else { Ok(options) }
    }

    fn mechanism(&self, mechanism: Mechanism, options: &mut SaslOptions) -> Result<(), String> {
        let key = mechanism.name().to_lowercase();
        let option = format!("{key}.sasl.jaas.config");
        let Some(text) = self.of_listener(&option) else {
            return Err(format!(
                "{} is enabled, so that listener.name.{}{option} must be set",
                mechanism.name(),
                self.prefix
            ));
        };
        let module = jaas::parse(text)?;
        if module.name != mechanism.login_module() {
            return Err(format!("{} needs {}, not {}", mechanism.name(), mechanism.login_module(), module.name));
        }
        if mechanism == Mechanism::Plain {
            let users = module.options.into_iter();
            let users = users.filter_map(|(name, password)| Some((name.strip_prefix("user_")?.to_owned(), password)));
            options.plain_users = users.collect();
        }
        let limit = self.of_listener(&format!("{key}.connections.max.reauth.ms"));
        let limit = limit.or_else(|| self.of_listener("connections.max.reauth.ms"));
        let limit = match limit {
            Some(text) => text.parse::<i64>().map_err(|_| format!("connections.max.reauth.ms is no number: {text}"))?,
            None => self.config.security.connections_max_reauth_ms,
        };
        if let Some(limit) = u64::try_from(limit).ok().filter(|limit| *limit > 0) {
            options.reauthentication_ms.insert(mechanism, limit);
        }
        Ok(())
    }

    fn tls(&self) -> Result<TlsOptions, String> {
        let config = self.config;
        let text = |option: &str, of_all: &str| {
            let value = self.of_listener(option).unwrap_or(of_all);
            (!value.is_empty()).then(|| value.to_owned())
        };
        let chain = text("ssl.keystore.certificate.chain", &config.security.ssl_keystore_certificate_chain);
        let key = text("ssl.keystore.key", &config.security.ssl_keystore_key);
        let truststore = text("ssl.truststore.certificates", &config.security.ssl_truststore_certificates);
        let is_pem = |option: &str, of_all: &str| self.of_listener(option).unwrap_or(of_all) == "PEM";
        let keystore = match (chain, key) {
            (Some(_), Some(_)) if !is_pem("ssl.keystore.type", &config.security.ssl_keystore_type) => {
                return Err("SSL key store is specified as PEM, so that ssl.keystore.type must be PEM".to_owned());
            }
            (Some(chain), Some(key)) => Some((chain, key)),
            (None, None) => None,
            _ => {
                let reason = "ssl.keystore.certificate.chain and ssl.keystore.key must be specified together";
                return Err(reason.to_owned());
            }
        };
        if truststore.is_some() && !is_pem("ssl.truststore.type", &config.security.ssl_truststore_type) {
            return Err("SSL trust store is specified as PEM, so that ssl.truststore.type must be PEM".to_owned());
        }
        let client_authentication =
            match self.of_listener("ssl.client.auth").unwrap_or(&config.security.ssl_client_auth) {
                "none" => ClientAuthentication::None,
                "requested" => ClientAuthentication::Requested,
                "required" => ClientAuthentication::Required,
                other => return Err(format!("ssl.client.auth is required, requested or none, not {other}")),
            };
        let enabled = self.of_listener("ssl.enabled.protocols").unwrap_or(&config.security.ssl_enabled_protocols);
        let offers = |version: &str| enabled.split(',').any(|name| name.trim() == version);
        let versions = (offers("TLSv1.2"), offers("TLSv1.3"));
        if versions == (false, false) {
            return Err(format!("ssl.enabled.protocols has neither TLSv1.2 nor TLSv1.3: {enabled}"));
        }
        let rules =
            self.of_listener("ssl.principal.mapping.rules").unwrap_or(&config.security.ssl_principal_mapping_rules);
        let mapper = PrincipalMapper::parse(rules)?;
        Ok(TlsOptions { keystore, truststore, client_authentication, versions, mapper })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecurityConfig;

    const JAAS: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_bob=\"secret\";";

    fn config(listeners: &str, options: &[(&str, &str)]) -> Config {
        let listener_options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let security = SecurityConfig {
            listeners: listeners.to_owned(),
            listener_options: listener_options.collect(),
            ..SecurityConfig::default()
        };
        Config { security, ..Config::default() }
    }

    fn refused(listeners: &str, options: &[(&str, &str)]) -> String {
        config(listeners, options).listeners().unwrap_err()
    }

    #[test]
    fn without_the_option_there_is_one_plain_listener() {
        let listeners = Config::default().listeners().unwrap();
        assert_eq!(listeners.len(), 1);
        assert_eq!((listeners[0].port, listeners[0].protocol), (9092, Protocol::Plaintext));
    }

    #[test]
    fn listeners_have_options_of_their_own() {
        let options = [
            ("sasl_plaintext.sasl.enabled.mechanisms", "PLAIN"),
            ("sasl_plaintext.plain.sasl.jaas.config", JAAS),
            ("sasl_plaintext.plain.connections.max.reauth.ms", "1000"),
        ];
        let listeners = config("PLAINTEXT://:9092,SASL_PLAINTEXT://:9094", &options).listeners().unwrap();
        let sasl = &listeners[1].sasl;
        assert_eq!(sasl.mechanisms, [Mechanism::Plain]);
        assert_eq!(sasl.plain_users["bob"], "secret");
        assert_eq!(sasl.reauthentication_ms[&Mechanism::Plain], 1000);
        assert!(!format!("{listeners:?}").contains("secret"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert_eq!(refused("OTHER://:9092", &[]), "No security protocol defined for listener OTHER");
        assert_eq!(refused("PLAINTEXT", &[]), "Unable to parse PLAINTEXT to a broker endpoint");
        assert!(refused("PLAINTEXT://0.0.0.0:9092", &[]).contains("address of its own"));
        assert!(refused("PLAINTEXT://:1,SSL://:1", &[]).contains("different name and port"));
        // Kafka's default is GSSAPI.
        assert!(refused("SASL_PLAINTEXT://:9094", &[]).starts_with("GSSAPI is not offered"));
        let plain = ("sasl_plaintext.sasl.enabled.mechanisms", "PLAIN");
        assert!(refused("SASL_PLAINTEXT://:9094", &[plain]).contains("plain.sasl.jaas.config must be set"));
        assert!(refused("SSL://:9093", &[("ssl.ssl.client.auth", "maybe")]).contains("not maybe"));
        assert!(refused("SSL://:9093", &[("ssl.ssl.keystore.key", "x")]).contains("together"));
        assert!(refused("SSL://:9093", &[("ssl.ssl.enabled.protocols", "SSLv3")]).contains("neither"));
    }
}
