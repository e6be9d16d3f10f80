//! Lua: scripts and functions as Redis 7.2 runs them.
//!
//! - [`Engine`]: one instance's interpreter, its script cache and, while one runs, its script.
//! - `sandbox.rs` and `sandbox.lua`: what scripts see as their globals; libraries are `cjson.rs`, `cmsgpack.rs`,
//!   `bits.rs` and `pack.rs`.
//! - `bridge.rs`: how a script reaches the core. A script runs on a stack of its own, and asking for a command is
//!   leaving that stack: the core executes it and comes back with the reply. So a script can be left alone in the
//!   middle of anything, and a slow one is, whenever its share of instructions is used up; until it ends, others are
//!   answered BUSY.
//! - `entry.rs`: how a script begins, and `redis.call`.
//! - `reply.rs` and `convert.rs`: RESP → values of Lua, and back.
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
mod entry;
mod functions;
mod number;
mod pack;
mod reply;
mod sandbox;
mod shebang;
mod texts;

use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use foldhash::fast::FixedState;
use indexmap::IndexMap;
use mlua::{Function, Lua};

pub(crate) use bridge::{Kill, Signal, Wish};
pub(crate) use functions::{FunctionEntry, FunctionInfo, Libraries, Library, metadata as library_metadata};
pub(crate) use shebang::{ScriptFlags, Shebang, flags_of as script_flags};

use bridge::Bridge;
use entry::JobPointer;
use texts::Texts;

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
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) flags: ScriptFlags,
    /// Its digest, as errors name it.
    pub(crate) name: Rc<str>,
    size: usize,
    body: Function,
}

/// What is to be run.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Script(Rc<Script>),
    Function(Rc<FunctionEntry>),
}

/// A script or function with its keys and arguments.
pub(crate) struct Job<'a> {
    pub(crate) body: Body,
    /// What an error calls it: the digest, or the function's name.
    pub(crate) name: Rc<str>,
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
    scripts: IndexMap<Digest, Rc<Script>, FixedState>,
    texts: Texts,
    scripts_size: usize,
    /// Functions by name, as loaded from the data set's libraries.
    pub(crate) functions: IndexMap<String, Rc<FunctionEntry>>,
    /// Which version of the data set's libraries that is.
    pub(crate) functions_version: u64,
    pub(crate) bridge: Rc<Bridge>,
    /// Runs the code of a library.
    run: Function,
    /// Begins scripts and functions.
    starter: Rc<Function>,
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
            scripts: IndexMap::default(),
            texts: Texts::default(),
            scripts_size: 0,
            functions: IndexMap::new(),
            functions_version: 0,
            bridge,
            run: sandbox.run,
            starter: Rc::new(sandbox.starter),
            loading: sandbox.loading,
            register: sandbox.register,
            lua: sandbox.lua,
        })
    }

    /// The script of this digest, if it is in the cache.
    pub(crate) fn script(&self, digest: &Digest) -> Option<&Rc<Script>> {
        self.scripts.get(digest)
    }

    /// The script of this text, if it is in the cache.
    pub(crate) fn script_of(&self, code: &[u8]) -> Option<&Rc<Script>> {
        self.scripts.get(&self.texts.digest(code))
    }

    /// The script of this text, which is put into the cache. The error is what the client is told.
    pub(crate) fn evaluated(&mut self, code: &[u8]) -> Result<&Rc<Script>, String> {
        let digest = self.texts.keep(code);
        self.load(digest, code)
    }

    /// Puts a script into the cache. The error is what the client is told.
    pub(crate) fn load(&mut self, digest: Digest, code: &[u8]) -> Result<&Rc<Script>, String> {
        if !self.scripts.contains_key(&digest) {
            let (flags, code) = shebang::script(code)?;
            let body = self
                .compile(&code, "@user_script")
                .map_err(|error| format!("ERR Error compiling script (new function): {}", error.trim_end()))?;
            let name = String::from_utf8_lossy(&digest).into();
            let script = Rc::new(Script { flags, name, size: code.len(), body });
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

    /// Runs a script until it wants something or ends. [`Engine::resume`] goes on with it.
    pub(crate) fn begin(&mut self, job: &Job<'_>) -> Result<Turn, String> {
        let Some(stack) = self.stack.take() else {
            return Err(format!("ERR Error running script {}, a script is running", job.name));
        };
        self.bridge.begin(job.pause_at);
        let (bridge, starter) = (Rc::clone(&self.bridge), Rc::clone(&self.starter));
        // The job itself is looked at before the script's first instruction, and so before this returns.
        let (pointer, body, name, is_resp3) =
            (JobPointer::new(job), job.body.clone(), Rc::clone(&job.name), job.is_resp3);
        self.fiber = Some(Coroutine::with_stack(stack, move |yielder, _| {
            bridge.inside(yielder, || sandbox::run(&bridge, &starter, (pointer, &body, &name), is_resp3))
        }));
        Ok(self.resume(Signal::Go))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script whose commands are all answered with `reply`.
    fn evaluate(engine: &mut Engine, code: &[u8], reply: &[u8]) -> Vec<u8> {
        let script = Rc::clone(engine.evaluated(code).expect("it compiles"));
        let (name, keys) = (Rc::clone(&script.name), vec![b"x".as_slice()]);
        let body = Body::Script(script);
        let job = Job { body, name, keys, arguments: Vec::new(), is_resp3: false, pause_at: INSTRUCTIONS_MAX };
        let mut turn = engine.begin(&job).expect("no other script runs");
        loop {
            match turn {
                Turn::End(reply) => return reply,
                Turn::Wish(_) => {
                    reply.clone_into(&mut engine.bridge.reply.borrow_mut());
                    turn = engine.resume(Signal::Go);
                }
            }
        }
    }

    #[test]
    fn what_scripts_leave_is_collected_before_it_is_much() {
        let mut engine = Engine::new().expect("there is memory");
        assert_eq!(evaluate(&mut engine, b"collectgarbage('stop')", b""), b"$-1\r\n");
        for _ in 0..10_000 {
            assert_eq!(evaluate(&mut engine, b"return redis.call('incr', KEYS[1])", b":1\r\n"), b":1\r\n");
        }
        let used = engine.usage().1;
        assert!(used < 100 << 10, "{used} bytes are in use");
    }

    #[test]
    fn replies_too_large_for_a_look_beforehand_are_made_all_the_same() {
        let mut engine = Engine::new().expect("there is memory");
        let long = [b"*2\r\n$100000\r\n".as_slice(), &[b'a'; 100_000], b"\r\n*1\r\n:7\r\n"].concat();
        let code = b"local reply = redis.call('x') return {#reply[1], reply[2]}";
        assert_eq!(evaluate(&mut engine, code, &long), b"*2\r\n:100000\r\n*1\r\n:7\r\n");
    }
}
