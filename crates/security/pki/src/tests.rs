#![allow(clippy::disallowed_methods)] // These tests look at the files that the store wrote, and make dates.

use crate::*;
use rustls::{ClientConnection, ServerConnection};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn workload(namespace: &str, account: &str) -> Identity {
    Identity::Workload { namespace: namespace.into(), service_account: account.into() }
}

/// Runs a whole handshake in memory; the error is the one that the failing side reports.
fn handshake(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("to memory");
        server.read_tls(&mut wire.as_slice()).expect("from memory");
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).expect("to memory");
        client.read_tls(&mut wire.as_slice()).expect("from memory");
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}

fn connect(
    authority: &Authority,
    trusted: &Authority,
    own: Option<&Certificate>,
    clients: Clients,
    name: &str,
) -> Result<ServerConnection, rustls::Error> {
    let certificate = authority.identity(&Identity::Node(2), 2).expect("issued");
    let server = authority.server_config(&certificate, clients).expect("server configuration");
    let client = trusted.client_config(own).expect("client configuration");
    let mut client =
        ClientConnection::new(Arc::new(client), name.to_owned().try_into().expect("a name")).expect("client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("server");
    handshake(&mut client, &mut server)?;
    Ok(server)
}

#[test]
fn mutual_tls_tells_the_server_who_calls_and_from_which_node() {
    let authority = Authority::in_memory().expect("authority");
    let caller = authority.identity(&workload("shop", "payment"), 1).expect("issued");
    let server = connect(&authority, &authority, Some(&caller), Clients::MustPresent, &node_dns_name(2)).expect("TLS");
    let presented = &server.peer_certificates().expect("the client's chain")[0];
    assert_eq!(identity_of(presented), Some(workload("shop", "payment")));
    assert_eq!(node_of(presented), Some(1));
}

#[test]
fn strangers_are_refused_in_every_direction() {
    let authority = Authority::in_memory().expect("authority");
    let other = Authority::in_memory().expect("another authority");
    let stranger = other.identity(&workload("shop", "payment"), 1).expect("issued");
    let name = node_dns_name(2);
    assert!(connect(&authority, &authority, None, Clients::MustPresent, &name).is_err(), "no client certificate");
    assert!(connect(&authority, &authority, Some(&stranger), Clients::MustPresent, &name).is_err(), "foreign client");
    assert!(connect(&authority, &authority, Some(&stranger), Clients::MayPresent, &name).is_err(), "foreign client");
    assert!(connect(&authority, &other, None, Clients::Anonymous, &name).is_err(), "foreign server");
    assert!(connect(&authority, &authority, None, Clients::Anonymous, &node_dns_name(3)).is_err(), "another node");
    assert!(connect(&authority, &authority, None, Clients::MayPresent, &name).is_ok(), "certificates are optional");
}

#[test]
fn the_authority_survives_a_restart_and_is_for_the_owner_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("pki");
    let first = Authority::open(&path).expect("made");
    let caller = first.identity(&workload("a", "b"), 1).expect("issued");
    let again = Authority::open(&path).expect("opened again");
    assert_eq!(first.certificate(), again.certificate());
    assert_eq!(first.certificate_pem(), again.certificate_pem());
    connect(&again, &again, Some(&caller), Clients::MustPresent, &node_dns_name(2))
        .expect("issued before, valid after");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("ca.pem")), 0o600);
    assert_eq!(std::fs::read_dir(&path).expect("directory").count(), 1, "nothing unfinished stays behind");
}

#[test]
fn a_damaged_authority_is_an_error_that_names_the_file() {
    let directory = tempfile::tempdir().expect("temporary directory");
    Authority::open(directory.path()).expect("made");
    let file = directory.path().join("ca.pem");
    let text = std::fs::read_to_string(&file).expect("text");
    for cut in [0, 10, text.find("-----BEGIN CERT").expect("certificate"), text.len() - 60] {
        std::fs::write(&file, &text[..cut]).expect("written");
        let error = Authority::open(directory.path()).expect_err("damaged").to_string();
        assert!(error.contains("ca.pem") && error.contains("damaged"), "{error}");
    }
}

#[test]
fn a_kubernetes_user_carries_name_and_group() {
    let authority = Authority::in_memory().expect("authority");
    let certificate = authority.kubernetes_user("kubernetes-admin", "system:masters").expect("issued");
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate.chain[0]).expect("DER");
    assert_eq!(parsed.subject().to_string(), "CN=kubernetes-admin, O=system:masters");
    assert_eq!(identity_of(&certificate.chain[0]), None);
}

#[test]
fn renewal_is_due_after_two_thirds_of_the_validity() {
    let authority = Authority::in_memory().expect("authority");
    let certificate = authority.identity(&Identity::Node(1), 1).expect("issued");
    let now = SystemTime::now();
    assert!(!certificate.needs_renewal(now + Duration::from_secs(15 * 3600)));
    assert!(certificate.needs_renewal(now + Duration::from_secs(17 * 3600)));
}

#[test]
fn identities_read_back_and_foreign_ones_do_not() {
    for identity in [workload("default", "orders"), Identity::Node(3)] {
        assert_eq!(identity.to_string().parse(), Ok(identity));
    }
    for text in [
        "spiffe://example.org/ns/a/sa/b",
        "spiffe://cluster.local.evil/ns/a/sa/b",
        "spiffe://cluster.local/ns//sa/b",
        "spiffe://cluster.local/ns/a/sa/b/c",
        "spiffe://cluster.local/node/70000",
        "https://cluster.local/node/1",
        "",
    ] {
        assert_eq!(text.parse::<Identity>(), Err(identity::NotAnIdentity), "{text}");
    }
}
