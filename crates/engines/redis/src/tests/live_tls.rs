//! The server over TLS, on loopback addresses that no instance uses by default: what clients of rustls see.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use atoll_kernel::disk::{Disk, MemoryDisk};
use atoll_kernel::{Fault, Kernel, NodeConfig, NodeId, Seed};
use atoll_net::{Host, Pem};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::{Certificates, Config, Handle, Redis};

type TlsClient = StreamOwned<ClientConnection, TcpStream>;

/// An authority that vouches for a server of these addresses and for clients.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let issuer = Issuer::from_ca_cert_der(certificate.der(), key).expect("an authority");
        Authority { issuer, pem: certificate.pem() }
    }

    /// A certificate and its key, in PEM.
    fn issue(&self, block: u8) -> (String, String) {
        let names: Vec<String> = (1..=3).map(|node| format!("127.{block}.0.{node}")).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names).expect("addresses");
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }

    fn server(&self, block: u8) -> Certificates {
        let (certificate_chain, key) = self.issue(block);
        Certificates { own: Pem { certificate_chain, key }, trusted: self.pem.clone(), for_masters: None }
    }

    fn client(&self, identity: Option<(String, String)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("they belong together")
            }
        })
    }
}

fn start(block: u8, certificates: Certificates, options: &[(&str, &str)]) -> (Handle, Kernel) {
    let mut config = Config::default();
    for (name, value) in options {
        config.set(name, value).expect("an option");
    }
    let kernel = Kernel::live((1..=3).map(|number| NodeConfig::numbered(block, number)).collect(), Seed(1));
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::ephemeral());
    let redis = Redis::start(config, Host::new(kernel.clone(), disk, None), Some(certificates))
        .expect("the addresses are free");
    (redis, kernel)
}

fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> TlsClient {
    let name = ServerName::IpAddress(address.ip().into());
    let session = ClientConnection::new(Arc::clone(config), name).expect("a name");
    StreamOwned::new(session, TcpStream::connect(address).expect("it listens"))
}

/// Sends bytes and reads until as many have come as are expected.
fn exchange(stream: &mut (impl Read + Write), bytes: &[u8], expected: &str) {
    stream.write_all(bytes).expect("written");
    let mut reply = vec![0; expected.len()];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(String::from_utf8_lossy(&reply), expected);
}

fn ping(stream: &mut TlsClient) -> io::Result<Vec<u8>> {
    stream.write_all(b"PING\r\n")?;
    let mut reply = vec![0; 7];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}

#[test]
fn clients_are_sent_to_ports_of_their_own_kind() {
    let authority = Authority::new();
    let (redis, _) = start(221, authority.server(221), &[("tls-port", "6380"), ("tls-auth-clients", "no")]);
    let (plain, encrypted) = (redis.addresses()[0].1, redis.tls_addresses()[0].1);
    assert_eq!((plain.port(), encrypted.port()), (6379, 6380));
    let mut one = connect(encrypted, &authority.client(None));
    exchange(&mut one, b"GET foo\r\n", "-MOVED 12182 127.221.0.3:6380\r\n");
    let mut two = TcpStream::connect(plain).expect("it listens");
    exchange(&mut two, b"GET foo\r\n", "-MOVED 12182 127.221.0.3:6379\r\n");
    redis.shut_down();
}

#[test]
fn long_replies_and_requests_cross_many_records() {
    let authority = Authority::new();
    let options = [
        ("port", "0"),
        ("tls-port", "6379"),
        ("tls-auth-clients", "no"),
        ("cluster-enabled", "no"),
        ("tls-protocols", "TLSv1.2"),
    ];
    let (redis, _) = start(222, authority.server(222), &options);
    assert!(redis.addresses().is_empty());
    let mut client = connect(redis.tls_addresses()[0].1, &authority.client(None));
    let value = "x".repeat(3 << 20);
    exchange(
        &mut client,
        format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{value}\r\n", value.len()).as_bytes(),
        "+OK\r\n",
    );
    let reply = format!("${}\r\n{value}\r\n", value.len());
    exchange(&mut client, b"GET a\r\nGET a\r\nPING\r\n", &format!("{reply}{reply}+PONG\r\n"));
    redis.shut_down();
}

#[test]
fn certificates_of_clients_are_asked_for_as_the_option_says() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (redis, _) = start(223, authority.server(223), &[("tls-port", "6380"), ("cluster-enabled", "no")]);
    let (plain, address) = (redis.addresses()[0].1, redis.tls_addresses()[0].1);
    let known = authority.client(Some(authority.issue(1)));
    let nobody = authority.client(None);
    let foreign = authority.client(Some(stranger.issue(1)));
    assert_eq!(ping(&mut connect(address, &known)).expect("a reply"), b"+PONG\r\n");
    assert!(ping(&mut connect(address, &nobody)).is_err());
    assert!(ping(&mut connect(address, &foreign)).is_err());
    assert!(ping(&mut connect(address, &stranger.client(None))).is_err(), "it does not trust the server");
    let mut admin = TcpStream::connect(plain).expect("it listens");
    exchange(&mut admin, b"CONFIG SET tls-auth-clients optional\r\n", "+OK\r\n");
    assert_eq!(ping(&mut connect(address, &nobody)).expect("a reply"), b"+PONG\r\n");
    assert!(ping(&mut connect(address, &foreign)).is_err(), "what is shown has to be good");
    exchange(&mut admin, b"CONFIG SET tls-auth-clients no\r\n", "+OK\r\n");
    assert_eq!(ping(&mut connect(address, &foreign)).expect("a reply"), b"+PONG\r\n");
    redis.shut_down();
}

#[test]
fn plain_bytes_end_a_connection_that_should_be_encrypted() {
    let authority = Authority::new();
    let (redis, _) = start(224, authority.server(224), &[("tls-port", "6380"), ("tls-auth-clients", "no")]);
    let mut plain = TcpStream::connect(redis.tls_addresses()[0].1).expect("it listens");
    plain.write_all(b"PING\r\n").expect("written");
    let mut answer = Vec::new();
    // An alert of TLS may come, and then the end.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"+"), "{answer:?}");
    let mut client = connect(redis.tls_addresses()[0].1, &authority.client(None));
    assert_eq!(ping(&mut client).expect("a reply"), b"+PONG\r\n");
    redis.shut_down();
}

#[test]
fn a_killed_node_resets_encrypted_connections_and_a_paused_one_is_silent() {
    let authority = Authority::new();
    let (redis, kernel) = start(225, authority.server(225), &[("tls-port", "6380"), ("tls-auth-clients", "no")]);
    let (address, config) = (redis.tls_addresses()[0].1, authority.client(None));
    let mut client = connect(address, &config);
    assert_eq!(ping(&mut client).expect("a reply"), b"+PONG\r\n");
    kernel.inject(&Fault::Pause(NodeId(1)));
    client.write_all(b"PING\r\n").expect("the operating system takes it");
    // Another node answers meanwhile; this one has nothing to say, however long it takes.
    assert_eq!(ping(&mut connect(redis.tls_addresses()[1].1, &config)).expect("a reply"), b"+PONG\r\n");
    client.sock.set_nonblocking(true).expect("an option");
    let silence = client.read(&mut [0; 7]).expect_err("nothing is there");
    assert_eq!(silence.kind(), io::ErrorKind::WouldBlock);
    client.sock.set_nonblocking(false).expect("an option");
    kernel.inject(&Fault::Resume(NodeId(1)));
    exchange(&mut client, b"", "+PONG\r\n");
    kernel.inject(&Fault::Kill(NodeId(1)));
    let end = client.read(&mut [0; 7]).expect_err("it is reset");
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    redis.shut_down();
}

#[test]
fn a_server_follows_its_master_over_tls() {
    let authority = Authority::new();
    // Its certificate is for other addresses: Redis asks only who vouches for it.
    let options = [
        ("tls-port", "6380"),
        ("tls-replication", "yes"),
        ("cluster-enabled", "no"),
        ("repl-diskless-sync-delay", "0"),
    ];
    let (master, _) = start(226, authority.server(1), &options);
    let follows = [options.as_slice(), &[("port", "6379"), ("replicaof", "127.226.0.1 6380")]].concat();
    let (replica, _) = start(227, authority.server(227), &follows);
    let mut client = TcpStream::connect(master.addresses()[0].1).expect("it listens");
    // It answers when a replica has it: one that came over TLS, since there is no other.
    exchange(&mut client, b"SET a 1\r\nWAIT 1 0\r\n", "+OK\r\n:1\r\n");
    let mut reader = TcpStream::connect(replica.addresses()[0].1).expect("it listens");
    exchange(&mut reader, b"GET a\r\n", "$1\r\n1\r\n");
    exchange(&mut client, b"ROLE\r\n", "*3\r\n$6\r\nmaster\r\n");
    let mut role = vec![0; 256];
    let length = client.read(&mut role).expect("the rest");
    let role = String::from_utf8_lossy(&role[..length]).into_owned();
    assert!(role.contains("$4\r\n6380\r\n"), "a replica names its port for TLS: {role}");
    replica.shut_down();
    master.shut_down();
}

#[test]
fn keys_migrate_over_tls_to_servers_of_another_stack() {
    let authority = Authority::new();
    let options = [("tls-port", "6380"), ("tls-cluster", "yes"), ("cluster-enabled", "no")];
    let (source, _) = start(235, authority.server(235), &options);
    let (target, _) = start(236, authority.server(1), &options);
    let mut client = TcpStream::connect(source.addresses()[0].1).expect("it listens");
    let value = "x".repeat(200_000);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$200000\r\n{value}\r\n");
    exchange(&mut client, set.as_bytes(), "+OK\r\n");
    // Where nobody shakes hands, there is no connection.
    let unreachable = "-IOERR error or timeout connecting to the client\r\n";
    exchange(&mut client, b"MIGRATE 127.236.0.1 6379 a 0 5000\r\n", unreachable);
    exchange(&mut client, b"MIGRATE 127.236.0.1 6399 a 0 5000\r\n", unreachable);
    exchange(&mut client, b"MIGRATE 127.236.0.1 6380 a 0 5000\r\nEXISTS a\r\n", "+OK\r\n:0\r\n");
    let mut reader = TcpStream::connect(target.addresses()[0].1).expect("it listens");
    exchange(&mut reader, b"GET a\r\n", &format!("$200000\r\n{value}\r\n"));
    // Without the option it speaks plainly again.
    exchange(&mut client, b"SET b 1\r\nCONFIG SET tls-cluster no\r\n", "+OK\r\n+OK\r\n");
    exchange(&mut client, b"MIGRATE 127.236.0.1 6379 b 0 5000\r\n", "+OK\r\n");
    exchange(&mut reader, b"GET b\r\n", "$1\r\n1\r\n");
    target.shut_down();
    source.shut_down();
}
