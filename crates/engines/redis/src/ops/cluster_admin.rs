//! CLUSTER subcommands that change the cluster: <https://redis.io/docs/latest/commands/?group=cluster>.

use super::cluster::{find, view};
use super::{Answer, Session, Then, is};
use crate::cluster::InstanceId;
use crate::cluster::slots::SLOTS;
use crate::error::Refusal;
use crate::state::parse_integer;

fn done(session: &mut Session<'_>) -> Answer {
    session.cluster.update_state(session.ctx, session.id);
    session.cluster.redirect_waiters(session.ctx, session.id);
    session.cluster.wake_bus(session.ctx);
    session.cluster.wants_saving = true;
    session.out.ok();
    Ok(Then::Done)
}

fn slot_at(session: &Session<'_>, index: usize) -> Result<u16, Refusal> {
    let slot = parse_integer(session.arg(index)).and_then(|slot| u16::try_from(slot).ok());
    slot.filter(|slot| usize::from(*slot) < SLOTS).ok_or(Refusal::text("ERR Invalid or out of range slot"))
}

fn is_empty(session: &mut Session<'_>) -> bool {
    let id = session.id;
    session.cluster.db_at(session.ctx, id, 0).is_none_or(|db| db.len() == 0)
}

/// Checks that slots can be taken, or given up, and does so.
fn change_slots(session: &mut Session<'_>, ranges: &[(u16, u16)], is_taken_away: bool) -> Answer {
    let view = view(session)?;
    let mut seen = vec![false; SLOTS];
    for slot in ranges.iter().flat_map(|(first, last)| *first..=*last) {
        match (is_taken_away, view.owner(slot)) {
            (true, None) => return Err(Refusal::text(format!("ERR Slot {slot} is already unassigned"))),
            (false, Some(_)) => return Err(Refusal::text(format!("ERR Slot {slot} is already busy"))),
            _ => {}
        }
        if std::mem::replace(&mut seen[usize::from(slot)], true) {
            return Err(Refusal::text(format!("ERR Slot {slot} specified multiple times")));
        }
    }
    let id = session.id;
    let view = &mut session.cluster.instances[id].view;
    view.importing.retain(|slot, _| !seen[usize::from(*slot)]);
    if is_taken_away {
        view.release(ranges);
        ranges.iter().flat_map(|(first, last)| *first..=*last).for_each(|slot| session.cluster.note_import(id, slot));
    } else {
        view.assign(ranges, id);
    }
    done(session)
}

fn listed(session: &Session<'_>) -> Result<Vec<(u16, u16)>, Refusal> {
    (2..session.request.len()).map(|index| slot_at(session, index).map(|slot| (slot, slot))).collect()
}

fn ranged(session: &Session<'_>, name: &str) -> Result<Vec<(u16, u16)>, Refusal> {
    if !session.request.len().is_multiple_of(2) {
        return Err(Refusal::Arity(name.to_owned()));
    }
    let pairs = (2..session.request.len()).step_by(2);
    pairs
        .map(|index| {
            let (first, last) = (slot_at(session, index)?, slot_at(session, index + 1)?);
            if first > last {
                let text = format!("ERR start slot number {first} is greater than end slot number {last}");
                return Err(Refusal::text(text));
            }
            Ok((first, last))
        })
        .collect()
}

pub(super) fn addslots(session: &mut Session<'_>) -> Answer {
    view(session)?;
    let slots = listed(session)?;
    change_slots(session, &slots, false)
}

pub(super) fn delslots(session: &mut Session<'_>) -> Answer {
    view(session)?;
    let slots = listed(session)?;
    change_slots(session, &slots, true)
}

pub(super) fn addslotsrange(session: &mut Session<'_>) -> Answer {
    view(session)?;
    let slots = ranged(session, "cluster|addslotsrange")?;
    change_slots(session, &slots, false)
}

pub(super) fn delslotsrange(session: &mut Session<'_>) -> Answer {
    view(session)?;
    let slots = ranged(session, "cluster|delslotsrange")?;
    change_slots(session, &slots, true)
}

pub(super) fn flushslots(session: &mut Session<'_>) -> Answer {
    view(session)?;
    if !is_empty(session) {
        return Err(Refusal::text("ERR DB must be empty to perform CLUSTER FLUSHSLOTS."));
    }
    let id = session.id;
    session.cluster.instances[id].view.unassign(id);
    done(session)
}

/// The node that an argument of SETSLOT names.
fn slot_peer(session: &Session<'_>, unknown: &str) -> Result<InstanceId, Refusal> {
    let name = session.arg(4);
    let text = || Refusal::text(format!("ERR {unknown} {}", String::from_utf8_lossy(name)));
    let peer = find(session, name).map_err(|_| text())?;
    if !view(session)?.peers[peer].is_master() {
        return Err(Refusal::text("ERR Target node is not a master"));
    }
    Ok(peer)
}

pub(super) fn setslot(session: &mut Session<'_>) -> Answer {
    let id = session.id;
    if !view(session)?.peers[id].is_master() {
        return Err(Refusal::text("ERR Please use SETSLOT only with masters."));
    }
    let slot = slot_at(session, 2)?;
    let is_mine = view(session)?.owner(slot) == Some(id);
    match (session.arg(3), session.request.len()) {
        (word, 5) if is(word, "MIGRATING") => {
            if !is_mine {
                return Err(Refusal::text(format!("ERR I'm not the owner of hash slot {slot}")));
            }
            let to = slot_peer(session, "I don't know about node")?;
            session.cluster.instances[id].view.migrating.insert(slot, to);
        }
        (word, 5) if is(word, "IMPORTING") => {
            if is_mine {
                return Err(Refusal::text(format!("ERR I'm already the owner of hash slot {slot}")));
            }
            let from = slot_peer(session, "I don't know about node")?;
            session.cluster.instances[id].view.importing.insert(slot, from);
            session.cluster.note_import(id, slot);
        }
        (word, 4) if is(word, "STABLE") => {
            let view = &mut session.cluster.instances[id].view;
            view.importing.remove(&slot);
            view.migrating.remove(&slot);
        }
        (word, 5) if is(word, "NODE") => {
            let owner = slot_peer(session, "Unknown node")?;
            return assign(session, slot, owner);
        }
        _ => {
            return Err(Refusal::text("ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP"));
        }
    }
    done(session)
}

/// CLUSTER SETSLOT … NODE: the end of a move.
fn assign(session: &mut Session<'_>, slot: u16, owner: InstanceId) -> Answer {
    let id = session.id;
    let was_mine = view(session)?.owner(slot) == Some(id);
    let keys = session.cluster.keys_in_slot(session.ctx, id, slot).len();
    if was_mine && owner != id && keys > 0 {
        return Err(Refusal::text(format!(
            "ERR Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
        )));
    }
    let view = &mut session.cluster.instances[id].view;
    if keys == 0 {
        view.migrating.remove(&slot);
    }
    view.assign(&[(slot, slot)], owner);
    let was_importing = owner == id && view.importing.remove(&slot).is_some();
    let has_none_left = was_mine && owner != id && view.peers[id].slots == 0;
    if has_none_left && session.cluster.config.settings.replica_migration {
        session.cluster.replicate_from(session.ctx, id, owner);
    }
    if was_importing {
        session.cluster.bump_epoch(session.ctx, id);
        session.cluster.broadcast_pong(session.ctx, id);
    }
    done(session)
}

pub(super) fn bumpepoch(session: &mut Session<'_>) -> Answer {
    view(session)?;
    let id = session.id;
    let word = if session.cluster.bump_epoch(session.ctx, id) { "BUMPED" } else { "STILL" };
    let epoch = session.cluster.instances[id].view.peers[id].config_epoch;
    session.cluster.wake_bus(session.ctx);
    session.cluster.wants_saving = true;
    session.out.raw(format!("+{word} {epoch}\r\n").as_bytes());
    Ok(Then::Done)
}

/// The configuration is saved whenever it changes; this has it compared once more before the reply goes out.
pub(super) fn saveconfig(session: &mut Session<'_>) -> Answer {
    view(session)?;
    session.cluster.wants_saving = true;
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn set_config_epoch(session: &mut Session<'_>) -> Answer {
    view(session)?;
    let id = session.id;
    let epoch = session.integer(2)?;
    let Ok(wanted) = u64::try_from(epoch) else {
        return Err(Refusal::text(format!("ERR Invalid config epoch specified: {epoch}")));
    };
    let view = &mut session.cluster.instances[id].view;
    if view.known().count() > 1 {
        return Err(Refusal::text(
            "ERR The user can assign a config epoch only when the node does not know any other node.",
        ));
    }
    if view.peers[id].config_epoch != 0 {
        return Err(Refusal::text("ERR Node config epoch is already non-zero"));
    }
    view.peers[id].config_epoch = wanted;
    view.current_epoch = view.current_epoch.max(wanted);
    done(session)
}

pub(super) fn meet(session: &mut Session<'_>) -> Answer {
    view(session)?;
    let text = |index: usize| String::from_utf8_lossy(session.arg(index)).into_owned();
    let port = parse_integer(session.arg(3));
    let Some(port) = port else {
        return Err(Refusal::text(format!("ERR Invalid base port specified: {}", text(3))));
    };
    if session.request.len() == 5 && parse_integer(session.arg(4)).is_none() {
        return Err(Refusal::text(format!("ERR Invalid bus port specified: {}", text(4))));
    }
    let is_address = text(2).parse::<std::net::IpAddr>().is_ok();
    if !is_address || !(1..=65535).contains(&port) {
        return Err(Refusal::text(format!("ERR Invalid node address specified: {}:{}", text(2), text(3))));
    }
    let (id, ip) = (session.id, session.arg(2));
    // An address where nobody is: the handshake would be given up after the node timeout.
    if let Some(other) = session.cluster.instance_at(session.ctx, ip, port) {
        session.cluster.shake_hands(session.ctx, id, other, true);
        session.cluster.wake_bus(session.ctx);
    }
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn forget(session: &mut Session<'_>) -> Answer {
    let id = session.id;
    let name = session.arg(2);
    let is_forgotten = |session: &Session<'_>| {
        let forgotten = &session.cluster.instances[id].view.forgotten;
        forgotten.keys().any(|other| other.as_bytes() == name)
    };
    view(session)?;
    let other = match find(session, name) {
        Ok(other) => other,
        Err(_) if is_forgotten(session) => {
            session.out.ok();
            return Ok(Then::Done);
        }
        Err(refusal) => return Err(refusal),
    };
    if other == id {
        return Err(Refusal::text("ERR I tried hard but I can't forget myself..."));
    }
    if view(session)?.peers[id].master == Some(other) {
        return Err(Refusal::text("ERR Can't forget my master!"));
    }
    session.cluster.forget(session.ctx, id, other);
    done(session)
}

pub(super) fn replicate(session: &mut Session<'_>) -> Answer {
    let id = session.id;
    view(session)?;
    let master = find(session, session.arg(2))?;
    if master == id {
        return Err(Refusal::text("ERR Can't replicate myself"));
    }
    if !view(session)?.peers[master].is_master() {
        return Err(Refusal::text("ERR I can only replicate a master, not a replica."));
    }
    let own = &view(session)?.peers[id];
    let (is_master, slots) = (own.is_master(), own.slots);
    if is_master && (slots > 0 || !is_empty(session)) {
        return Err(Refusal::text("ERR To set a master the node must be empty and without assigned slots."));
    }
    session.cluster.replicate_from(session.ctx, id, master);
    done(session)
}

pub(super) fn reset(session: &mut Session<'_>) -> Answer {
    let id = session.id;
    view(session)?;
    let is_hard = match session.request.get(2) {
        None => false,
        Some(word) if is(word, "HARD") => true,
        Some(word) if is(word, "SOFT") => false,
        Some(_) => return Err(Refusal::Syntax),
    };
    if view(session)?.peers[id].is_master() && !is_empty(session) {
        return Err(Refusal::text("ERR CLUSTER RESET can't be called with master nodes containing keys"));
    }
    session.cluster.reset(session.ctx, id, is_hard);
    done(session)
}

pub(super) fn failover(session: &mut Session<'_>) -> Answer {
    let id = session.id;
    view(session)?;
    let (is_forced, takes_over) = match session.request.get(2) {
        None => (false, false),
        Some(word) if is(word, "FORCE") => (true, false),
        Some(word) if is(word, "TAKEOVER") => (true, true),
        Some(_) => return Err(Refusal::Syntax),
    };
    let Some(master) = view(session)?.peers[id].master else {
        return Err(Refusal::text("ERR You should send CLUSTER FAILOVER to a replica"));
    };
    let peer = &view(session)?.peers[master];
    if !peer.is_known {
        return Err(Refusal::text("ERR I'm a replica but my master is unknown to me"));
    }
    if !is_forced && peer.has_failed() {
        return Err(Refusal::text("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE"));
    }
    session.cluster.wake_bus(session.ctx);
    if takes_over {
        session.cluster.end_manual_failover(session.ctx, id);
        session.cluster.take_over(session.ctx, id);
    } else {
        session.cluster.begin_manual_failover(session.ctx, id, is_forced);
    }
    session.out.ok();
    Ok(Then::Done)
}
