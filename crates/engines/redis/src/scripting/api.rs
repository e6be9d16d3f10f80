//! `redis.*`: <https://redis.io/docs/latest/develop/interact/programmability/lua-api/>.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::bridge::{Bridge, Wish};
use super::sandbox::{Coded, bytes, is_refused, numeric, results};
use super::{convert, entry, reply};
use crate::VERSION;

const NO_ARGUMENTS: &str = "Please specify at least one argument for this redis lib call";
const BAD_ARGUMENT: &str = "Lua redis lib command arguments must be strings or integers";
const OUTSIDE: &str = "redis.call/pcall can only be called inside a script invocation";
const WRONG_ARGUMENTS: &str = "wrong number or type of arguments";

/// The library.
pub(super) fn library(lua: &Lua, bridge: &Rc<Bridge>) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    for (name, value) in [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_SLAVE", 2),
        ("REPL_REPLICA", 2),
        ("REPL_ALL", 3),
        ("REDIS_VERSION_NUM", version_number()),
    ] {
        library.set(name, value)?;
    }
    library.set("REDIS_VERSION", VERSION)?;
    // There is no debugger, so nothing stops here and nothing is printed.
    library.set("breakpoint", lua.create_function(|_, _: MultiValue| results([Value::Boolean(false)]))?)?;
    library.set("debug", lua.create_function(|_, _: MultiValue| results([]))?)?;
    // Scripts have replicated their effects ever since Redis 7.
    library.set("replicate_commands", lua.create_function(|_, _: MultiValue| results([Value::Boolean(true)]))?)?;
    let error_reply = |lua: &Lua, arguments: MultiValue| match one_string(&arguments) {
        Some(text) => {
            // Without a code of its own, the first word is one.
            let text = if text.first() == Some(&b'-') { text } else { [b"-".as_slice(), &text].concat() };
            results([error_table(lua, &text)?])
        }
        None => results([error_table(lua, WRONG_ARGUMENTS.as_bytes())?]),
    };
    library.set("error_reply", lua.create_function(error_reply)?)?;
    let status_reply = |lua: &Lua, arguments: MultiValue| match one_string(&arguments) {
        Some(text) => {
            let table = lua.create_table()?;
            table.raw_set("ok", lua.create_string(text)?)?;
            results([Value::Table(table)])
        }
        None => results([error_table(lua, WRONG_ARGUMENTS.as_bytes())?]),
    };
    library.set("status_reply", lua.create_function(status_reply)?)?;
    library.set("call", invoke(lua, bridge, true)?)?;
    library.set("pcall", invoke(lua, bridge, false)?)?;
    add_refusing(lua, bridge, &library)?;
    Ok(library)
}

fn version_number() -> i64 {
    VERSION.split('.').fold(0, |number, part| number << 8 | part.parse::<i64>().unwrap_or(0))
}

fn one_string(arguments: &MultiValue) -> Option<Vec<u8>> {
    match (arguments.len(), arguments.front()) {
        (1, Some(Value::String(text))) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

/// An error as scripts see it.
fn error_table(lua: &Lua, text: &[u8]) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set("err", lua.create_string(coded(text))?)?;
    Ok(Value::Table(table))
}

/// The text of an error with its code: `-CODE text`, or a text that is given the code `ERR`.
fn coded(text: &[u8]) -> Vec<u8> {
    let trimmed = text.trim_ascii_end();
    match trimmed.strip_prefix(b"-") {
        Some(line) if line.contains(&b' ') => line.to_vec(),
        Some(line) => [b"ERR ".as_slice(), line].concat(),
        None => [b"ERR ".as_slice(), trimmed].concat(),
    }
}

/// Raises an error of Redis.
pub(super) fn refuse<T>(text: &[u8]) -> mlua::Result<T> {
    Err(mlua::Error::external(Coded(String::from_utf8_lossy(&coded(text)).into_owned())))
}

/// Puts the arguments into the bridge as a request. What is wrong with them, if they are none.
fn put_request(bridge: &Bridge, arguments: &MultiValue) -> Result<(), &'static str> {
    if arguments.is_empty() {
        return Err(NO_ARGUMENTS);
    }
    let mut request = bridge.request.borrow_mut();
    request.clear();
    for value in arguments {
        if !convert::argument(value, |bytes| request.push(bytes)) {
            return Err(BAD_ARGUMENT);
        }
    }
    Ok(())
}

/// Executes a command: what `redis.call` and `redis.pcall` have in common. An error is raised, or returned as a table.
fn invoke(lua: &Lua, bridge: &Rc<Bridge>, raises: bool) -> mlua::Result<Function> {
    let fail = move |lua: &Lua, text: &[u8], is_counted: bool| {
        if raises {
            return refuse(text);
        }
        let error = error_table(lua, text)?;
        if let Value::Table(table) = &error
            && is_counted
        {
            table.raw_set("ignore_error_stats_update", true)?;
        }
        Ok(error)
    };
    let state = Rc::clone(bridge);
    let complain = move |lua: &Lua, arguments: MultiValue| {
        let text = match state.is_inside() {
            false => OUTSIDE,
            true if arguments.is_empty() => NO_ARGUMENTS,
            true => BAD_ARGUMENT,
        };
        fail(lua, text.as_bytes(), false)
    };
    let state = Rc::clone(bridge);
    let answer = move |lua: &Lua, ()| {
        if let Some(kill) = state.killed.get() {
            return refuse(kill.message().as_bytes());
        }
        let reply = state.reply.borrow();
        if reply.first() == Some(&b'-') {
            // The command has counted it already.
            return fail(lua, &reply, true);
        }
        // SAFETY: this is a protected call, and it owns nothing.
        unsafe { lua.exec_raw((), |state| reply::push(state, &mut reply.as_slice())) }
    };
    entry::caller(lua, bridge, lua.create_function(complain)?, lua.create_function(answer)?)
}

/// Adds the functions that raise errors of Redis.
fn add_refusing(lua: &Lua, bridge: &Rc<Bridge>, library: &Table) -> mlua::Result<()> {
    let sha1hex = |lua: &Lua, arguments: MultiValue| match (arguments.len(), arguments.front().and_then(bytes)) {
        (1, text) => {
            let digest = super::digest(&text.unwrap_or_default());
            Ok(Value::String(lua.create_string(digest)?))
        }
        _ => refuse(b"wrong number of arguments"),
    };
    library.set("sha1hex", lua.create_function(sha1hex)?)?;
    library.set("log", lua.create_function(log)?)?;
    let state = Rc::clone(bridge);
    let setresp = move |_: &Lua, arguments: MultiValue| match (arguments.len(), arguments.front()) {
        (1, Some(version)) => match numeric(version) {
            Some(version @ (2.0 | 3.0)) => {
                state.is_resp3.set(version == 3.0);
                Ok(Value::Nil)
            }
            _ => refuse(b"RESP version must be 2 or 3."),
        },
        _ => refuse(b"redis.setresp() requires one argument."),
    };
    library.set("setresp", lua.create_function(setresp)?)?;
    let state = Rc::clone(bridge);
    let set_repl = move |_: &Lua, arguments: MultiValue| match (arguments.len(), arguments.front()) {
        (1, Some(flags)) => match numeric(flags) {
            Some(flags @ 0.0..=3.0) => {
                state.replication.set(flags as u8);
                Ok(Value::Nil)
            }
            _ => refuse(b"Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."),
        },
        _ => refuse(b"redis.set_repl() requires two arguments."),
    };
    library.set("set_repl", lua.create_function(set_repl)?)?;
    let state = Rc::clone(bridge);
    let may_execute = move |_: &Lua, arguments: MultiValue| {
        if let Err(text) = put_request(&state, &arguments) {
            return refuse(text.as_bytes());
        }
        let is_allowed = !is_refused(state.wish(Wish::MayExecute));
        // An answer in words says that there is no such command.
        let complaint = state.reply.borrow();
        if complaint.is_empty() { Ok(Value::Boolean(is_allowed)) } else { refuse(&complaint) }
    };
    library.set("acl_check_cmd", lua.create_function(may_execute)?)?;
    Ok(())
}

/// Atoll keeps no log of a server: the message is checked, and goes nowhere.
fn log(_: &Lua, arguments: MultiValue) -> mlua::Result<Value> {
    if arguments.len() < 2 {
        return refuse(b"redis.log() requires two arguments or more.");
    }
    match arguments.front().and_then(numeric) {
        None => refuse(b"First argument must be a number (log level)."),
        Some(0.0..=3.0) => Ok(Value::Nil),
        Some(_) => refuse(b"Invalid debug level."),
    }
}
