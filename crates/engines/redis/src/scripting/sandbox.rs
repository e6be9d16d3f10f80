//! The interpreter of an instance, with nothing in it that reaches outside.

use std::rc::Rc;

use mlua::debug::DebugEvent;
use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};

use super::bridge::{Bridge, Failure, Kill, Signal, Wish};
use super::entry::{self, JobPointer};
use super::functions::{self, Register};
use super::{Body, MEMORY_MAX, api, bits, cjson, cmsgpack, convert, number, pack};
use crate::wire::Reply;

/// How many instructions pass between two looks at whether the script has to stop.
const HOOK_PERIOD: u32 = 10_000;
/// How long a pattern may be: the matcher recurses once for each of its items.
const PATTERN_MAX: usize = 8192;
/// After so many scripts the collector is to begin, as in Redis: it would wait until memory has doubled.
const COLLECTOR_PERIOD: u32 = 50;
/// If more than this is in use, after each script.
const UNCOLLECTED_MAX: usize = 16 << 20;
/// How many values `unpack` returns at most: a function of Lua's own has a stack of 8000, with its three arguments.
const RESULTS_MAX: i64 = 7997;
/// How deep coroutines may run inside one another. Each can take a 200 C calls of the script's stack.
const COROUTINES_MAX: usize = 8;

/// The parts of a fresh interpreter.
pub(super) struct Sandbox {
    pub(super) lua: Lua,
    /// Runs the code of a library.
    pub(super) run: Function,
    /// Begins scripts and functions.
    pub(super) starter: Function,
    /// Switches between what a library sees while it is loaded, and what all else sees.
    pub(super) loading: Loading,
    pub(super) register: Register,
}

/// What all code sees as its globals, and what it may see. No Lua runs when it is switched: that fails once it was ended.
#[derive(Clone)]
pub(super) struct Loading {
    shown: Table,
    globals: Table,
    loadable: Table,
}

impl Loading {
    /// Shows only what registers functions, or everything again.
    pub(super) fn switch(&self, is_on: bool) -> mlua::Result<()> {
        self.shown.raw_set("__index", if is_on { &self.loadable } else { &self.globals })
    }
}

pub(super) fn build(bridge: &Rc<Bridge>) -> mlua::Result<Sandbox> {
    let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
    let lua = Lua::new_with(libraries, LuaOptions::new())?;
    lua.set_memory_limit(MEMORY_MAX)?;
    let (register, register_function) = functions::register(&lua)?;
    let limits = lua.create_table()?;
    limits.set("pattern", PATTERN_MAX)?;
    limits.set("coroutines", COROUTINES_MAX)?;
    limits.set("results", RESULTS_MAX)?;
    let chunk = lua.load(include_str!("sandbox.lua")).set_name("=sandbox");
    let natives = natives(&lua, bridge)?;
    natives.set("register_function", register_function)?;
    let failed = natives.get("failed")?;
    type Parts = (Table, Table, Table, Table, Function);
    let (env, globals, loading, depth, run): Parts = chunk.call((natives, limits))?;
    lua.set_globals(env)?;
    let watched = Rc::clone(bridge);
    lua.set_global_hook(hook_triggers(HOOK_PERIOD), move |lua, debug| watch(lua, &watched, debug.event()))?;
    let loading =
        Loading { shown: loading.get("shown")?, globals: loading.get("globals")?, loadable: loading.get("loadable")? };
    let starter = entry::starter(&lua, &failed, &globals, &depth)?;
    Ok(Sandbox { lua, run, starter, loading, register })
}

fn hook_triggers(period: u32) -> HookTriggers {
    HookTriggers::new().every_nth_instruction(period)
}

/// Stops a script that was killed, and asks the core about one that goes on for long.
fn watch(lua: &Lua, bridge: &Rc<Bridge>, _event: DebugEvent) -> mlua::Result<VmState> {
    if bridge.killed.get().is_none() {
        let executed = bridge.instructions.get() + u64::from(HOOK_PERIOD);
        bridge.instructions.set(executed);
        if executed >= bridge.pause_at.get() {
            if bridge.is_inside() {
                bridge.wish(Wish::Pause);
            } else {
                bridge.kill(Kill::Loading);
            }
        }
    }
    let Some(kill) = bridge.killed.get() else { return Ok(VmState::Continue) };
    // From now on it fails at each instruction, or it would catch the error and go on.
    let watched = Rc::clone(bridge);
    lua.set_global_hook(hook_triggers(1), move |lua, debug| watch(lua, &watched, debug.event()))?;
    Err(mlua::Error::runtime(kill.message()))
}

/// After a script has ended: as before the first.
pub(super) fn reset(lua: &Lua, bridge: &Rc<Bridge>) {
    let used = lua.used_memory();
    let ended = bridge.ended.get() + 1;
    bridge.ended.set(ended % COLLECTOR_PERIOD);
    if ended == COLLECTOR_PERIOD || used > UNCOLLECTED_MAX {
        // This starts it even if a script has stopped it, and makes it begin at once.
        lua.gc_restart();
    }
    if used > MEMORY_MAX / 2 {
        // Lua 5.1 collects when memory has doubled, which is too late here.
        let _ = lua.gc_collect();
    }
    if bridge.killed.take().is_some() {
        let watched = Rc::clone(bridge);
        // What fails here fails for want of memory, and the next script will say so.
        let _ = lua.set_global_hook(hook_triggers(HOOK_PERIOD), move |lua, debug| watch(lua, &watched, debug.event()));
    }
}

fn natives(lua: &Lua, bridge: &Rc<Bridge>) -> mlua::Result<Table> {
    let natives = lua.create_table()?;
    natives.set("redis", api::library(lua, bridge)?)?;
    natives.set("math", random(lua, bridge)?)?;
    natives.set("rep", lua.create_function(repeat)?)?;
    natives.set("unpacked", lua.create_function(unpacked)?)?;
    natives.set("bit", bits::library(lua)?)?;
    natives.set("cjson", cjson::library(lua)?)?;
    natives.set("cmsgpack", cmsgpack::library(lua)?)?;
    natives.set("struct", pack::library(lua)?)?;
    natives.set("describe", lua.create_function(|lua, error: Value| lua.create_string(describe(&error)))?)?;
    let watched = Rc::clone(bridge);
    let failed = move |lua: &Lua, error: Value| {
        *watched.failure.borrow_mut() = Some(Failure { message: message(&error), place: place(lua) });
        Ok(())
    };
    natives.set("failed", lua.create_function(failed)?)?;
    Ok(natives)
}

/// What a function of ours failed with.
fn root(error: &mlua::Error) -> &mlua::Error {
    let mut error = error;
    while let mlua::Error::CallbackError { cause, .. } = error {
        error = cause.as_ref();
    }
    error
}

/// The text of an error that is no table.
pub(super) fn describe(error: &Value) -> Vec<u8> {
    match error {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Error(error) => match root(error) {
            mlua::Error::RuntimeError(text) => text.clone().into_bytes(),
            mlua::Error::MemoryError(_) => b"not enough memory".to_vec(),
            error if error.downcast_ref::<Coded>().is_some() => error.to_string().into_bytes(),
            other => other.to_string().lines().next().unwrap_or_default().as_bytes().to_vec(),
        },
        Value::Nil => b"nil".to_vec(),
        Value::Boolean(flag) => flag.to_string().into_bytes(),
        Value::Integer(number) => number::format_general(*number as f64, 14).into_bytes(),
        Value::Number(number) => number::format_general(*number, 14).into_bytes(),
        other => format!("{}: {:p}", other.type_name(), other.to_pointer()).into_bytes(),
    }
}

/// What the client is told: an error's table says so itself, all else is preceded by `ERR`.
fn message(error: &Value) -> Vec<u8> {
    if let Value::Table(table) = error {
        return match table.raw_get::<Value>("err") {
            Ok(Value::String(text)) => text.as_bytes().to_vec(),
            _ => b"ERR unknown error".to_vec(),
        };
    }
    if let Value::Error(error) = error
        && let Some(coded) = root(error).downcast_ref::<Coded>()
    {
        return coded.0.clone().into_bytes();
    }
    [b"ERR ".as_slice(), &describe(error)].concat()
}

/// Where the script is: its own function that is nearest to what failed.
fn place(lua: &Lua) -> Option<(String, usize)> {
    (1..20).find_map(|level| {
        lua.inspect_stack(level, |debug| {
            let source = debug.source().source.filter(|source| source.starts_with('@'))?.into_owned();
            Some((source, debug.current_line()?))
        })
        .flatten()
    })
}

/// Runs a script, and writes its reply. This is the first function on the script's stack.
pub(super) fn run(
    bridge: &Bridge,
    starter: &Function,
    (job, body, name): (JobPointer, &Body, &str),
    is_resp3: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let result = entry::run(starter, job, body);
    match (result, bridge.failure.take()) {
        (Ok((true, value)), _) => {
            convert::write(&mut Reply::new(&mut out, is_resp3), &value, bridge.is_resp3.get());
        }
        (_, Some(Failure { message, place })) => {
            let place = place.map_or(String::new(), |(source, line)| format!(" script: {name}, on {source}:{line}."));
            let text = String::from_utf8_lossy(&message);
            Reply::new(&mut out, is_resp3).error(&format!("{text}{place}"));
        }
        (Ok((_, value)), None) => {
            let text = String::from_utf8_lossy(&describe(&value)).into_owned();
            Reply::new(&mut out, is_resp3).error(&format!("ERR Error running script {name}, {text}"));
        }
        (Err(error), None) => {
            let text = String::from_utf8_lossy(&describe(&Value::Error(Box::new(error)))).into_owned();
            Reply::new(&mut out, is_resp3).error(&format!("ERR Error running script {name}, {text}"));
        }
    }
    out
}

/// What functions of ours return.
pub(super) type Outcome = mlua::Result<MultiValue>;

/// A function's results.
pub(super) fn results(values: impl IntoIterator<Item = Value>) -> Outcome {
    Ok(values.into_iter().collect())
}

/// A function's failure, preceded by the place that called it, as Lua's own functions have it.
pub(super) fn failure<T>(lua: &Lua, text: impl AsRef<str>) -> mlua::Result<T> {
    let caller = |level: usize| {
        let place = lua.inspect_stack(level, |debug| {
            let source = debug.source().short_src?.into_owned();
            Some(format!("{source}:{}: ", debug.current_line()?))
        });
        place.flatten().unwrap_or_default()
    };
    // What stands between is the sandbox's own.
    let place = Some(caller(1)).filter(|place| !place.starts_with("sandbox:")).unwrap_or_else(|| caller(2));
    Err(mlua::Error::runtime(format!("{place}{}", text.as_ref())))
}

/// An error of Redis, which has its code already: to the client it goes as it is.
#[derive(Debug)]
pub(super) struct Coded(pub(super) String);

impl std::fmt::Display for Coded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Coded {}

/// A number.
pub(super) fn numeric(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// `math.random` and `math.randomseed`: the same numbers in every script, on every machine.
fn random(lua: &Lua, bridge: &Rc<Bridge>) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let state = Rc::clone(bridge);
    let draw = move |lua: &Lua, bounds: MultiValue| {
        let (number, next) = number::next_random(state.random.get());
        let fraction = f64::from(number % i32::MAX) / f64::from(i32::MAX);
        let bound = |index: usize| bounds.get(index).and_then(number_of).map(f64::trunc);
        let (low, high) = match bounds.len() {
            0 => {
                state.random.set(next);
                return results([Value::Number(fraction)]);
            }
            1 => (Some(1.0), bound(0)),
            2 => (bound(0), bound(1)),
            _ => return failure(lua, "wrong number of arguments"),
        };
        let (Some(low), Some(high)) = (low, high) else {
            let position = if low.is_none() || bounds.len() == 1 { 1 } else { 2 };
            return failure(lua, format!("bad argument #{position} to 'random' (number expected)"));
        };
        if low > high {
            return failure(lua, format!("bad argument #{} to 'random' (interval is empty)", bounds.len()));
        }
        state.random.set(next);
        results([Value::Number((fraction * (high - low + 1.0)).floor() + low)])
    };
    library.set("random", lua.create_function(draw)?)?;
    let state = Rc::clone(bridge);
    let seed = move |lua: &Lua, seed: Value| match number_of(&seed) {
        Some(seed) => {
            state.random.set(number::seed(seed as i64 as i32));
            results([])
        }
        None => failure(lua, "bad argument #1 to 'randomseed' (number expected)"),
    };
    library.set("randomseed", lua.create_function(seed)?)?;
    Ok(library)
}

/// `string.rep`, which in Lua's own library goes round once for each repetition, even of nothing.
fn repeat(lua: &Lua, (text, count): (Value, Value)) -> Outcome {
    let Some(text) = bytes(&text) else {
        return failure(lua, format!("bad argument #1 to 'rep' (string expected, got {})", text.type_name()));
    };
    let Some(count) = numeric(&count) else {
        return failure(lua, format!("bad argument #2 to 'rep' (number expected, got {})", count.type_name()));
    };
    let count = if count >= 1.0 { count as usize } else { 0 };
    let length = text.len().saturating_mul(count);
    if length > MEMORY_MAX {
        return failure(lua, "not enough memory");
    }
    results([Value::String(lua.create_string(if length == 0 { Vec::new() } else { text.repeat(count) })?)])
}

/// The arguments of `unpack` as Lua's own may get them: it counts in 32 bits, and a range that is too long for these would
/// write past its stack.
fn unpacked(lua: &Lua, arguments: MultiValue) -> Outcome {
    let list = match arguments.front() {
        Some(Value::Table(list)) => list,
        other => {
            let kind = other.map_or("no value", Value::type_name);
            return failure(lua, format!("bad argument #1 to 'unpack' (table expected, got {kind})"));
        }
    };
    let mut bounds = [1, i64::try_from(list.raw_len()).unwrap_or(i64::MAX)];
    for (index, bound) in bounds.iter_mut().enumerate() {
        let Some(given) = arguments.get(index + 1).filter(|given| !given.is_nil()) else { continue };
        let Some(number) = number_of(given) else {
            let (place, kind) = (index + 2, given.type_name());
            return failure(lua, format!("bad argument #{place} to 'unpack' (number expected, got {kind})"));
        };
        // As Lua reads an `int`.
        *bound = i64::from(number as i64 as i32);
    }
    let [first, last] = bounds;
    if last - first >= RESULTS_MAX {
        return failure(lua, "too many results to unpack");
    }
    results([Value::Table(list.clone()), Value::Number(first as f64), Value::Number(last as f64)])
}

/// The bytes of a string, or of a number as Lua prints it.
pub(super) fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number::format_general(*number as f64, 14).into_bytes()),
        Value::Number(number) => Some(number::format_general(*number, 14).into_bytes()),
        _ => None,
    }
}

/// A number, or one that a string spells.
pub(super) fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        Value::String(text) => std::str::from_utf8(&text.as_bytes()).ok()?.trim().parse().ok(),
        _ => None,
    }
}

/// What a command is asked to do by a script is signalled this way.
pub(super) fn is_refused(signal: Signal) -> bool {
    signal == Signal::Refused
}
