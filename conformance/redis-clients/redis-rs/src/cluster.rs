//! The cluster client, synchronous and with tokio: redirects, pipelines over all shards, replicas, commands for many nodes.

use futures_util::future::try_join_all;
use redis::cluster::{ClusterClient, ClusterConnection, cluster_pipe};
use redis::cluster_read_routing::RandomReplicaStrategy;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo};
use redis::{
    AsyncCommands, Commands, ProtocolVersion, PushInfo, PushKind, RedisResult, Script, ServerErrorKind, Value,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Checks, Outcome, PATIENCE, client_of, connect, equal, refused};

pub(crate) fn run(checks: &mut Checks, nodes: &[String]) {
    let connected = ClusterClient::new(nodes.to_vec()).and_then(|client| client.get_connection());
    match connected {
        Err(error) => checks.report("cluster: connects", Err(error.into())),
        Ok(mut con) => {
            checks.report("cluster: writes and reads over all shards", spread(&mut con));
            checks.report("cluster: a pipeline over all shards", pipelines(&mut con));
            checks.report("cluster: MOVED from a node asked directly", moved(nodes, &mut con));
            checks.report("cluster: keys of two slots", cross_slot(&mut con));
            checks.report("cluster: a script goes to its key's shard", scripts(&mut con));
        }
    }
    checks.report("cluster: one node is enough, and replicas are read", replicas(nodes));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return checks.report("tokio cluster: a runtime", Err(error.into())),
    };
    runtime.block_on(async {
        checks.report("tokio cluster: tasks over all shards", within(tasks(nodes)).await);
        checks.report("tokio cluster: a transaction of one slot", within(transaction(nodes)).await);
        checks.report("tokio cluster: a command for all primaries", within(everywhere(nodes)).await);
        checks.report("tokio cluster: sharded pub/sub over RESP3", within(sharded(nodes)).await);
    });
}

fn spread(con: &mut ClusterConnection) -> Outcome {
    for number in 0..500_usize {
        let () = con.set(format!("rs:{number}"), number)?;
    }
    for number in 0..500_usize {
        equal(con.get::<_, usize>(format!("rs:{number}"))?, number)?;
    }
    Ok(())
}

fn pipelines(con: &mut ClusterConnection) -> Outcome {
    let mut pipe = cluster_pipe();
    for number in 0..300_usize {
        pipe.set(format!("rs:pipe:{number}"), number).ignore().get(format!("rs:pipe:{number}"));
    }
    equal(pipe.query::<Vec<usize>>(con)? == (0..300).collect::<Vec<_>>(), true)
}

fn moved(nodes: &[String], con: &mut ClusterConnection) -> Outcome {
    let () = con.set("foo", "bar")?;
    let mut asked = 0;
    for node in nodes {
        let mut direct = connect(&client_of(node, ProtocolVersion::RESP2)?)?;
        match direct.get::<_, String>("foo") {
            Ok(value) => equal(value, "bar")?,
            Err(error) => {
                asked += 1;
                equal(error.kind(), ServerErrorKind::Moved.into())?;
                let (address, slot) = error.redirect_node().ok_or("no address in it")?;
                equal((slot, nodes.contains(&format!("redis://{address}"))), (12182, true))?;
            }
        }
    }
    equal(asked, nodes.len() - 1)
}

fn cross_slot(con: &mut ClusterConnection) -> Outcome {
    let () = con.set("{rs}a", 1)?;
    let () = con.set("{rs}b", 2)?;
    equal(con.mget::<_, Vec<i64>>(&["{rs}a", "{rs}b"])?, [1, 2])?;
    // The client splits what it can.
    equal(con.del::<_, usize>(&["{rs}a", "rs:1", "foo"])?, 3)?;
    let answer = con.sunionstore::<_, _, i64>("rs:a", &["rs:b", "rs:c"]);
    refused(answer, "CROSSSLOT", "Keys in request don't hash to the same slot")
}

fn scripts(con: &mut ClusterConnection) -> Outcome {
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for key in ["rs:lua:1", "rs:lua:2", "rs:lua:3", "rs:lua:4"] {
        equal(script.key(key).arg(3).invoke::<i64>(con)?, 3)?;
    }
    Ok(())
}

fn replicas(nodes: &[String]) -> Outcome {
    let client = ClusterClient::builder(vec![nodes[0].clone()]).read_routing_strategy(RandomReplicaStrategy).build()?;
    let mut con = client.get_connection()?;
    let mut direct = client_of(&nodes[0], ProtocolVersion::RESP2)?;
    for number in 0..50_usize {
        let key = format!("rs:replicated:{number}");
        let () = con.set(&key, number)?;
        wait_for_replica(nodes, &mut direct, &key)?;
        equal(con.get::<_, usize>(&key)?, number)?;
    }
    Ok(())
}

/// Until the key is at the replica of its shard, for a client that reads there.
fn wait_for_replica(nodes: &[String], direct: &mut redis::Client, key: &str) -> Outcome {
    let mut con = connect(direct)?;
    loop {
        match con.get::<_, Value>(key) {
            // WAIT counts what the connection has written, so it writes once more.
            Ok(_) => {
                let _: bool = con.persist(key)?;
                let value: String = con.get(key)?;
                let () = con.set(key, value)?;
                return equal(redis::cmd("WAIT").arg(1).arg(10_000).query::<usize>(&mut con)?, 1);
            }
            Err(error) => {
                let address = error.redirect_node().map(|(address, _)| format!("redis://{address}"));
                let node = nodes.iter().find(|node| Some(*node) == address.as_ref()).ok_or(error)?;
                *direct = client_of(node, ProtocolVersion::RESP2)?;
                con = connect(direct)?;
            }
        }
    }
}

async fn within(body: impl Future<Output = Outcome>) -> Outcome {
    timeout(PATIENCE, body).await?
}

async fn open(nodes: &[String]) -> RedisResult<redis::cluster_async::ClusterConnection> {
    ClusterClient::new(nodes.to_vec())?.get_async_connection().await
}

async fn tasks(nodes: &[String]) -> Outcome {
    let con = open(nodes).await?;
    let one = |number: usize| {
        let mut con = con.clone();
        async move {
            let key = format!("rs:tokio:{number}");
            let () = con.set(&key, number).await?;
            con.get::<_, usize>(&key).await
        }
    };
    let seen = try_join_all((0..200).map(one)).await?;
    equal(seen == (0..200).collect::<Vec<_>>(), true)
}

async fn transaction(nodes: &[String]) -> Outcome {
    let mut con = open(nodes).await?;
    let mut pipe = redis::pipe();
    pipe.atomic().set("{rs}t", 1).ignore().incr("{rs}t", 1).get("{rs}t");
    equal(pipe.query_async::<(i64, String)>(&mut con).await?, (2, "2".to_owned()))
}

async fn everywhere(nodes: &[String]) -> Outcome {
    let mut con = open(nodes).await?;
    let mut command = redis::cmd("DBSIZE");
    let primaries = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    let Value::Map(sizes) = con.route_command(command.take(), primaries.clone()).await? else {
        return Err("not an answer of each node".into());
    };
    equal(sizes.len(), 3)?;
    let sum = RoutingInfo::MultiNode((
        MultipleNodeRoutingInfo::AllMasters,
        Some(ResponsePolicy::Aggregate(redis::cluster_routing::AggregateOp::Sum)),
    ));
    let Value::Int(all) = con.route_command(redis::cmd("DBSIZE"), sum).await? else { return Err("no sum".into()) };
    let each = sizes.iter().map(|(_, size)| if let Value::Int(size) = size { *size } else { -1 });
    equal(each.sum::<i64>(), all)
}

async fn sharded(nodes: &[String]) -> Outcome {
    let (sender, mut pushed) = mpsc::unbounded_channel::<PushInfo>();
    let builder = ClusterClient::builder(nodes.to_vec()).use_protocol(ProtocolVersion::RESP3).push_sender(sender);
    let mut con = builder.build()?.get_async_connection().await?;
    con.ssubscribe("rs-sharded").await?;
    let published: usize = con.spublish("rs-sharded", "hello").await?;
    equal(published, 1)?;
    let kinds = [pushed.recv().await, pushed.recv().await].map(|push| push.map(|push| push.kind));
    equal(kinds, [Some(PushKind::SSubscribe), Some(PushKind::SMessage)])
}
