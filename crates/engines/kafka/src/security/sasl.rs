//! The course of an authentication on one connection (KIP-43, KIP-152), and of those that follow it (KIP-368).
//!
//! First a client may ask for versions; then it names a mechanism; then tokens go back and forth. Since version 1 of the
//! handshake these are in SaslAuthenticate requests, before it they are bare. Whatever does not belong there ends the connection.

use std::sync::Arc;
use std::time::Duration;

use atoll_kernel::{Context, Moment, NodeId};
use aws_lc_rs::constant_time;
use bytes::Bytes;

use super::listeners::{ListenerOptions, Mechanism, Protocol};
use super::scram::{ClientFirst, Exchange, Hash, Refused};
use crate::cluster::{ANONYMOUS, Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::wire::generated::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use crate::wire::{Request, Response};

/// Nobody authenticates anew more often than that.
const REAUTHENTICATION_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What a broker knows of one connection: over which listener it came, and whose it is.
#[derive(Debug)]
pub struct Session {
    listener: Arc<ListenerOptions>,
    /// `User:alice`.
    principal: String,
    mechanism: Option<Mechanism>,
    stage: Stage,
    /// When the authentication ceases to hold.
    expires_at: Option<Moment>,
    authenticating_since: Option<Moment>,
}

#[derive(Debug)]
enum Stage {
    /// Requests are served.
    Open,
    /// Nothing has come yet: the versions may be asked for, once.
    First,
    /// A mechanism is to be named.
    Handshake,
    /// Tokens go back and forth.
    Tokens(Box<Tokens>),
    /// A mechanism was named that is not that of before: whatever comes next ends the connection.
    OtherMechanism,
}

#[derive(Debug)]
struct Tokens {
    mechanism: Mechanism,
    /// Whether tokens come in requests.
    framed: bool,
    server: Server,
    /// Whether somebody proves anew who it is.
    again: bool,
}

/// The server's side of a mechanism.
#[derive(Debug)]
enum Server {
    Plain,
    ScramFirst(Hash),
    ScramLast(Exchange, String),
}

/// What came of a token.
enum Step {
    /// Another one is to come.
    Continue(Server, Bytes),
    /// The client is who it says it is.
    Done(String, Bytes),
}

/// Why a client is not authenticated.
enum Failure {
    /// In words that are meant for the client.
    Told(&'static str),
    /// In none that would tell about users.
    Credentials,
}

impl Session {
    /// A connection that has just come. `principal` is what its certificate says, if it has one.
    pub fn new(listener: Arc<ListenerOptions>, principal: Option<String>) -> Session {
        let stage = if listener.protocol.is_authenticated() { Stage::First } else { Stage::Open };
        let principal = principal.unwrap_or_else(|| ANONYMOUS.to_owned());
        Session { listener, principal, mechanism: None, stage, expires_at: None, authenticating_since: None }
    }

    /// Whose connection it is.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Whether requests of all kinds may come.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Whether the next frame is a bare token.
    pub fn expects_bare_token(&self) -> bool {
        matches!(&self.stage, Stage::Tokens(tokens) if !tokens.framed)
    }

    /// Whether versions that are not known may be answered.
    pub fn may_ask_versions(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::First)
    }

    /// Whether delegation tokens could be asked for over this connection.
    pub fn may_hold_tokens(&self) -> bool {
        match self.listener.protocol {
            Protocol::Plaintext => false,
            Protocol::Ssl => self.principal != ANONYMOUS,
            Protocol::SaslPlaintext | Protocol::SaslSsl => true,
        }
    }

    fn mechanisms(&self) -> Vec<String> {
        self.listener.sasl.mechanisms.iter().map(|mechanism| mechanism.name().to_owned()).collect()
    }
}

impl Cluster {
    /// Handles the next request of a connection: it authenticates its client, or is served.
    pub fn serve(&mut self, ctx: &Context<'_>, session: &mut Session, caller: &Caller, request: Request) -> Outcome {
        match (&session.stage, request) {
            (Stage::Open, Request::SaslHandshake(request)) if may_begin_again(ctx, session) => {
                session.authenticating_since = Some(ctx.now());
                shake_hands(session, caller, &request, true)
            }
            (Stage::Open, _) if session.expires_at.is_some_and(|end| ctx.now() > end) => Outcome::Close,
            (Stage::Open, request) => self.apply(ctx, caller, request),
            (Stage::First, Request::ApiVersions(request)) => {
                session.stage = Stage::Handshake;
                self.apply(ctx, caller, Request::ApiVersions(request))
            }
            (Stage::First | Stage::Handshake, Request::SaslHandshake(request)) => {
                shake_hands(session, caller, &request, false)
            }
            (Stage::Tokens(tokens), Request::SaslAuthenticate(request)) if tokens.framed => {
                self.authenticate(ctx, session, caller.node, request)
            }
            (Stage::Tokens(_), Request::SaslHandshake(_)) => {
                let error_code = ErrorCode::IllegalSaslState.code();
                let response = SaslHandshakeResponse { error_code, ..SaslHandshakeResponse::default() };
                Outcome::Refuse(Some(Box::new(Response::SaslHandshake(response))))
            }
            _ => Outcome::Refuse(None),
        }
    }

    /// Handles a token that came without a request around it.
    pub fn bare_token(&mut self, ctx: &Context<'_>, session: &mut Session, node: NodeId, token: &[u8]) -> Outcome {
        match self.evaluate(ctx, session, node, token) {
            Ok((token, _)) => Outcome::Token(token),
            Err(_) => Outcome::Refuse(None),
        }
    }

    fn authenticate(
        &mut self,
        ctx: &Context<'_>,
        session: &mut Session,
        node: NodeId,
        request: SaslAuthenticateRequest,
    ) -> Outcome {
        match self.evaluate(ctx, session, node, &request.auth_bytes) {
            Ok((auth_bytes, lifetime)) => Response::SaslAuthenticate(SaslAuthenticateResponse {
                auth_bytes,
                session_lifetime_ms: lifetime.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(0),
                ..SaslAuthenticateResponse::default()
            })
            .into(),
            Err(reason) => {
                let response = SaslAuthenticateResponse {
                    error_code: ErrorCode::SaslAuthenticationFailed.code(),
                    error_message: Some(reason),
                    ..SaslAuthenticateResponse::default()
                };
                Outcome::Refuse(Some(Box::new(Response::SaslAuthenticate(response))))
            }
        }
    }

    /// Goes one step with a token: what is answered and, at the end, for how many milliseconds the authentication holds.
    fn evaluate(
        &mut self,
        ctx: &Context<'_>,
        session: &mut Session,
        node: NodeId,
        token: &[u8],
    ) -> Result<(Bytes, Option<u64>), String> {
        let Stage::Tokens(tokens) = std::mem::replace(&mut session.stage, Stage::OtherMechanism) else {
            return Err(String::new());
        };
        let Tokens { mechanism, framed, server, again } = *tokens;
        let course = if again { "re-authentication" } else { "authentication" };
        let step = match server {
            Server::Plain => plain(session, token),
            Server::ScramFirst(hash) => self.scram_first(ctx, node, hash, token),
            Server::ScramLast(exchange, user) => match exchange.finish(token) {
                Ok(answer) => Ok(Step::Done(user, answer.into_bytes().into())),
                Err(_) => Err(Failure::Credentials),
            },
        };
        match step {
            Ok(Step::Continue(server, answer)) => {
                session.stage = Stage::Tokens(Box::new(Tokens { mechanism, framed, server, again }));
                Ok((answer, None))
            }
            Ok(Step::Done(user, answer)) => {
                let principal = format!("User:{user}");
                if again && principal != session.principal {
                    let (before, now) = (session.principal.replacen(':', ".", 1), principal.replacen(':', ".", 1));
                    return Err(format!("Cannot change principals during re-authentication from {before}: {now}"));
                }
                let lifetime = session.listener.sasl.reauthentication_ms.get(&mechanism).copied();
                session.expires_at = lifetime.map(|lifetime| ctx.now() + Duration::from_millis(lifetime));
                session.principal = principal;
                session.mechanism = Some(mechanism);
                session.stage = Stage::Open;
                Ok((answer, lifetime))
            }
            Err(Failure::Told(reason)) => Err(reason.to_owned()),
            Err(Failure::Credentials) => {
                let mechanism = mechanism.name();
                Err(format!(
                    "Authentication failed during {course} due to invalid credentials with SASL mechanism {mechanism}"
                ))
            }
        }
    }

    fn scram_first(&mut self, ctx: &Context<'_>, node: NodeId, hash: Hash, token: &[u8]) -> Result<Step, Failure> {
        let first = ClientFirst::parse(token).map_err(|_| Failure::Credentials)?;
        let image = self.brokers.get(&node).map(|broker| &broker.image);
        let credential = image.and_then(|image| image.scram.get(&(first.username.clone(), hash))).cloned();
        let nonce = self.nonce(ctx);
        let exchange = Exchange::begin(hash, &first, credential.ok_or(Failure::Credentials)?, &nonce);
        let exchange = exchange.map_err(|refused| match refused {
            Refused::Invalid => Failure::Credentials,
            Refused::OtherAuthorizationId => Failure::Told(OTHER_AUTHORIZATION_ID),
        })?;
        let answer = Bytes::copy_from_slice(exchange.server_first().as_bytes());
        Ok(Step::Continue(Server::ScramLast(exchange, first.username), answer))
    }

    /// A server's half of a nonce: 26 letters and digits, as Kafka's are, and another one each time.
    fn nonce(&mut self, ctx: &Context<'_>) -> String {
        const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let id = self.random_id(ctx, "kafka.scram-nonce").as_u128();
        // A seed that is used again must not bring an old nonce with it, so that the wall clock has its part in it.
        let wall = ctx.kernel().wall().as_millis() as u64;
        let mut stream = ctx.random("kafka.scram-nonce", (id as u64) ^ ((id >> 64) as u64) ^ wall);
        (0..26).map(|_| char::from(ALPHABET[stream.below(36) as usize])).collect()
    }
}

const OTHER_AUTHORIZATION_ID: &str =
    "Authentication failed: Client requested an authorization id that is different from username";

/// Whether a client may prove anew who it is: only where authentications cease to hold, and not too often.
fn may_begin_again(ctx: &Context<'_>, session: &Session) -> bool {
    let recent = |since: Moment| ctx.now().since(since) < REAUTHENTICATION_INTERVAL_MIN;
    session.expires_at.is_some() && !session.authenticating_since.is_some_and(recent)
}

fn shake_hands(session: &mut Session, caller: &Caller, request: &SaslHandshakeRequest, again: bool) -> Outcome {
    let offered = session.listener.sasl.mechanisms.iter().copied();
    let found = offered.into_iter().find(|mechanism| mechanism.name() == request.mechanism);
    let mechanisms = session.mechanisms();
    let Some(mechanism) = found else {
        let error_code = ErrorCode::UnsupportedSaslMechanism.code();
        let response = SaslHandshakeResponse { error_code, mechanisms };
        return Outcome::Refuse(Some(Box::new(Response::SaslHandshake(response))));
    };
    let server = match mechanism {
        Mechanism::Plain => Server::Plain,
        Mechanism::Scram(hash) => Server::ScramFirst(hash),
    };
    session.stage = match again && session.mechanism != Some(mechanism) {
        true => Stage::OtherMechanism,
        false => Stage::Tokens(Box::new(Tokens { mechanism, framed: caller.version >= 1, server, again })),
    };
    Response::SaslHandshake(SaslHandshakeResponse { error_code: 0, mechanisms }).into()
}

/// PLAIN (RFC 4616): who one wants to be, who one is, and the password, with a zero byte between each.
fn plain(session: &Session, token: &[u8]) -> Result<Step, Failure> {
    let text = String::from_utf8_lossy(token);
    // Kafka stops counting at four.
    let fields: Vec<&str> = text.splitn(5, '\0').take(4).collect();
    let [authorization_id, user, password] = fields[..] else {
        return Err(Failure::Told(match fields.len() {
            0 | 1 => "Invalid SASL/PLAIN response: expected 3 tokens, got 1",
            2 => "Invalid SASL/PLAIN response: expected 3 tokens, got 2",
            _ => "Invalid SASL/PLAIN response: expected 3 tokens, got 4",
        }));
    };
    if user.is_empty() {
        return Err(Failure::Told("Authentication failed: username not specified"));
    }
    if password.is_empty() {
        return Err(Failure::Told("Authentication failed: password not specified"));
    }
    let expected = session.listener.sasl.plain_users.get(user);
    let matches =
        |expected: &String| constant_time::verify_slices_are_equal(expected.as_bytes(), password.as_bytes()).is_ok();
    if !expected.is_some_and(matches) {
        return Err(Failure::Told("Authentication failed: Invalid username or password"));
    }
    if !authorization_id.is_empty() && authorization_id != user {
        return Err(Failure::Told(OTHER_AUTHORIZATION_ID));
    }
    Ok(Step::Done(user.to_owned(), Bytes::new()))
}
