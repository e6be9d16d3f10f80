//! redis-rs as applications use it, against the cluster that `$REDIS_NODES` names: one node in RESP2 and in RESP3, tokio, and the
//! cluster client. Prints a line of the Test Anything Protocol for each check.

mod asynchronous;
mod cluster;
mod single;

use std::error::Error;
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use redis::{Client, Connection, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisResult, ServerErrorKind};

/// What a check comes to: what was seen instead, if it did not pass.
pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// No answer takes longer, and nothing that is awaited.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let nodes: Vec<String> =
        std::env::var("REDIS_NODES").unwrap_or_default().split(',').map(|node| format!("redis://{node}")).collect();
    let mut checks = Checks { failed: 0 };
    single::run(&mut checks, &nodes);
    asynchronous::run(&mut checks, &nodes);
    cluster::run(&mut checks, &nodes);
    if checks.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Counts what failed.
pub(crate) struct Checks {
    failed: usize,
}

impl Checks {
    /// Prints the outcome of one check.
    pub(crate) fn report(&mut self, name: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => println!("ok redis-rs {name}"),
            Err(error) => {
                self.failed += 1;
                let line = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                println!("not ok redis-rs {name} # {}", line.chars().take(400).collect::<String>());
            }
        }
    }
}

/// Passes if both are the same, and says both if they are not.
pub(crate) fn equal<S: Debug + PartialEq<W>, W: Debug>(seen: S, wanted: W) -> Outcome {
    if seen == wanted { Ok(()) } else { Err(format!("saw {seen:?}, wanted {wanted:?}").into()) }
}

/// Passes if the server has answered with this error.
pub(crate) fn refused<T: Debug>(seen: RedisResult<T>, code: &str, text: &str) -> Outcome {
    match seen {
        Ok(value) => Err(format!("no error but {value:?}, wanted {code} {text}").into()),
        Err(error) if error.code() == Some(code) && error.to_string().contains(text) => Ok(()),
        Err(error) => Err(format!("the error was {:?} {error}, wanted {code} {text}", error.code()).into()),
    }
}

/// Asks until the answer is yes; for states that a client can only ask for.
pub(crate) fn eventually(mut condition: impl FnMut() -> RedisResult<bool>) -> Outcome {
    let began = Instant::now();
    while !condition()? {
        if began.elapsed() > PATIENCE {
            return Err("not in time".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A client of the node that serves this hash tag.
pub(crate) fn client_for(nodes: &[String], tag: &str, protocol: ProtocolVersion) -> RedisResult<Client> {
    for node in nodes {
        let client = client_of(node, protocol)?;
        match redis::cmd("GET").arg(tag).query::<Option<String>>(&mut connect(&client)?) {
            Err(error) if error.kind() == ServerErrorKind::Moved.into() => {}
            answer => return answer.map(|_| client),
        }
    }
    Err((redis::ErrorKind::Client, "no node serves the tag").into())
}

pub(crate) fn client_of(node: &str, protocol: ProtocolVersion) -> RedisResult<Client> {
    let info: ConnectionInfo = node.into_connection_info()?;
    let settings = info.redis_settings().clone().set_protocol(protocol);
    Client::open(info.set_redis_settings(settings))
}

/// A connection on which nothing waits for ever.
pub(crate) fn connect(client: &Client) -> RedisResult<Connection> {
    let connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    Ok(connection)
}
