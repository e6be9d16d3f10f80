//! EVAL, EVALSHA, SCRIPT: <https://redis.io/docs/latest/commands/?group=scripting>.

use std::rc::Rc;

use super::{Answer, Session, Then, is};
use crate::core::OUT_OF_MEMORY;
use crate::error::Refusal;
use crate::scripting::{Body, Job, Script, ScriptFlags, digest};
use crate::wire::Request;

const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";

pub(super) fn eval(session: &mut Session<'_>) -> Answer {
    let code = session.arg(1);
    let (keys, arguments) = keys_and_arguments(session.request)?;
    let loaded = session.cluster.with_engine(session.id, |engine| engine.evaluated(code).cloned())?;
    let script = loaded.map_err(Refusal::text)?;
    run_script(session, script, keys, arguments)
}

pub(super) fn evalsha(session: &mut Session<'_>) -> Answer {
    let (keys, arguments) = keys_and_arguments(session.request)?;
    let Ok(digest) = session.arg(1).to_ascii_lowercase().try_into() else { return Err(Refusal::text(NO_SCRIPT)) };
    let script = session.cluster.with_engine(session.id, |engine| engine.script(&digest).cloned())?;
    let script = script.ok_or(Refusal::text(NO_SCRIPT))?;
    run_script(session, script, keys, arguments)
}

fn run_script(session: &mut Session<'_>, script: Rc<Script>, keys: Words<'_>, arguments: Words<'_>) -> Answer {
    let (flags, name) = (script.flags, Rc::clone(&script.name));
    run(session, (flags, false), Body::Script(script), name, keys, arguments)
}

/// Some of a request's arguments.
type Words<'a> = Vec<&'a [u8]>;

/// What stands after a number of keys: the keys, and the arguments.
pub(super) fn keys_and_arguments<'a>(request: Request<'a>) -> Result<(Words<'a>, Words<'a>), Refusal> {
    let count = crate::state::parse_integer(request.arg(2)).ok_or(Refusal::NotInteger)?;
    if count > (request.len() - 3) as i64 {
        return Err(Refusal::text("ERR Number of keys can't be greater than number of args"));
    }
    let count = usize::try_from(count).map_err(|_| Refusal::text("ERR Number of keys can't be negative"))?;
    Ok((request.tail(3).take(count).collect(), request.tail(3 + count).collect()))
}

/// Runs a script or a function, after the checks that hold for all of it.
pub(super) fn run(
    session: &mut Session<'_>,
    (flags, is_function): (ScriptFlags, bool),
    body: Body,
    name: Rc<str>,
    keys: Vec<&[u8]>,
    arguments: Vec<&[u8]>,
) -> Answer {
    let is_read_only = session.arg(0).last_chunk().is_some_and(|end: &[u8; 3]| end.eq_ignore_ascii_case(b"_ro"));
    check(session, flags, is_read_only)?;
    let is_resp3 = session.out.is_resp3();
    let mut job = Job { body, name, keys, arguments, is_resp3, pause_at: 0 };
    let kind = (flags, is_function, is_read_only);
    let (ctx, place, request) = (session.ctx, session.client, session.request);
    match session.cluster.run_script(ctx, place, &mut job, kind, request)? {
        Some(reply) => {
            session.out.raw(&reply);
            Ok(Then::Done)
        }
        None => Ok(Then::Script),
    }
}

/// What the flags of a script rule out here and now.
fn check(session: &Session<'_>, flags: ScriptFlags, is_read_only: bool) -> Result<(), Refusal> {
    if flags.is_plain {
        return Ok(());
    }
    let settings = &session.cluster.config.settings;
    if flags.no_cluster && settings.is_cluster {
        return Err(Refusal::text("ERR Can not run script on cluster, 'no-cluster' flag is set."));
    }
    if flags.no_writes {
        return Ok(());
    }
    if is_read_only {
        return Err(Refusal::text("ERR Can not execute a script with write flag using *_ro command."));
    }
    if settings.is_cluster && !session.cluster.is_master(session.id) {
        return Err(Refusal::text("READONLY You can not run script with write flag on readonly replica."));
    }
    if settings.memory_max > 0 && session.cluster.is_short_of_memory && !flags.allow_oom {
        let is_in_transaction = session.cluster.clients.list[session.client].last_command() == "exec";
        return Err(Refusal::text(if is_in_transaction {
            "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'"
        } else {
            OUT_OF_MEMORY
        }));
    }
    session.cluster.check_replication(session.ctx, session.id)?;
    session.cluster.check_disk(session.ctx, session.id)
}

pub(super) fn script_load(session: &mut Session<'_>) -> Answer {
    let code = session.arg(2);
    let digest = digest(code);
    let loaded = session.cluster.with_engine(session.id, |engine| engine.load(digest, code).map(|_| ()))?;
    loaded.map_err(Refusal::text)?;
    session.out.bulk(&digest);
    Ok(Then::Done)
}

pub(super) fn script_exists(session: &mut Session<'_>) -> Answer {
    let digests: Vec<&[u8]> = session.request.tail(2).collect();
    session.out.array(digests.len());
    for digest in digests {
        let engine = session.cluster.scripts.engine(session.id);
        let known = digest.to_ascii_lowercase().try_into().ok().filter(|_| engine.is_some());
        let exists = known.is_some_and(|digest| engine.is_some_and(|engine| engine.script(&digest).is_some()));
        session.out.flag(exists);
    }
    Ok(Then::Done)
}

pub(super) fn script_flush(session: &mut Session<'_>) -> Answer {
    let is_known = match session.request.len() {
        2 => true,
        3 => is(session.arg(2), "SYNC") || is(session.arg(2), "ASYNC"),
        _ => false,
    };
    if !is_known {
        return Err(Refusal::text("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    session.cluster.scripts.forget(session.id);
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn script_kill(session: &mut Session<'_>) -> Answer {
    session.cluster.kill_script(session.id, false)?;
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn script_debug(session: &mut Session<'_>) -> Answer {
    let mode = session.arg(2);
    if is(mode, "NO") {
        session.out.ok();
        return Ok(Then::Done);
    }
    if is(mode, "YES") || is(mode, "SYNC") {
        return Err(Refusal::text("ERR SCRIPT DEBUG is not supported: there is no debugger"));
    }
    Err(Refusal::text("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
}

pub(super) fn script_help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DEBUG (YES|SYNC|NO)",
        "    Set the debug mode for subsequent scripts executed.",
        "EXISTS <sha1> [<sha1> ...]",
        "    Return information about the existence of the scripts in the script cache.",
        "FLUSH [ASYNC|SYNC]",
        "    Flush the Lua scripts cache. Very dangerous on replicas.",
        "    When called without the optional mode argument, the behavior is determined by the",
        "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
        "    * ASYNC: Asynchronously flush the scripts cache.",
        "    * SYNC: Synchronously flush the scripts cache.",
        "KILL",
        "    Kill the currently executing Lua script.",
        "LOAD <script>",
        "    Load a script into the scripts cache without executing it.",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}
