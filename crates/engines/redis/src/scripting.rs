//! Lua: scripts and functions as Redis 7.2 runs them.
//!
//! - [`Engine`]: one instance's interpreter, its script cache and, while one runs, its script.
//! - `sandbox.rs` and `sandbox.lua`: what scripts see as their globals; libraries are `cjson.rs`, `cmsgpack.rs`,
//!   `bits.rs` and `pack.rs`.
//! - `bridge.rs`: how a script reaches the core. A script runs on a stack of its own, and asking for a command is
//!   leaving that stack: the core executes it and comes back with the reply. So a script can be left alone in the
//!   middle of anything, and a slow one is, whenever its share of instructions is used up; until it ends, others are
//!   answered BUSY.
//! - `convert.rs`: values of Lua ↔ RESP.
//!
//! What bounds a script: memory ([`MEMORY_MAX`]), the depth of calls, and instructions. Time is counted in
//! instructions ([`INSTRUCTIONS_PER_MS`]), because a core has no clock that moves during a call, and because runs of the
//! same seed then end the same.

mod api;
mod bits;
mod bridge;
mod cjson;
mod cjson_decode;
mod cmsgpack;
mod convert;
mod functions;
mod number;
mod pack;
mod sandbox;
mod shebang;

use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use indexmap::IndexMap;
use mlua::{Function, Lua, Table};

pub(crate) use bridge::{Kill, Signal, Wish};
pub(crate) use functions::{FunctionEntry, FunctionInfo, Libraries, Library, metadata as library_metadata};
pub(crate) use shebang::{ScriptFlags, Shebang, flags_of as script_flags};

use bridge::Bridge;

/// What all scripts of an instance may hold, in bytes.
pub(crate) const MEMORY_MAX: usize = 512 << 20;
/// How many instructions count as a millisecond.
pub(crate) const INSTRUCTIONS_PER_MS: u64 = 100_000;
/// How many a slow script gets at a time, while others are answered BUSY in between.
pub(crate) const SLICE: u64 = 500_000;
/// Where a script ends that cannot be left alone: inside MULTI, or with `lua-time-limit 0`. A minute's worth.
pub(crate) const INSTRUCTIONS_MAX: u64 = 60_000 * INSTRUCTIONS_PER_MS;
/// Scripts whose source is longer than this all together make the oldest of them leave the cache.
const CACHE_SIZE_MAX: usize = 64 << 20;
/// What a string in a table takes beyond its bytes, about.
const ITEM_SIZE: usize = 64;
/// The stack of a script. Only what is used of it takes memory.
const STACK_SIZE: usize = 32 << 20;

/// A script's 40 hexadecimal digits.
pub(crate) type Digest = [u8; 40];

/// The SHA-1 of a script, as EVALSHA names it.
pub(crate) fn digest(code: &[u8]) -> Digest {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bytes = sha1_smol::Sha1::from(code).digest().bytes();
    let mut digest = [0; 40];
    for (pair, byte) in digest.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    digest
}

/// A script in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) flags: ScriptFlags,
    size: usize,
    body: Function,
}

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Script(Script),
    Function(Function),
}

/// A script or function with its keys and arguments.
pub(crate) struct Job<'a> {
    pub(crate) body: Body,
    /// What an error calls it: the digest, or the function's name.
    pub(crate) name: String,
    pub(crate) keys: Vec<&'a [u8]>,
    pub(crate) arguments: Vec<&'a [u8]>,
    /// The version of RESP that the client's reply is to be in.
    pub(crate) is_resp3: bool,
    /// After how many instructions the core is asked what to do.
    pub(crate) pause_at: u64,
}

/// How a turn of a script ended.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It wants something of the core.
    Wish(Wish),
    /// It has ended, with this reply.
    End(Vec<u8>),
}

type Fiber = Coroutine<Signal, Wish, Vec<u8>, DefaultStack>;

/// The interpreter of one instance.
pub(crate) struct Engine {
    // The order matters: a script that is under way ends before the interpreter does.
    fiber: Option<Fiber>,
    stack: Option<DefaultStack>,
    scripts: IndexMap<Digest, Script>,
    scripts_size: usize,
    /// Functions by name, as loaded from the data set's libraries.
    pub(crate) functions: IndexMap<String, FunctionEntry>,
    /// Which version of the data set's libraries that is.
    pub(crate) functions_version: u64,
    pub(crate) bridge: Rc<Bridge>,
    globals: Table,
    run: Function,
    call: Function,
    /// Gives a library what it sees while it is loaded, and takes it away again.
    loading: sandbox::Loading,
    register: functions::Register,
    lua: Lua,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("scripts", &self.scripts.len()).finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.bridge.kill(Kill::Silent);
        while self.fiber.is_some() {
            if let Turn::Wish(_) = self.resume(Signal::Refused) {
                self.bridge.kill(Kill::Silent);
            }
        }
    }
}

impl Engine {
    /// A fresh interpreter. The error is the operating system's or Lua's: there is no memory for one.
    pub(crate) fn new() -> Result<Engine, String> {
        let bridge = Rc::new(Bridge::default());
        let sandbox = sandbox::build(&bridge).map_err(|error| error.to_string())?;
        let stack = DefaultStack::new(STACK_SIZE).map_err(|error| error.to_string())?;
        Ok(Engine {
            fiber: None,
            stack: Some(stack),
            scripts: IndexMap::new(),
            scripts_size: 0,
            functions: IndexMap::new(),
            functions_version: 0,
            bridge,
            globals: sandbox.globals,
            run: sandbox.run,
            call: sandbox.call,
            loading: sandbox.loading,
            register: sandbox.register,
            lua: sandbox.lua,
        })
    }

    /// The script of this digest, if it is in the cache.
    pub(crate) fn script(&self, digest: &Digest) -> Option<&Script> {
        self.scripts.get(digest)
    }

    /// Puts a script into the cache. The error is what the client is told.
    pub(crate) fn load(&mut self, digest: Digest, code: &[u8]) -> Result<&Script, String> {
        if !self.scripts.contains_key(&digest) {
            let (flags, code) = shebang::script(code)?;
            let body = self
                .compile(&code, "@user_script")
                .map_err(|error| format!("ERR Error compiling script (new function): {}", error.trim_end()))?;
            let script = Script { flags, size: code.len(), body };
            self.scripts_size += script.size;
            while self.scripts_size > CACHE_SIZE_MAX && !self.scripts.is_empty() {
                self.scripts_size -= self.scripts.shift_remove_index(0).map_or(0, |(_, script)| script.size);
            }
            self.scripts.insert(digest, script);
        }
        self.scripts.get(&digest).ok_or_else(|| "ERR Error compiling script (new function): no room".to_owned())
    }

    /// How many scripts are cached, and how many bytes Lua holds.
    pub(crate) fn usage(&self) -> (usize, usize) {
        (self.scripts.len(), self.lua.used_memory())
    }

    fn compile(&self, code: &[u8], name: &str) -> Result<Function, String> {
        if code.first() == Some(&27) {
            return Err(format!("{}:1: unexpected symbol near '<\\27>'", &name[1..]));
        }
        let chunk = self.lua.load(code).set_name(name).set_mode(mlua::chunk::ChunkMode::Text);
        chunk.into_function().map_err(|error| match error {
            mlua::Error::SyntaxError { message, .. } => message,
            other => other.to_string(),
        })
    }

    /// Begins a script. [`Engine::resume`] runs it.
    pub(crate) fn begin(&mut self, job: &Job<'_>) -> Result<(), String> {
        self.begin_prepared(job).map_err(|error| format!("ERR Error running script {}, {error}", job.name))
    }

    fn begin_prepared(&mut self, job: &Job<'_>) -> mlua::Result<()> {
        let size = job.keys.iter().chain(&job.arguments).map(|item| item.len() + ITEM_SIZE).sum();
        let start = sandbox::with_room(&self.lua, size, || self.start(job))?;
        self.bridge.begin(&job.name, job.pause_at);
        let Some(stack) = self.stack.take() else { return Err(mlua::Error::runtime("a script is running")) };
        let (bridge, is_resp3) = (Rc::clone(&self.bridge), job.is_resp3);
        self.fiber = Some(Coroutine::with_stack(stack, move |yielder, _| {
            bridge.inside(yielder, || sandbox::run(&bridge, &start, is_resp3))
        }));
        Ok(())
    }

    /// Puts keys and arguments where the script looks for them.
    fn start(&self, job: &Job<'_>) -> mlua::Result<sandbox::Start> {
        let list = |items: &[&[u8]]| -> mlua::Result<Table> {
            let table = self.lua.create_table_with_capacity(items.len(), 0)?;
            for item in items {
                table.raw_push(self.lua.create_string(item)?)?;
            }
            Ok(table)
        };
        let (keys, arguments) = (list(&job.keys)?, list(&job.arguments)?);
        match &job.body {
            Body::Script(script) => {
                self.globals.raw_set("KEYS", keys)?;
                self.globals.raw_set("ARGV", arguments)?;
                Ok(sandbox::Start { driver: self.run.clone(), body: script.body.clone(), lists: None })
            }
            Body::Function(body) => {
                self.globals.raw_set("KEYS", mlua::Nil)?;
                self.globals.raw_set("ARGV", mlua::Nil)?;
                Ok(sandbox::Start { driver: self.call.clone(), body: body.clone(), lists: Some((keys, arguments)) })
            }
        }
    }

    /// Goes on with the script until it wants something or ends.
    pub(crate) fn resume(&mut self, signal: Signal) -> Turn {
        let Some(fiber) = &mut self.fiber else { return Turn::End(b"_\r\n".to_vec()) };
        match fiber.resume(signal) {
            CoroutineResult::Yield(wish) => Turn::Wish(wish),
            CoroutineResult::Return(reply) => {
                self.stack = self.fiber.take().map(Coroutine::into_stack);
                sandbox::reset(&self.lua, &self.bridge);
                Turn::End(reply)
            }
        }
    }
}
