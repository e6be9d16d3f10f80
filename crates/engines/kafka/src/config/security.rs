//! The options of listeners, TLS, SASL and access, by their real names and with Kafka's defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A part of [`Config`](super::Config): where brokers listen, and whom they let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityConfig {
    /// Where brokers listen, by name and port: `PLAINTEXT://:9092,SASL_SSL://:9093`. Empty is a plain listener on `port`.
    pub listeners: String,
    /// What each listener speaks: `NAME:PROTOCOL`, by commas.
    #[serde(rename = "listener.security.protocol.map")]
    pub listener_security_protocol_map: String,
    /// Options of one listener alone, by what stands behind `listener.name.` in their names.
    #[serde(rename = "listener.name", skip_serializing_if = "BTreeMap::is_empty")]
    pub listener_options: BTreeMap<String, String>,
    /// How clients can authenticate themselves: `PLAIN`, `SCRAM-SHA-256` and `SCRAM-SHA-512`, by commas.
    #[serde(rename = "sasl.enabled.mechanisms")]
    pub sasl_enabled_mechanisms: String,
    /// The largest request of a client that is not yet authenticated.
    #[serde(rename = "sasl.server.max.receive.size")]
    pub sasl_server_max_receive_size: i32,
    /// For how long an authentication holds; 0 is for ever.
    #[serde(rename = "connections.max.reauth.ms")]
    pub connections_max_reauth_ms: i64,
    /// How long a client whose authentication failed waits until it is told so.
    #[serde(rename = "connection.failed.authentication.delay.ms")]
    pub connection_failed_authentication_delay_ms: u64,
    /// `PEM`, where the next two are set.
    #[serde(rename = "ssl.keystore.type")]
    pub ssl_keystore_type: String,
    /// The certificate of TLS listeners and those that vouch for it; empty is one of the stack's own authority.
    #[serde(rename = "ssl.keystore.certificate.chain")]
    pub ssl_keystore_certificate_chain: String,
    /// Its private key.
    #[serde(rename = "ssl.keystore.key")]
    pub ssl_keystore_key: String,
    /// `PEM`, where the next one is set.
    #[serde(rename = "ssl.truststore.type")]
    pub ssl_truststore_type: String,
    /// Who may vouch for clients; empty is the stack's own authority.
    #[serde(rename = "ssl.truststore.certificates")]
    pub ssl_truststore_certificates: String,
    /// Whether clients are asked for certificates: `none`, `requested` or `required`.
    #[serde(rename = "ssl.client.auth")]
    pub ssl_client_auth: String,
    /// Versions of TLS: `TLSv1.2`, `TLSv1.3`, or both by a comma.
    #[serde(rename = "ssl.enabled.protocols")]
    pub ssl_enabled_protocols: String,
    /// How names in clients' certificates become those of principals.
    #[serde(rename = "ssl.principal.mapping.rules")]
    pub ssl_principal_mapping_rules: String,
    /// Who decides what clients may do: empty (nobody), or Kafka's `StandardAuthorizer`.
    #[serde(rename = "authorizer.class.name")]
    pub authorizer_class_name: String,
    /// Who may do everything: `User:alice;User:bob`.
    #[serde(rename = "super.users")]
    pub super_users: String,
    /// Whether resources without any rule are everybody's.
    #[serde(rename = "allow.everyone.if.no.acl.found")]
    pub allow_everyone_if_no_acl_found: bool,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        Self {
            listeners: String::new(),
            listener_security_protocol_map:
                "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT".to_owned(),
            listener_options: BTreeMap::new(),
            sasl_enabled_mechanisms: "GSSAPI".to_owned(),
            sasl_server_max_receive_size: 524_288,
            connections_max_reauth_ms: 0,
            connection_failed_authentication_delay_ms: 100,
            ssl_keystore_type: "JKS".to_owned(),
            ssl_keystore_certificate_chain: String::new(),
            ssl_keystore_key: String::new(),
            ssl_truststore_type: "JKS".to_owned(),
            ssl_truststore_certificates: String::new(),
            ssl_client_auth: "none".to_owned(),
            ssl_enabled_protocols: "TLSv1.2,TLSv1.3".to_owned(),
            ssl_principal_mapping_rules: "DEFAULT".to_owned(),
            authorizer_class_name: String::new(),
            super_users: String::new(),
            allow_everyone_if_no_acl_found: false,
        }
    }
}
