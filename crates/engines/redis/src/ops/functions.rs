//! FUNCTION and FCALL: <https://redis.io/docs/latest/develop/interact/programmability/functions-intro/>.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::debug::unknown;
use super::function_payload::restored;
use super::scripting::{keys_and_arguments, run};
use super::{Answer, Session, Then, glob_matches, is};
use crate::cluster::InstanceId;
use crate::core::Cluster;
use crate::error::Refusal;
use crate::scripting::{Body, FunctionEntry, FunctionInfo, Libraries, Library, library_metadata};
use crate::wire::Request;

pub(super) fn fcall(session: &mut Session<'_>) -> Answer {
    let name = String::from_utf8_lossy(session.arg(1)).into_owned();
    let found =
        session.cluster.with_engine(session.id, |engine| engine.functions.get(&name.to_ascii_lowercase()).cloned())?;
    let function = found.ok_or(Refusal::text("ERR Function not found"))?;
    if crate::state::parse_integer(session.arg(2)).is_none() {
        return Err(Refusal::text("ERR Bad number of keys provided"));
    }
    let (keys, arguments) = keys_and_arguments(session.request)?;
    run(session, (function.flags, true), Body::Function(function), name.into(), keys, arguments)
}

/// The libraries of the data that the connection's instance sees.
pub(super) fn libraries<'s>(session: &'s Session<'_>) -> Option<&'s Libraries> {
    libraries_of(session.cluster, session.id)
}

fn libraries_of(cluster: &Cluster, id: InstanceId) -> Option<&Libraries> {
    cluster.datasets.get(cluster.instances[id].dataset?).map(|dataset| &dataset.libraries)
}

/// Makes these the libraries of an instance's data.
fn set_libraries(cluster: &mut Cluster, id: InstanceId, list: BTreeMap<String, Library>) {
    cluster.scripts.libraries_version += 1;
    let version = cluster.scripts.libraries_version;
    if let Some(dataset) = cluster.instances[id].dataset.and_then(|dataset| cluster.datasets.get_mut(dataset)) {
        dataset.libraries = Libraries { version, list };
    }
}

/// Executes a command on libraries that the append-only file holds. False if it is none.
pub(crate) fn restore_libraries(cluster: &mut Cluster, id: InstanceId, request: Request<'_>) -> bool {
    let mut libraries = libraries_of(cluster, id).cloned().unwrap_or_default();
    let subcommand = request.arg(1);
    let is_done = match request.len() {
        _ if is(subcommand, "FLUSH") => {
            libraries.list.clear();
            true
        }
        3 if is(subcommand, "DELETE") => libraries.list.remove(&*String::from_utf8_lossy(request.arg(2))).is_some(),
        length if is(subcommand, "LOAD") => {
            load_into(cluster, id, &mut libraries, request.arg(length - 1), true).is_ok()
        }
        3.. if is(subcommand, "RESTORE") => match restored(cluster, id, libraries.clone(), request) {
            Ok(list) => {
                libraries.list = list;
                true
            }
            Err(_) => false,
        },
        _ => false,
    };
    set_libraries(cluster, id, libraries.list);
    is_done
}

/// Makes these the libraries, and passes the command on that did it.
pub(super) fn replace(session: &mut Session<'_>, list: BTreeMap<String, Library>) {
    set_libraries(session.cluster, session.id, list);
    let dataset = session.cluster.instances[session.id].dataset;
    let Some(dataset) = dataset.and_then(|dataset| session.cluster.datasets.get_mut(dataset)) else { return };
    let arguments: Vec<&[u8]> = session.request.tail(0).collect();
    dataset.feed(0, &arguments);
    if !dataset.is_lockstep {
        session.cluster.owed.push(session.id);
    }
}

/// Loads one library into what is to become the libraries.
pub(super) fn load_into(
    cluster: &mut Cluster,
    id: InstanceId,
    list: &mut Libraries,
    code: &[u8],
    replaces: bool,
) -> Result<String, Refusal> {
    let (name, body) = library_metadata(code).map_err(Refusal::text)?;
    if !replaces && list.list.contains_key(&name) {
        return Err(Refusal::text(format!("ERR Library '{name}' already exists")));
    }
    let loaded = cluster.with_engine(id, |engine| engine.load_library(body))?;
    let functions: IndexMap<String, FunctionEntry> = loaded.map_err(Refusal::text)?;
    if let Some(function) = list.collision(&name, functions.keys()) {
        return Err(Refusal::text(format!("ERR Function {function} already exists")));
    }
    let info = |entry: FunctionEntry| FunctionInfo { description: entry.description, flags: entry.flags };
    let functions = functions.into_iter().map(|(name, entry)| (name, info(entry))).collect();
    list.list.insert(name.clone(), Library { code: code.to_vec(), functions });
    Ok(name)
}

pub(super) fn load(session: &mut Session<'_>) -> Answer {
    let (replaces, code) = match session.request.len() {
        3 => (false, session.arg(2)),
        4 if is(session.arg(2), "REPLACE") => (true, session.arg(3)),
        _ => {
            let option = String::from_utf8_lossy(session.arg(2));
            return Err(Refusal::text(format!("ERR Unknown option given: {option}")));
        }
    };
    let mut list = libraries(session).cloned().unwrap_or_default();
    let name = load_into(session.cluster, session.id, &mut list, code, replaces)?;
    replace(session, list.list);
    session.out.bulk(name.as_bytes());
    Ok(Then::Done)
}

pub(super) fn delete(session: &mut Session<'_>) -> Answer {
    let mut list = libraries(session).cloned().unwrap_or_default().list;
    if list.remove(&*String::from_utf8_lossy(session.arg(2))).is_none() {
        return Err(Refusal::text("ERR Library not found"));
    }
    replace(session, list);
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn flush(session: &mut Session<'_>) -> Answer {
    if session.request.len() > 3 {
        return Err(unknown(session));
    }
    if session.request.get(2).is_some_and(|word| !is(word, "SYNC") && !is(word, "ASYNC")) {
        return Err(Refusal::text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    replace(session, BTreeMap::new());
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn list(session: &mut Session<'_>) -> Answer {
    let (mut pattern, mut with_code) = (None, false);
    let mut index = 2;
    while let Some(word) = session.request.get(index) {
        if !with_code && is(word, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && is(word, "LIBRARYNAME") {
            index += 1;
            let given = session.request.get(index);
            pattern = Some(given.ok_or(Refusal::text("ERR library name argument was not given"))?);
        } else {
            return Err(Refusal::text(format!("ERR Unknown argument {}", String::from_utf8_lossy(word))));
        }
        index += 1;
    }
    let all = libraries(session).cloned().unwrap_or_default().list;
    let matches = |name: &str| pattern.is_none_or(|pattern| glob_matches(pattern, name.as_bytes()));
    let chosen: Vec<(String, Library)> = all.into_iter().filter(|(name, _)| matches(name)).collect();
    let out = &mut session.out;
    out.array(chosen.len());
    for (name, library) in chosen {
        out.map(3 + usize::from(with_code));
        out.bulk(b"library_name");
        out.bulk(name.as_bytes());
        out.bulk(b"engine");
        out.bulk(b"LUA");
        out.bulk(b"functions");
        out.array(library.functions.len());
        for (name, function) in &library.functions {
            out.map(3);
            out.bulk(b"name");
            out.bulk(name.as_bytes());
            out.bulk(b"description");
            out.bulk_or_null(function.description.as_deref());
            out.bulk(b"flags");
            let flags = function.flags.names();
            out.set(flags.len());
            for flag in flags {
                out.simple(flag);
            }
        }
        if with_code {
            out.bulk(b"library_code");
            out.bulk(&library.code);
        }
    }
    Ok(Then::Done)
}

pub(super) fn stats(session: &mut Session<'_>) -> Answer {
    let (count, functions) =
        libraries(session).map_or((0, 0), |libraries| (libraries.list.len(), libraries.functions_count()));
    let running = session.cluster.scripts.running(session.id).map(|run| {
        let elapsed = session.ctx.now().since(run.began);
        (run.name.clone(), run.request.clone(), i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    });
    let out = &mut session.out;
    out.map(2);
    out.bulk(b"running_script");
    match running {
        None => out.null(),
        Some((name, request, elapsed_ms)) => {
            out.map(3);
            out.bulk(b"name");
            out.bulk(name.as_bytes());
            out.bulk(b"command");
            out.array(request.as_request().len());
            for argument in request.as_request().tail(0) {
                out.bulk(argument);
            }
            out.bulk(b"duration_ms");
            out.integer(elapsed_ms);
        }
    }
    out.bulk(b"engines");
    out.map(1);
    out.bulk(b"LUA");
    out.map(2);
    out.bulk(b"libraries_count");
    out.count(count);
    out.bulk(b"functions_count");
    out.count(functions);
    Ok(Then::Done)
}

pub(super) fn kill(session: &mut Session<'_>) -> Answer {
    session.cluster.kill_script(session.id, true)?;
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "LOAD [REPLACE] <FUNCTION CODE>",
        "    Create a new library with the given library name and code.",
        "DELETE <LIBRARY NAME>",
        "    Delete the given library.",
        "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
        "    Return general information on all the libraries:",
        "    * Library name",
        "    * The engine used to run the Library",
        "    * Library description",
        "    * Functions list",
        "    * Library code (if WITHCODE is given)",
        "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
        "STATS",
        "    Return information about the current function running:",
        "    * Function name",
        "    * Command used to run the function",
        "    * Duration in MS that the function is running",
        "    If no function is running, return nil",
        "    In addition, returns a list of available engines.",
        "KILL",
        "    Kill the current running function.",
        "FLUSH [ASYNC|SYNC]",
        "    Delete all the libraries.",
        "    When called without the optional mode argument, the behavior is determined by the",
        "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
        "    * ASYNC: Asynchronously flush the libraries.",
        "    * SYNC: Synchronously flush the libraries.",
        "DUMP",
        "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
        "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
        "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
        "    control how to handle existing libraries (default APPEND):",
        "    * FLUSH: delete all existing libraries.",
        "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
        "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
        "      libraries with the new libraries (notice that even on this option there is a chance of failure",
        "      in case of functions name collision with another library).",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}
