//! What each script passes through, written against Lua's own interface: how a script begins, and `redis.call`. A handle
//! for each value that passes here costs more than all else.
//!
//! Lua leaves its functions by a jump if one fails. So nothing that is to be dropped is held here while Lua is asked for
//! anything that may fail.

use std::ffi::c_int;
use std::rc::Rc;

use mlua::ffi::{self, lua_State, lua_upvalueindex};
use mlua::{Function, LightUserData, Lua, Table, Value};

use super::bridge::{Bridge, Wish};
use super::{Body, Job, MEMORY_MAX, number, reply};

/// What is smaller than this is made without a look at how much memory is left, if there was much before.
const SMALL: usize = 1 << 20;

/// True if what takes about `size` bytes cannot fail for want of memory.
///
/// # Safety
///
/// It is a state of Lua.
unsafe fn has_room(state: *mut lua_State, size: usize) -> bool {
    // SAFETY: asking for a number changes nothing.
    let used_kib = unsafe { ffi::lua_gc(state, ffi::LUA_GCCOUNT, 0) };
    size <= SMALL && usize::try_from(used_kib).is_ok_and(|used| (used << 10) + SMALL <= MEMORY_MAX)
}

/// The function that begins scripts and functions. `failed` is called with an error where it happens; `depth` counts how many
/// coroutines are inside one another.
pub(super) fn starter(lua: &Lua, failed: &Function, globals: &Table, depth: &Table) -> mlua::Result<Function> {
    let upvalues = (failed, globals, depth, lua.create_string("KEYS")?, lua.create_string("ARGV")?);
    // SAFETY: the five upvalues that `start` expects are on the stack, and the closure takes their place.
    unsafe { lua.exec_raw(upvalues, |state| ffi::lua_pushcclosure(state, start, 5)) }
}

/// Begins a script or function, and says how it ended: whether well, and with what.
pub(super) fn run(starter: &Function, job: JobPointer, body: &Body) -> mlua::Result<(bool, Value)> {
    let function = match body {
        Body::Script(script) => &script.body,
        Body::Function(entry) => &entry.body,
    };
    starter.call((job.0, function))
}

/// A job that is alive until its script begins.
#[derive(Clone, Copy)]
pub(super) struct JobPointer(LightUserData);

impl JobPointer {
    pub(super) fn new(job: &Job<'_>) -> JobPointer {
        JobPointer(LightUserData(std::ptr::from_ref(job).cast_mut().cast()))
    }
}

/// Arguments: a [`JobPointer`], and the function to be called.
unsafe extern "C-unwind" fn start(state: *mut lua_State) -> c_int {
    const FAILED: c_int = lua_upvalueindex(1);
    const GLOBALS: c_int = lua_upvalueindex(2);
    const DEPTH: c_int = lua_upvalueindex(3);
    const NAMES: [c_int; 2] = [lua_upvalueindex(4), lua_upvalueindex(5)];
    // SAFETY: only `run` calls this, with these arguments, while the job is alive: it is not looked at once the script has
    // begun. A function of Lua has twenty free places on its stack.
    unsafe {
        let job = &*ffi::lua_touserdata(state, 1).cast::<Job<'_>>();
        let lists = [&job.keys, &job.arguments];
        ffi::lua_pushvalue(state, FAILED);
        ffi::lua_insert(state, 1);
        ffi::lua_pushnumber(state, 0.0);
        ffi::lua_rawseti_(state, DEPTH, 1);
        let is_script = matches!(job.body, Body::Script(_));
        for (name, list) in NAMES.into_iter().zip(lists) {
            ffi::lua_pushvalue(state, name);
            match is_script {
                true => push_list(state, list),
                false => ffi::lua_pushnil(state),
            }
            ffi::lua_rawset(state, GLOBALS);
        }
        if !is_script {
            for list in lists {
                push_list(state, list);
            }
        }
        let status = ffi::lua_pcall(state, if is_script { 0 } else { 2 }, 1, 1);
        ffi::lua_pushboolean(state, c_int::from(status == ffi::LUA_OK));
        ffi::lua_insert(state, -2);
        2
    }
}

/// # Safety
///
/// Called by Lua, with three free places on its stack.
unsafe fn push_list(state: *mut lua_State, list: &[&[u8]]) {
    // SAFETY: as the caller says.
    unsafe {
        ffi::lua_createtable(state, c_int::try_from(list.len()).unwrap_or(0), 0);
        for (index, item) in (1..).zip(list) {
            reply::push_bytes(state, item);
            ffi::lua_rawseti_(state, -2, index);
        }
    }
}

/// `redis.call` or `redis.pcall`. What is wrong with its arguments is left to `complain`, which is called with them; what is
/// no plain reply to `answer`.
pub(super) fn caller(lua: &Lua, bridge: &Rc<Bridge>, complain: Function, answer: Function) -> mlua::Result<Function> {
    let bridge = LightUserData(Rc::as_ptr(bridge).cast_mut().cast());
    // SAFETY: the three upvalues that `call` expects are on the stack, and the closure takes their place. The other two
    // functions own the bridge too, and live as long as the closure.
    unsafe { lua.exec_raw((bridge, complain, answer), |state| ffi::lua_pushcclosure(state, call, 3)) }
}

unsafe extern "C-unwind" fn call(state: *mut lua_State) -> c_int {
    const BRIDGE: c_int = lua_upvalueindex(1);
    const COMPLAIN: c_int = lua_upvalueindex(2);
    const ANSWER: c_int = lua_upvalueindex(3);
    // SAFETY: the upvalues are those of `caller`. Nobody writes the reply until the script asks for the next command.
    unsafe {
        let bridge = &*ffi::lua_touserdata(state, BRIDGE).cast::<Bridge>();
        if !bridge.is_inside() || !take_request(state, bridge) {
            ffi::lua_pushvalue(state, COMPLAIN);
            ffi::lua_insert(state, 1);
            ffi::lua_call(state, ffi::lua_gettop(state) - 1, 1);
            return 1;
        }
        bridge.wish(Wish::Execute);
        ffi::lua_settop(state, 0);
        let mut reply: &[u8] = &*bridge.reply.as_ptr();
        let is_plain = bridge.killed.get().is_none() && reply.first() != Some(&b'-');
        // An element of a reply is three bytes at least, and some forty as a value of Lua.
        if is_plain && has_room(state, reply.len() * 16) {
            reply::push(state, &mut reply);
        } else {
            ffi::lua_pushvalue(state, ANSWER);
            ffi::lua_call(state, 0, 1);
        }
        1
    }
}

/// Puts the arguments into the bridge as a request. False if they are none.
///
/// # Safety
///
/// Called by Lua.
unsafe fn take_request(state: *mut lua_State, bridge: &Bridge) -> bool {
    let mut request = bridge.request.borrow_mut();
    request.clear();
    // SAFETY: none of these functions fails, and the bytes of a string stay where they are while it is on the stack.
    unsafe {
        let count = ffi::lua_gettop(state);
        for index in 1..=count {
            match ffi::lua_type(state, index) {
                ffi::LUA_TSTRING => {
                    let mut length = 0;
                    let bytes = ffi::lua_tolstring(state, index, &mut length);
                    request.push(std::slice::from_raw_parts(bytes.cast(), length));
                }
                ffi::LUA_TNUMBER => number::spell(ffi::lua_tonumber(state, index), |digits| request.push(digits)),
                _ => return false,
            }
        }
        count > 0
    }
}
