//! FUNCTION DUMP and FUNCTION RESTORE, Redis 7.0: <https://redis.io/docs/latest/commands/function-restore/>. Libraries travel as their
//! sources, in `rdb.rs`'s format.

use std::collections::BTreeMap;

use super::debug::unknown;
use super::functions::{libraries, load_into, replace};
use super::{Answer, Session, Then, is};
use crate::cluster::InstanceId;
use crate::core::Cluster;
use crate::error::Refusal;
use crate::rdb::{self, Damage};
use crate::scripting::{Libraries, Library};
use crate::wire::Request;

pub(super) fn dump(session: &mut Session<'_>) -> Answer {
    let compresses = session.cluster.config.settings.dumps_compressed;
    let all = libraries(session).into_iter().flat_map(|libraries| libraries.list.values());
    let payload = rdb::dump_functions(all.map(|library| library.code.as_slice()), compresses);
    session.out.bulk(&payload);
    Ok(Then::Done)
}

pub(super) fn restore(session: &mut Session<'_>) -> Answer {
    if session.request.len() > 4 {
        return Err(unknown(session));
    }
    let current = libraries(session).cloned().unwrap_or_default();
    let list = restored(session.cluster, session.id, current, session.request)?;
    replace(session, list);
    session.out.ok();
    Ok(Then::Done)
}

/// What is to become of libraries that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Flush,
    Append,
    Replace,
}

/// The libraries after a FUNCTION RESTORE. Nothing is changed if it is refused.
pub(super) fn restored(
    cluster: &mut Cluster,
    id: InstanceId,
    current: Libraries,
    request: Request<'_>,
) -> Result<BTreeMap<String, Library>, Refusal> {
    let policy = match request.get(3) {
        None => Policy::Append,
        Some(word) if is(word, "APPEND") => Policy::Append,
        Some(word) if is(word, "REPLACE") => Policy::Replace,
        Some(word) if is(word, "FLUSH") => Policy::Flush,
        Some(_) => {
            return Err(Refusal::text(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let mut restored = Libraries::default();
    let is_checked = !cluster.switches.skips_checksums;
    for source in rdb::read_functions(request.arg(2), is_checked).map_err(refusal)? {
        load_into(cluster, id, &mut restored, &source.map_err(refusal)?, false)?;
    }
    if policy == Policy::Flush {
        return Ok(restored.list);
    }
    let mut all = current;
    for name in restored.list.keys() {
        if all.list.remove(name).is_some() && policy == Policy::Append {
            return Err(Refusal::text(format!("ERR Library {name} already exists")));
        }
    }
    for (name, library) in &restored.list {
        if let Some(function) = all.collision(name, library.functions.keys()) {
            return Err(Refusal::text(format!("ERR Function {function} already exists")));
        }
    }
    all.list.extend(restored.list);
    Ok(all.list)
}

fn refusal(damage: Damage) -> Refusal {
    match damage {
        Damage::VersionOrChecksum => Refusal::text("ERR DUMP payload version or checksum are wrong"),
        Damage::Malformed(what) => Refusal::text(format!("ERR {what}")),
        _ => Refusal::text("ERR failed loading the given functions payload"),
    }
}
