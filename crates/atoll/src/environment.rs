//! The addresses of a stack as environment variables: for `atoll env`, `atoll run`, and pods.

use std::collections::BTreeMap;

/// Variables by name.
pub type Environment = BTreeMap<String, String>;

/// The variables for a Redis Cluster at these addresses (`host:port`).
pub fn redis(addresses: &[String]) -> Environment {
    let first = addresses.first().cloned().unwrap_or_default();
    BTreeMap::from([("REDIS_URL".into(), format!("redis://{first}")), ("REDIS_NODES".into(), addresses.join(","))])
}

/// The variables for the TLS ports of the same. Where these are all that is listened on, they are the cluster's addresses.
pub fn redis_tls(addresses: &[String], is_all: bool) -> Environment {
    let url = format!("rediss://{}", addresses.first().cloned().unwrap_or_default());
    let mut variables =
        Environment::from([("REDIS_TLS_URL".into(), url.clone()), ("REDIS_TLS_NODES".into(), addresses.join(","))]);
    if is_all {
        variables.insert("REDIS_URL".into(), url);
    }
    variables
}

/// The name of the variable that names the file with whom to trust where Redis listens for TLS.
pub const REDIS_CA: &str = "REDIS_TLS_CA_FILE";
/// Those that name a client's certificate and its key.
pub const REDIS_CERTIFICATE: &str = "REDIS_TLS_CERT_FILE";
/// See [`REDIS_CERTIFICATE`].
pub const REDIS_KEY: &str = "REDIS_TLS_KEY_FILE";

/// The variables for a Kafka cluster at these addresses (`host:port`).
pub fn kafka(addresses: &[String]) -> Environment {
    BTreeMap::from([("KAFKA_BOOTSTRAP_SERVERS".into(), addresses.join(","))])
}

/// The name of the variable that names the file with whom to trust over TLS.
pub const KAFKA_CA: &str = "KAFKA_SSL_CA_FILE";

/// The variable for another listener of a Kafka cluster: `KAFKA_BOOTSTRAP_SERVERS_SASL_SSL`.
pub fn kafka_listener(name: &str, addresses: &[String]) -> Environment {
    let is_plain = |character: char| character.is_ascii_alphanumeric();
    let name: String = name.chars().map(|character| if is_plain(character) { character } else { '_' }).collect();
    BTreeMap::from([(format!("KAFKA_BOOTSTRAP_SERVERS_{name}"), addresses.join(","))])
}

/// The variables for a Kubernetes API.
pub fn kubernetes(kubeconfig: &str) -> Environment {
    BTreeMap::from([("KUBECONFIG".into(), kubeconfig.to_owned())])
}

/// As commands for a shell: `eval "$(atoll env)"`.
pub fn as_shell(environment: &Environment) -> String {
    environment.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect()
}

/// A word of a POSIX shell that means exactly `text`.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@%+=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_a_shell() {
        let environment =
            BTreeMap::from([("A".to_owned(), "it's $HOME `x`".to_owned()), ("B".into(), "a:1,b:2".into())]);
        assert_eq!(as_shell(&environment), "export A='it'\\''s $HOME `x`'\nexport B=a:1,b:2\n");
    }
}
