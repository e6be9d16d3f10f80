//! Authentications from their first request to their last, against a cluster of one broker.

mod access;
mod limits;

use std::sync::Arc;
use std::time::Duration;

use atoll_kernel::disk::{Disk, MemoryDisk};
use atoll_kernel::{Context, NodeId, Seed, Simulation};
use bytes::Bytes;

use super::scram::{Hash, client};
use super::{ListenerOptions, Session};
use crate::cluster::{Caller, Cluster, Outcome, Side};
use crate::config::{Config, SecurityConfig};
use crate::wire::generated::alter_user_scram_credentials_request::{ScramCredentialDeletion, ScramCredentialUpsertion};
use crate::wire::generated::{
    AlterUserScramCredentialsRequest, ApiVersionsRequest, DescribeUserScramCredentialsRequest, MetadataRequest,
    SaslAuthenticateRequest, SaslHandshakeRequest,
};
use crate::wire::{Request, Response};

const PLAIN_USERS: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_bob=\"secret\";";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";

fn secured() -> Config {
    let options = [
        ("sasl_plaintext.plain.sasl.jaas.config", PLAIN_USERS),
        ("sasl_plaintext.scram-sha-256.sasl.jaas.config", SCRAM),
        ("sasl_plaintext.scram-sha-512.sasl.jaas.config", SCRAM),
        ("sasl_plaintext.plain.connections.max.reauth.ms", "10000"),
    ];
    let security = SecurityConfig {
        listeners: "PLAINTEXT://:9092,SASL_PLAINTEXT://:9094".to_owned(),
        sasl_enabled_mechanisms: "SCRAM-SHA-256,PLAIN,SCRAM-SHA-512".to_owned(),
        listener_options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..SecurityConfig::default()
    };
    Config { security, ..Config::default() }
}

/// A broker, and one connection to it.
struct Scene {
    simulation: Simulation<Cluster>,
    listener: Arc<ListenerOptions>,
    session: Session,
    tickets: u64,
}

impl Scene {
    fn new() -> Scene {
        Scene::on_disk(Arc::new(MemoryDisk::ephemeral()))
    }

    fn on_disk(disk: Arc<dyn Disk>) -> Scene {
        let config = secured();
        let listener = config.listeners().unwrap().remove(1);
        Scene::with(config, disk, listener)
    }

    fn with(config: Config, disk: Arc<dyn Disk>, listener: ListenerOptions) -> Scene {
        let listener = Arc::new(listener);
        let open = |ctx: &Context<'_>| Cluster::open(ctx, config, disk).expect("a sound disk");
        let mut simulation = Simulation::new(1, Seed(1), open);
        simulation.run_for(Duration::from_secs(1));
        let session = Session::new(Arc::clone(&listener), None);
        Scene { simulation, listener, session, tickets: 0 }
    }

    fn connect(&mut self) {
        self.session = Session::new(Arc::clone(&self.listener), None);
    }

    fn caller(&mut self, version: i16) -> Caller {
        self.tickets += 1;
        Caller {
            node: NodeId(1),
            side: Side::Host,
            host: "/127.0.0.1".to_owned(),
            client_id: "test".to_owned(),
            version,
            ticket: self.tickets,
            principal: self.session.principal().to_owned(),
            port: 9094,
            may_hold_tokens: self.session.may_hold_tokens(),
        }
    }

    fn ask(&mut self, version: i16, request: Request) -> Outcome {
        let caller = self.caller(version);
        let session = &mut self.session;
        self.simulation.call(|cluster, ctx| cluster.serve(ctx, session, &caller, request))
    }

    /// Past authentication, as over the plain listener.
    fn administer(&mut self, request: Request) -> Response {
        let caller = self.caller(0);
        match self.simulation.call(|cluster, ctx| cluster.apply(ctx, &caller, request)) {
            Outcome::Reply(response) => *response,
            other => panic!("no answer: {other:?}"),
        }
    }

    fn handshake(&mut self, version: i16, mechanism: &str) -> Outcome {
        self.ask(version, Request::SaslHandshake(SaslHandshakeRequest { mechanism: mechanism.to_owned() }))
    }

    fn token(&mut self, token: &str) -> Outcome {
        let auth_bytes = Bytes::copy_from_slice(token.as_bytes());
        self.ask(2, Request::SaslAuthenticate(SaslAuthenticateRequest { auth_bytes }))
    }

    fn metadata(&mut self) -> Outcome {
        self.ask(9, Request::Metadata(MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() }))
    }

    fn give_credential(&mut self, user: &str, hash: Hash, password: &str, iterations: i32) -> (i16, Option<String>) {
        let upsertion = ScramCredentialUpsertion {
            name: user.to_owned(),
            mechanism: hash as i8,
            iterations,
            salt: Bytes::from_static(b"salt"),
            salted_password: client::salted(hash, password, b"salt", iterations).into(),
        };
        let (deletions, upsertions) = (Vec::new(), vec![upsertion]);
        let request = AlterUserScramCredentialsRequest { deletions, upsertions };
        match self.administer(Request::AlterUserScramCredentials(request)) {
            Response::AlterUserScramCredentials(response) => {
                (response.results[0].error_code, response.results[0].error_message.clone())
            }
            other => panic!("another answer: {other:?}"),
        }
    }

    fn scram(&mut self, mechanism: &str, hash: Hash, password: &str) -> Outcome {
        assert_eq!(answer(&self.handshake(1, mechanism)).0, 0);
        let first = answer(&self.token("n,,n=alice,r=abc"));
        assert_eq!(first.0, 0, "{first:?}");
        self.token(&client::last(hash, password, "n=alice,r=abc", &first.1))
    }
}

/// Error code, token or message, and lifetime of an answer; a refusal's code is negated.
fn answer(outcome: &Outcome) -> (i16, String, i64) {
    let (sign, response) = match outcome {
        Outcome::Reply(response) => (1, response),
        Outcome::Refuse(Some(response)) => (-1, response),
        other => panic!("no answer: {other:?}"),
    };
    match &**response {
        Response::SaslHandshake(response) => (sign * response.error_code, response.mechanisms.join(","), 0),
        Response::SaslAuthenticate(response) => {
            let token = String::from_utf8_lossy(&response.auth_bytes).into_owned();
            let text = response.error_message.clone().filter(|text| !text.is_empty()).unwrap_or(token);
            (sign * response.error_code, text, response.session_lifetime_ms)
        }
        other => panic!("another answer: {other:?}"),
    }
}

#[test]
fn plain_lets_in_whoever_knows_the_password() {
    let mut scene = Scene::new();
    let versions = Request::ApiVersions(ApiVersionsRequest::default());
    assert!(matches!(scene.ask(0, versions), Outcome::Reply(_)));
    let handshake = scene.handshake(1, "PLAIN");
    assert_eq!(answer(&handshake), (0, "SCRAM-SHA-256,PLAIN,SCRAM-SHA-512".to_owned(), 0));
    assert!(!scene.session.is_open());
    assert_eq!(answer(&scene.token("\0bob\0secret")), (0, String::new(), 10_000));
    assert_eq!(scene.session.principal(), "User:bob");
    assert!(matches!(scene.metadata(), Outcome::Reply(_)));
}

#[test]
fn whoever_does_not_is_told_what_kafka_tells() {
    let wrong = "Authentication failed: Invalid username or password";
    let other = "Authentication failed: Client requested an authorization id that is different from username";
    for (token, reason) in [
        ("\0bob\0wrong", wrong),
        ("\0eve\0secret", wrong),
        ("bob", "Invalid SASL/PLAIN response: expected 3 tokens, got 1"),
        ("bob\0secret", "Invalid SASL/PLAIN response: expected 3 tokens, got 2"),
        ("\0bob\0secret\0", "Invalid SASL/PLAIN response: expected 3 tokens, got 4"),
        ("\0a\0b\0c\0d", "Invalid SASL/PLAIN response: expected 3 tokens, got 4"),
        ("\0\0secret", "Authentication failed: username not specified"),
        ("\0bob\0", "Authentication failed: password not specified"),
        ("eve\0bob\0secret", other),
    ] {
        let mut scene = Scene::new();
        scene.handshake(1, "PLAIN");
        assert_eq!(answer(&scene.token(token)), (-58, reason.to_owned(), 0));
        assert_eq!(scene.metadata(), Outcome::Refuse(None), "nothing more is served");
    }
}

#[test]
fn requests_before_the_authentication_end_the_connection() {
    let mut scene = Scene::new();
    assert_eq!(scene.metadata(), Outcome::Refuse(None));
    scene.connect();
    assert_eq!(scene.token("\0bob\0secret"), Outcome::Refuse(None), "no mechanism was named");
    scene.connect();
    let unknown = scene.handshake(1, "GSSAPI");
    assert_eq!(answer(&unknown), (-33, "SCRAM-SHA-256,PLAIN,SCRAM-SHA-512".to_owned(), 0));
    scene.connect();
    scene.handshake(1, "PLAIN");
    assert_eq!(scene.metadata(), Outcome::Refuse(None));
    scene.connect();
    let versions = || Request::ApiVersions(ApiVersionsRequest::default());
    assert!(matches!(scene.ask(0, versions()), Outcome::Reply(_)));
    assert_eq!(scene.ask(0, versions()), Outcome::Refuse(None), "they can be asked for once");
}

#[test]
fn old_clients_send_bare_tokens() {
    let mut scene = Scene::new();
    assert_eq!(answer(&scene.handshake(0, "PLAIN")).0, 0);
    assert!(scene.session.expects_bare_token());
    let session = &mut scene.session;
    let token = scene.simulation.call(|cluster, ctx| cluster.bare_token(ctx, session, NodeId(1), b"\0bob\0secret"));
    assert_eq!(token, Outcome::Token(Bytes::new()));
    assert!(matches!(scene.metadata(), Outcome::Reply(_)));
}

#[test]
fn scram_proves_the_password_to_the_broker_and_the_broker_to_the_client() {
    for (mechanism, hash) in [("SCRAM-SHA-256", Hash::Sha256), ("SCRAM-SHA-512", Hash::Sha512)] {
        let mut scene = Scene::new();
        assert_eq!(scene.give_credential("alice", hash, "wonder", 4096), (0, None));
        let outcome = scene.scram(mechanism, hash, "wonder");
        assert!(answer(&outcome).1.starts_with("v="), "{outcome:?}");
        assert_eq!(scene.session.principal(), "User:alice");
        scene.connect();
        let outcome = scene.scram(mechanism, hash, "other");
        let reason = format!(
            "Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}"
        );
        assert_eq!(answer(&outcome), (-58, reason.clone(), 0));
        scene.connect();
        scene.handshake(1, mechanism);
        let unknown = scene.token("n,,n=eve,r=abc");
        assert_eq!(answer(&unknown), (-58, reason, 0), "nobody learns who has a credential");
    }
}

#[test]
fn credentials_are_checked_kept_and_taken_away() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::ephemeral());
    let mut scene = Scene::on_disk(Arc::clone(&disk));
    let refused = |error: i16, reason: &str| (error, Some(reason.to_owned()));
    let mut give = |user, iterations| scene.give_credential(user, Hash::Sha256, "wonder", iterations);
    assert_eq!(give("", 4096), refused(93, "Username must not be empty"));
    assert_eq!(give("alice", 4095), refused(93, "Too few iterations"));
    assert_eq!(give("alice", 16_385), refused(93, "Too many iterations"));
    assert_eq!(give("alice", 8192), (0, None));
    drop(scene);

    let mut scene = Scene::on_disk(disk);
    assert_eq!(answer(&scene.scram("SCRAM-SHA-256", Hash::Sha256, "wonder")).0, 0, "they survive a restart");
    let describe = |scene: &mut Scene| {
        let request = DescribeUserScramCredentialsRequest { users: None };
        match scene.administer(Request::DescribeUserScramCredentials(request)) {
            Response::DescribeUserScramCredentials(response) => response.results,
            other => panic!("another answer: {other:?}"),
        }
    };
    let found = describe(&mut scene);
    assert_eq!((found[0].user.as_str(), found[0].credential_infos[0].iterations), ("alice", 8192));
    let deletion = ScramCredentialDeletion { name: "alice".to_owned(), mechanism: 1 };
    let request = AlterUserScramCredentialsRequest { deletions: vec![deletion], upsertions: Vec::new() };
    scene.administer(Request::AlterUserScramCredentials(request));
    assert_eq!(describe(&mut scene), Vec::new());
}

#[test]
fn an_authentication_ends_unless_it_is_renewed_by_the_same_user() {
    let mut scene = Scene::new();
    scene.handshake(1, "PLAIN");
    scene.token("\0bob\0secret");
    scene.simulation.run_for(Duration::from_secs(9));
    assert_eq!(answer(&scene.handshake(1, "PLAIN")).0, 0);
    assert_eq!(answer(&scene.token("\0bob\0secret")).2, 10_000);
    let too_often = scene.handshake(1, "PLAIN");
    assert_eq!(answer(&too_often).0, 34, "once a second is enough");
    scene.simulation.run_for(Duration::from_secs(9));
    assert!(matches!(scene.metadata(), Outcome::Reply(_)));
    scene.simulation.run_for(Duration::from_secs(2));
    assert_eq!(scene.metadata(), Outcome::Close);

    scene.connect();
    scene.handshake(1, "PLAIN");
    scene.token("\0bob\0secret");
    scene.simulation.run_for(Duration::from_secs(2));
    assert_eq!(answer(&scene.handshake(1, "SCRAM-SHA-256")).0, 0);
    assert_eq!(scene.token("n,,n=bob,r=x"), Outcome::Refuse(None), "the mechanism stays the same");
}

#[test]
fn where_nothing_is_to_be_proven_a_proof_is_refused() {
    let mut scene = Scene::new();
    scene.session = Session::new(Arc::new(ListenerOptions::plaintext(9092)), None);
    assert_eq!(answer(&scene.handshake(1, "PLAIN")), (34, String::new(), 0));
    let reason = "SaslAuthenticate request received after successful authentication";
    assert_eq!(answer(&scene.token("x")), (34, reason.to_owned(), 0));
    assert!(matches!(scene.metadata(), Outcome::Reply(_)));
}
