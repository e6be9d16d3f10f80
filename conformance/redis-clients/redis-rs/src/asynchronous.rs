//! The tokio client on one node of the cluster: many tasks on one connection, pipelines, scripts, pub/sub, pushes.

use futures_util::StreamExt;
use futures_util::future::{try_join, try_join_all};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncCommands, AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisResult, Script, Value,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Checks, Outcome, PATIENCE, client_for, equal, refused};

const TAG: &str = "{rs-tokio}";

pub(crate) fn run(checks: &mut Checks, nodes: &[String]) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return checks.report("tokio: a runtime", Err(error.into())),
    };
    let client = match client_for(nodes, TAG, ProtocolVersion::RESP3) {
        Ok(client) => client,
        Err(error) => return checks.report("tokio: connects", Err(error.into())),
    };
    runtime.block_on(async {
        checks.report("tokio: two hundred tasks on one connection", within(tasks(&client)).await);
        checks.report("tokio: pipelines and transactions", within(pipelines(&client)).await);
        checks.report("tokio: a script", within(scripts(&client)).await);
        checks.report("tokio: a blocking pop on a connection of its own", within(blocking(&client)).await);
        checks.report("tokio: pub/sub as a stream", within(pubsub(&client)).await);
        checks.report("tokio: pushes beside commands", within(pushes(&client)).await);
        checks.report("tokio: SCAN as a stream", within(scans(&client)).await);
    });
}

async fn within(body: impl Future<Output = Outcome>) -> Outcome {
    timeout(PATIENCE, body).await?
}

async fn open(client: &Client) -> RedisResult<MultiplexedConnection> {
    client.get_multiplexed_async_connection().await
}

async fn tasks(client: &Client) -> Outcome {
    let con = open(client).await?;
    let one = |number: usize| {
        let mut con = con.clone();
        async move {
            let key = format!("{TAG}task:{number}");
            let () = con.set(&key, number).await?;
            con.get::<_, usize>(&key).await
        }
    };
    let seen = try_join_all((0..200).map(one)).await?;
    equal(seen == (0..200).collect::<Vec<_>>(), true)
}

async fn pipelines(client: &Client) -> Outcome {
    let mut con = open(client).await?;
    let key = format!("{TAG}p");
    let mut pipe = redis::pipe();
    pipe.atomic().set(&key, 1).ignore().incr(&key, 5).get(&key);
    equal(pipe.query_async::<(i64, String)>(&mut con).await?, (6, "6".to_owned()))?;
    let mut pipe = redis::pipe();
    pipe.get(&key).lpush(&key, 1).incr(&key, 1);
    let answers: Vec<RedisResult<i64>> = pipe.ignore_errors().query_async(&mut con).await?;
    let [first, second, third] = answers.as_slice() else { return Err(format!("saw {answers:?}").into()) };
    equal((first, third), (&Ok(6), &Ok(7)))?;
    refused(second.clone(), "WRONGTYPE", "wrong kind of value")
}

async fn scripts(client: &Client) -> Outcome {
    let mut con = open(client).await?;
    let script = Script::new("return {KEYS[1], tonumber(ARGV[1]) + 1}");
    let answer: (String, i64) = script.key(TAG).arg(41).invoke_async(&mut con).await?;
    equal(answer, (TAG.to_owned(), 42))
}

async fn blocking(client: &Client) -> Outcome {
    let key = format!("{TAG}queue");
    let settings = AsyncConnectionConfig::new().set_response_timeout(None);
    let mut waiting = client.get_multiplexed_async_connection_with_config(&settings).await?;
    let mut con = open(client).await?;
    let pop = async { waiting.blpop::<_, Option<(String, String)>>(&key, 15.0).await };
    let push = async {
        loop {
            let clients: redis::InfoDict = redis::cmd("INFO").arg("clients").query_async(&mut con).await?;
            if clients.get::<usize>("blocked_clients") == Some(1) {
                return con.rpush::<_, _, usize>(&key, "item").await;
            }
        }
    };
    let (popped, pushed) = try_join(pop, push).await?;
    equal((popped, pushed), (Some((key.clone(), "item".to_owned())), 1))
}

async fn pubsub(client: &Client) -> Outcome {
    let (mut con, mut listener) = (open(client).await?, client.get_async_pubsub().await?);
    listener.subscribe("rs-news").await?;
    listener.psubscribe("rs-n*").await?;
    equal(con.publish::<_, _, usize>("rs-news", "hello").await?, 2)?;
    let heard: Vec<_> = listener.on_message().take(2).collect().await;
    equal(heard.iter().map(|message| message.from_pattern()).collect::<Vec<_>>(), [false, true])?;
    for message in &heard {
        equal((message.get_channel_name(), message.get_payload::<String>()?.as_str()), ("rs-news", "hello"))?;
    }
    Ok(())
}

async fn pushes(client: &Client) -> Outcome {
    let (sender, mut pushed) = mpsc::unbounded_channel::<PushInfo>();
    let settings = AsyncConnectionConfig::new().set_push_sender(sender);
    let mut con = client.get_multiplexed_async_connection_with_config(&settings).await?;
    con.subscribe("rs-pushed").await?;
    equal(con.publish::<_, _, usize>("rs-pushed", "hello").await?, 1)?;
    let kinds = [pushed.recv().await, pushed.recv().await].map(|push| push.map(|push| push.kind));
    equal(kinds, [Some(PushKind::Subscribe), Some(PushKind::Message)])?;
    equal(redis::cmd("ECHO").arg("still").query_async::<Value>(&mut con).await?, Value::BulkString(b"still".to_vec()))
}

async fn scans(client: &Client) -> Outcome {
    let mut con = open(client).await?;
    let key = format!("{TAG}many");
    let wanted: std::collections::BTreeSet<usize> = (0..1000).collect();
    let _: usize = con.sadd(&key, &wanted).await?;
    let found: Vec<RedisResult<usize>> = con.sscan::<_, usize>(&key).await?.collect().await;
    equal(found.into_iter().collect::<RedisResult<std::collections::BTreeSet<_>>>()? == wanted, true)
}
