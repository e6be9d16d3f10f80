//! CLUSTER: <https://redis.io/docs/latest/commands/?group=cluster>. Every answer is the instance's own view.

use std::fmt::Write;

use super::{Answer, Session, Then};
use crate::cluster::slots::{SLOTS, slot_of};
use crate::cluster::{InstanceId, View};
use crate::error::Refusal;
use crate::state::Blob;
use crate::wire::Reply;

/// How far the port of the cluster bus is from that for clients.
const BUS_PORT_STEP: u32 = 10_000;

pub(super) fn view<'s>(session: &'s Session<'_>) -> Result<&'s View, Refusal> {
    if !session.cluster.config.settings.is_cluster {
        return Err(Refusal::text("ERR This instance has cluster support disabled"));
    }
    Ok(&session.cluster.instances[session.id].view)
}

fn address(session: &Session<'_>, id: InstanceId) -> (String, u16) {
    let access = session.cluster.clients.list[session.client].access();
    let (ip, port) = session.cluster.advertised(session.ctx, id, access);
    (ip.to_string(), port)
}

fn name<'s>(session: &'s Session<'_>, id: InstanceId) -> &'s str {
    &session.cluster.instances[id].name
}

pub(super) fn info(session: &mut Session<'_>) -> Answer {
    let view = view(session)?;
    let masters = view.peers.iter().filter(|peer| peer.is_master());
    let count = |is_counted: &dyn Fn(&&crate::cluster::Peer) -> bool| -> usize {
        masters.clone().filter(is_counted).map(|peer| peer.slots).sum()
    };
    let (assigned, failed) = (count(&|_| true), count(&|peer| peer.has_failed()));
    let suspected = count(&|peer| peer.is_suspected && !peer.has_failed());
    let stats = &session.cluster.instances[session.id].stats;
    let epoch = view.epoch_of(session.id);
    let text = format!(
        "cluster_state:{}\r\ncluster_slots_assigned:{assigned}\r\ncluster_slots_ok:{}\r\ncluster_slots_pfail:{suspected}\r\n\
         cluster_slots_fail:{failed}\r\ncluster_known_nodes:{}\r\ncluster_size:{}\r\ncluster_current_epoch:{}\r\n\
         cluster_my_epoch:{epoch}\r\ncluster_stats_messages_sent:{}\r\ncluster_stats_messages_received:{}\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n",
        if view.is_ok { "ok" } else { "fail" },
        assigned - failed - suspected,
        view.known().count(),
        view.size,
        view.current_epoch,
        stats.messages_sent,
        stats.messages_received,
    );
    session.out.verbatim(&text);
    Ok(Then::Done)
}

pub(super) fn myid(session: &mut Session<'_>) -> Answer {
    view(session)?;
    let own = name(session, session.id).to_owned();
    session.out.bulk(own.as_bytes());
    Ok(Then::Done)
}

pub(super) fn myshardid(session: &mut Session<'_>) -> Answer {
    view(session)?;
    let shard = session.cluster.instances[session.id].shard.clone();
    session.out.bulk(shard.as_bytes());
    Ok(Then::Done)
}

/// One line of CLUSTER NODES.
fn node_line(session: &Session<'_>, view: &View, id: InstanceId) -> String {
    let peer = &view.peers[id];
    let (ip, port) = address(session, id);
    let (_, port_of_others) = session.cluster.advertised_on_bus(session.ctx, id, atoll_net::Peer::Host);
    let mut flags = Vec::new();
    if id == session.id {
        flags.push("myself");
    }
    flags.push(if peer.is_master() { "master" } else { "slave" });
    if peer.has_failed() {
        flags.push("fail");
    } else if peer.is_suspected {
        flags.push("fail?");
    }
    let wall = session.ctx.wall(session.cluster.instances[session.id].node).as_millis();
    let ago = |at: atoll_kernel::Moment| wall - i64::try_from(session.ctx.now().since(at).as_millis()).unwrap_or(0);
    // While the bus rests everybody answers all the time.
    let rests = session.cluster.bus.next_tick.is_none();
    let pong = if id == session.id {
        0
    } else if rests {
        wall - 500
    } else {
        ago(peer.pong_received)
    };
    let epoch = view.epoch_of(id);
    let is_connected = id == session.id || !peer.has_failed() && !peer.is_suspected;
    let mut line = format!(
        "{} {ip}:{port}@{} {} {} {} {pong} {epoch} {}",
        name(session, id),
        u32::from(port_of_others) + BUS_PORT_STEP,
        flags.join(","),
        peer.master.map_or("-", |master| name(session, master)),
        peer.ping_sent.filter(|_| id != session.id && !rests).map_or(0, ago),
        if is_connected { "connected" } else { "disconnected" },
    );
    for (first, last) in view.ranges(id).iter() {
        // Writing into a string cannot fail.
        let _ = if first == last { write!(line, " {first}") } else { write!(line, " {first}-{last}") };
    }
    if id == session.id {
        for (slot, to) in &view.migrating {
            let _ = write!(line, " [{slot}->-{}]", name(session, *to));
        }
        for (slot, from) in &view.importing {
            let _ = write!(line, " [{slot}-<-{}]", name(session, *from));
        }
    }
    line
}

pub(super) fn nodes(session: &mut Session<'_>) -> Answer {
    let view = view(session)?;
    let lines: String = view.known().map(|id| node_line(session, view, id) + "\n").collect();
    session.out.verbatim(&lines);
    Ok(Then::Done)
}

/// The instance of this name, if it is known here.
pub(super) fn find(session: &Session<'_>, name: &[u8]) -> Result<InstanceId, Refusal> {
    let is_it = |id: &InstanceId| session.cluster.instances[*id].name.as_bytes() == name;
    let found = view(session)?.known().find(is_it);
    found.ok_or_else(|| Refusal::text(format!("ERR Unknown node {}", String::from_utf8_lossy(name))))
}

pub(super) fn replicas(session: &mut Session<'_>) -> Answer {
    let view = view(session)?;
    let master = find(session, session.arg(2))?;
    if !view.peers[master].is_master() {
        return Err(Refusal::text("ERR The specified node is not a master"));
    }
    let lines: Vec<String> = view.replicas(master).map(|replica| node_line(session, view, replica)).collect();
    session.out.array(lines.len());
    for line in lines {
        session.out.bulk(line.as_bytes());
    }
    Ok(Then::Done)
}

pub(super) fn count_failure_reports(session: &mut Session<'_>) -> Answer {
    let view = view(session)?;
    let about = find(session, session.arg(2))?;
    let count = view.peers[about].reports.len();
    session.out.count(count);
    Ok(Then::Done)
}

/// An endpoint as CLUSTER SLOTS describes it.
fn endpoint(session: &Session<'_>, out: &mut Reply<'_>, id: InstanceId) {
    let (ip, port) = address(session, id);
    out.array(4);
    out.bulk(ip.as_bytes());
    out.integer(i64::from(port));
    out.bulk(name(session, id).as_bytes());
    out.map(0);
}

pub(super) fn slots(session: &mut Session<'_>) -> Answer {
    let view = view(session)?;
    let mut ranges: Vec<(u16, u16, InstanceId)> = Vec::new();
    for (owner, _) in view.peers.iter().enumerate() {
        ranges.extend(view.ranges(owner).iter().map(|(first, last)| (*first, *last, owner)));
    }
    ranges.sort_unstable();
    let mut bytes = Vec::new();
    let mut out = Reply::new(&mut bytes, session.out.is_resp3());
    out.array(ranges.len());
    for (first, last, owner) in ranges {
        let replicas: Vec<InstanceId> =
            view.replicas(owner).filter(|replica| !view.peers[*replica].has_failed()).collect();
        out.array(3 + replicas.len());
        out.integer(i64::from(first));
        out.integer(i64::from(last));
        endpoint(session, &mut out, owner);
        for replica in replicas {
            endpoint(session, &mut out, replica);
        }
    }
    session.out.raw(&bytes);
    Ok(Then::Done)
}

pub(super) fn shards(session: &mut Session<'_>) -> Answer {
    let view = view(session)?;
    let masters: Vec<InstanceId> = view.known().filter(|id| view.peers[*id].is_master()).collect();
    let mut bytes = Vec::new();
    let mut out = Reply::new(&mut bytes, session.out.is_resp3());
    out.array(masters.len());
    for master in masters {
        out.map(2);
        out.bulk(b"slots");
        let ranges = view.ranges(master);
        out.array(ranges.len() * 2);
        for (first, last) in ranges.iter() {
            out.integer(i64::from(*first));
            out.integer(i64::from(*last));
        }
        out.bulk(b"nodes");
        let members: Vec<InstanceId> = std::iter::once(master).chain(view.replicas(master)).collect();
        out.array(members.len());
        for id in members {
            shard_member(session, view, &mut out, id);
        }
    }
    session.out.raw(&bytes);
    Ok(Then::Done)
}

fn shard_member(session: &Session<'_>, view: &View, out: &mut Reply<'_>, id: InstanceId) {
    let (ip, _) = address(session, id);
    let instance = &session.cluster.instances[id];
    let ports = [(b"port".as_slice(), instance.port), (b"tls-port", instance.tls_port)];
    let ports = ports.into_iter().filter(|(_, port)| *port != 0);
    let peer = &view.peers[id];
    // Of others it knows what their last message said; while the bus rests, that is the present.
    let rests = session.cluster.bus.next_tick.is_none();
    let offset = if id == session.id || rests { session.cluster.position_of(id) } else { peer.offset };
    out.map(6 + ports.clone().count());
    out.bulk(b"id");
    out.bulk(name(session, id).as_bytes());
    for (field, port) in ports {
        out.bulk(field);
        out.integer(i64::from(port));
    }
    for field in [b"ip".as_slice(), b"endpoint"] {
        out.bulk(field);
        out.bulk(ip.as_bytes());
    }
    out.bulk(b"role");
    out.bulk(if peer.is_master() { b"master" } else { b"replica" });
    out.bulk(b"replication-offset");
    out.integer(i64::try_from(offset).unwrap_or(i64::MAX));
    out.bulk(b"health");
    out.bulk(if peer.has_failed() { b"fail" } else { b"online" });
}

pub(super) fn links(session: &mut Session<'_>) -> Answer {
    let view = view(session)?;
    let others: Vec<InstanceId> =
        view.known().filter(|id| *id != session.id && !view.peers[*id].has_failed()).collect();
    let created = session.ctx.wall(session.cluster.instances[session.id].node).as_millis()
        - i64::try_from(session.ctx.now().since(session.cluster.instances[session.id].stats.started).as_millis())
            .unwrap_or(0);
    let mut bytes = Vec::new();
    let mut out = Reply::new(&mut bytes, session.out.is_resp3());
    out.array(others.len() * 2);
    for other in others {
        for direction in [b"to".as_slice(), b"from"] {
            out.map(6);
            out.bulk(b"direction");
            out.bulk(direction);
            out.bulk(b"node");
            out.bulk(name(session, other).as_bytes());
            out.bulk(b"create-time");
            out.integer(created);
            out.bulk(b"events");
            out.bulk(b"r");
            out.bulk(b"send-buffer-allocated");
            out.integer(0);
            out.bulk(b"send-buffer-used");
            out.integer(0);
        }
    }
    session.out.raw(&bytes);
    Ok(Then::Done)
}

pub(super) fn keyslot(session: &mut Session<'_>) -> Answer {
    view(session)?;
    session.out.integer(i64::from(slot_of(session.arg(2))));
    Ok(Then::Done)
}

fn slot_argument(session: &Session<'_>) -> Result<u16, Refusal> {
    view(session)?;
    let slot = session.integer(2)?;
    let slot = u16::try_from(slot).ok().filter(|slot| usize::from(*slot) < SLOTS);
    slot.ok_or(Refusal::text("ERR Invalid slot"))
}

fn keys_in_slot(session: &mut Session<'_>, slot: u16) -> Vec<Blob> {
    session.cluster.keys_in_slot(session.ctx, session.id, slot)
}

pub(super) fn countkeysinslot(session: &mut Session<'_>) -> Answer {
    let slot = slot_argument(session)?;
    let count = keys_in_slot(session, slot).len();
    session.out.count(count);
    Ok(Then::Done)
}

pub(super) fn getkeysinslot(session: &mut Session<'_>) -> Answer {
    let slot = slot_argument(session)?;
    let limit =
        usize::try_from(session.integer(3)?).map_err(|_| Refusal::text("ERR Invalid slot or number of keys"))?;
    let keys = keys_in_slot(session, slot);
    let shown = keys.len().min(limit);
    session.out.array(shown);
    for key in &keys[..shown] {
        session.out.bulk(key);
    }
    Ok(Then::Done)
}

pub(super) fn help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ADDSLOTS <slot> [<slot> ...]",
        "    Assign slots to current node.",
        "ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
        "    Assign slots which are between <start-slot> and <end-slot> to current node.",
        "BUMPEPOCH",
        "    Advance the cluster config epoch.",
        "COUNT-FAILURE-REPORTS <node-id>",
        "    Return number of failure reports for <node-id>.",
        "COUNTKEYSINSLOT <slot>",
        "    Return the number of keys in <slot>.",
        "DELSLOTS <slot> [<slot> ...]",
        "    Delete slots information from current node.",
        "DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
        "    Delete slots information which are between <start-slot> and <end-slot> from current node.",
        "FAILOVER [FORCE|TAKEOVER]",
        "    Promote current replica node to being a master.",
        "FORGET <node-id>",
        "    Remove a node from the cluster.",
        "GETKEYSINSLOT <slot> <count>",
        "    Return key names stored by current node in a slot.",
        "FLUSHSLOTS",
        "    Delete current node own slots information.",
        "INFO",
        "    Return information about the cluster.",
        "KEYSLOT <key>",
        "    Return the hash slot for <key>.",
        "MEET <ip> <port> [<bus-port>]",
        "    Connect nodes into a working cluster.",
        "MYID",
        "    Return the node id.",
        "MYSHARDID",
        "    Return the node's shard id.",
        "NODES",
        "    Return cluster configuration seen by node. Output format:",
        "    <id> <ip:port@bus-port[,hostname]> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
        "REPLICATE <node-id>",
        "    Configure current node as replica to <node-id>.",
        "RESET [HARD|SOFT]",
        "    Reset current node (default: soft).",
        "SET-CONFIG-EPOCH <epoch>",
        "    Set config epoch of current node.",
        "SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
        "    Set slot state.",
        "REPLICAS <node-id>",
        "    Return <node-id> replicas.",
        "SAVECONFIG",
        "    Force saving cluster configuration on disk.",
        "SLOTS",
        "    Return information about slots range mappings. Each range is made of:",
        "    start, end, master and replicas IP addresses, ports and ids",
        "SHARDS",
        "    Return information about slot range mappings and the nodes associated with them.",
        "LINKS",
        "    Return information about all network links between this node and its peers.",
        "    Output format is an array where each array element is a map containing attributes of a link",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}
