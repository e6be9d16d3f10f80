//! Any bytes as what a client sends to authenticate itself by PLAIN and SCRAM: whoever does not know the password is not let in.
//!
//! The first byte chooses the mechanism, and whether tokens come in requests or bare; the others are tokens, one a line. In a
//! token, `@` stands for what the broker has answered last, so that nonces need not be guessed.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use atoll_fuzz as _;
use atoll_kafka::security::Session;
use atoll_kafka::wire::generated::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use atoll_kafka::wire::generated::{AlterUserScramCredentialsRequest, SaslAuthenticateRequest, SaslHandshakeRequest};
use atoll_kafka::wire::{Request, Response, encode_response};
use atoll_kafka::{ANONYMOUS, Caller, Cluster, Config, Outcome, SecurityConfig, Side};
use atoll_kernel::disk::MemoryDisk;
use atoll_kernel::{Context, NodeId, Seed, Simulation};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
const TOKENS_MAX: usize = 4;
const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_bob=\"secret\";";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";

fuzz_target!(|input: &[u8]| {
    let Some((&choices, tokens)) = input.split_first() else { return };
    let mechanism = MECHANISMS[usize::from(choices) % MECHANISMS.len()];
    let handshake_version = i16::from(choices & 0x80 == 0);
    let config = config();
    let listener = Arc::new(config.listeners().expect("they are right").remove(0));
    let disk = Arc::new(MemoryDisk::ephemeral());
    let open = |ctx: &Context<'_>| Cluster::open(ctx, config, disk).expect("an empty disk");
    let mut world = Simulation::new(1, Seed(1), open);
    world.run_for(Duration::from_secs(1));
    give_credentials(&mut world);
    let mut session = Session::new(listener, None);
    let handshake = Request::SaslHandshake(SaslHandshakeRequest { mechanism: mechanism.to_owned() });
    let outcome = world.call(|cluster, ctx| cluster.serve(ctx, &mut session, &caller(handshake_version), handshake));
    assert!(matches!(outcome, Outcome::Reply(_)), "{outcome:?}");
    let mut last = Vec::new();
    for token in tokens.split(|byte| *byte == b'\n').take(TOKENS_MAX) {
        let token = filled_in(token, &last);
        let outcome = world.call(|cluster, ctx| match session.expects_bare_token() {
            true => cluster.bare_token(ctx, &mut session, NodeId(1), &token),
            false => {
                let request = SaslAuthenticateRequest { auth_bytes: Bytes::copy_from_slice(&token) };
                cluster.serve(ctx, &mut session, &caller(2), Request::SaslAuthenticate(request))
            }
        });
        if session.is_open() {
            // Nobody can guess what SCRAM wants to be shown.
            assert_eq!((mechanism, session.principal()), ("PLAIN", "User:bob"));
            assert!([b"\0bob\0secret".as_slice(), b"bob\0bob\0secret"].contains(&token.as_slice()), "{token:?}");
            return;
        }
        match answered(outcome) {
            Some(answer) => last = answer,
            None => return,
        }
    }
});

/// What the broker answers, if the exchange goes on.
fn answered(outcome: Outcome) -> Option<Vec<u8>> {
    match outcome {
        Outcome::Token(token) => Some(token.to_vec()),
        Outcome::Reply(response) => {
            let _ = encode_response(&response, 2, 0);
            let Response::SaslAuthenticate(response) = *response else { panic!("another answer") };
            assert_eq!(response.error_code, 0);
            Some(response.auth_bytes.to_vec())
        }
        Outcome::Refuse(Some(response)) => {
            let _ = encode_response(&response, 2, 0);
            None
        }
        _ => None,
    }
}

fn filled_in(token: &[u8], last: &[u8]) -> Vec<u8> {
    let pieces: Vec<&[u8]> = token.split(|byte| *byte == b'@').take(TOKENS_MAX).collect();
    pieces.join(last)
}

fn config() -> Config {
    let options = [
        ("sasl_plaintext.plain.sasl.jaas.config", PLAIN),
        ("sasl_plaintext.scram-sha-256.sasl.jaas.config", SCRAM),
        ("sasl_plaintext.scram-sha-512.sasl.jaas.config", SCRAM),
    ];
    let security = SecurityConfig {
        listeners: "SASL_PLAINTEXT://:9094".to_owned(),
        sasl_enabled_mechanisms: MECHANISMS.join(","),
        listener_options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..SecurityConfig::default()
    };
    Config { security, ..Config::default() }
}

fn give_credentials(world: &mut Simulation<Cluster>) {
    let upsertion = |mechanism| ScramCredentialUpsertion {
        name: "bob".to_owned(),
        mechanism,
        iterations: 4096,
        salt: Bytes::from_static(b"salt"),
        salted_password: Bytes::from_static(b"nobody has ever hashed this out"),
    };
    let (deletions, upsertions) = (Vec::new(), vec![upsertion(1), upsertion(2)]);
    let request = Request::AlterUserScramCredentials(AlterUserScramCredentialsRequest { deletions, upsertions });
    let outcome = world.call(|cluster, ctx| cluster.apply(ctx, &caller(0), request));
    assert!(matches!(outcome, Outcome::Reply(_)), "{outcome:?}");
}

fn caller(version: i16) -> Caller {
    let (host, client_id, principal) = ("/127.0.0.1".to_owned(), "fuzz".to_owned(), ANONYMOUS.to_owned());
    let (node, side, port, ticket, may_hold_tokens) = (NodeId(1), Side::Host, 9094, 1, false);
    Caller { node, side, host, client_id, version, ticket, principal, port, may_hold_tokens }
}
