//! RESP → values of Lua: <https://redis.io/docs/latest/develop/interact/programmability/lua-api/#data-type-conversion>.
//!
//! They are made with Lua's own interface, because a handle for each of them costs more than the value.

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};

/// How many places of Lua's stack a value takes beside those of what is in it.
const PLACES: c_int = 8;

/// Pushes the value of one reply of the core, and moves `rest` behind the reply. It is ours, and so always whole.
///
/// # Safety
///
/// Lua leaves this by a jump if it has no memory: it has to be called by Lua, or in a protected call, and nothing that is to
/// be dropped may stand between.
pub(super) unsafe fn push(state: *mut lua_State, rest: &mut &[u8]) {
    let Some((&kind, after)) = rest.split_first() else {
        // SAFETY: as the caller says.
        return unsafe { ffi::lua_pushboolean(state, 0) };
    };
    let end = memchr::memchr(b'\r', after).unwrap_or(after.len());
    let line = &after[..end];
    *rest = after.get(end + 2..).unwrap_or_default();
    let number = || crate::state::parse_integer(line).unwrap_or(-1);
    // SAFETY: the stack has room for what is pushed here, or `lua_checkstack` makes it; all else as the caller says.
    unsafe {
        match kind {
            b':' => ffi::lua_pushnumber(state, number() as f64),
            b'$' => match usize::try_from(number()) {
                Ok(length) => push_bytes(state, take(rest, length)),
                Err(_) => ffi::lua_pushboolean(state, 0),
            },
            b'#' => ffi::lua_pushboolean(state, c_int::from(line == b"t")),
            b'*' | b'>' | b'+' | b'-' | b',' | b'(' | b'=' | b'|' | b'%' | b'~'
                if ffi::lua_checkstack(state, PLACES) != 0 =>
            {
                match kind {
                    b'*' | b'>' => push_array(state, number(), rest),
                    b'+' => push_wrapped(state, b"ok", |state| push_bytes(state, line)),
                    b'-' => push_wrapped(state, b"err", |state| push_bytes(state, line)),
                    b'(' => push_wrapped(state, b"big_number", |state| push_bytes(state, line)),
                    b',' => push_wrapped(state, b"double", |state| ffi::lua_pushnumber(state, double(line))),
                    b'=' => {
                        let text = take(rest, usize::try_from(number()).unwrap_or(0));
                        push_wrapped(state, b"verbatim_string", |state| push_verbatim(state, text));
                    }
                    // An attribute is passed over: scripts see what follows it.
                    b'|' => {
                        for _ in 0..number().saturating_mul(2) {
                            push(state, rest);
                            ffi::lua_settop(state, -2);
                        }
                        push(state, rest);
                    }
                    b'%' => push_wrapped(state, b"map", |state| push_keyed(state, true, number(), rest)),
                    _ => push_wrapped(state, b"set", |state| push_keyed(state, false, number(), rest)),
                }
            }
            _ => ffi::lua_pushnil(state),
        }
    }
}

fn double(line: &[u8]) -> f64 {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (bytes, after) = rest.split_at(length.min(rest.len()));
    *rest = after.get(2..).unwrap_or_default();
    bytes
}

/// # Safety
///
/// That of [`push`].
pub(super) unsafe fn push_bytes(state: *mut lua_State, bytes: &[u8]) {
    // SAFETY: Lua copies the bytes.
    unsafe { ffi::lua_pushlstring_(state, bytes.as_ptr().cast(), bytes.len()) }
}

/// A table with one field.
///
/// # Safety
///
/// That of [`push`]. `push_value` pushes one value.
unsafe fn push_wrapped(state: *mut lua_State, field: &[u8], push_value: impl FnOnce(*mut lua_State)) {
    // SAFETY: as the caller says.
    unsafe {
        ffi::lua_createtable(state, 0, 1);
        push_bytes(state, field);
        push_value(state);
        ffi::lua_rawset(state, -3);
    }
}

/// # Safety
///
/// That of [`push`].
unsafe fn push_verbatim(state: *mut lua_State, text: &[u8]) {
    // SAFETY: as the caller says.
    unsafe {
        ffi::lua_createtable(state, 0, 2);
        push_bytes(state, b"format");
        push_bytes(state, text.get(..3).unwrap_or_default());
        ffi::lua_rawset(state, -3);
        push_bytes(state, b"string");
        push_bytes(state, text.get(4..).unwrap_or_default());
        ffi::lua_rawset(state, -3);
    }
}

/// # Safety
///
/// That of [`push`].
unsafe fn push_array(state: *mut lua_State, length: i64, rest: &mut &[u8]) {
    // SAFETY: as the caller says.
    unsafe {
        let Some(length) = c_int::try_from(length).ok().filter(|length| *length >= 0) else {
            return ffi::lua_pushboolean(state, 0);
        };
        ffi::lua_createtable(state, length.min(1024), 0);
        for index in 1..=length {
            push(state, rest);
            ffi::lua_rawseti_(state, -2, index);
        }
    }
}

/// A map's table, or a set's, whose members are its keys.
///
/// # Safety
///
/// That of [`push`].
unsafe fn push_keyed(state: *mut lua_State, is_map: bool, length: i64, rest: &mut &[u8]) {
    // SAFETY: as the caller says.
    unsafe {
        ffi::lua_createtable(state, 0, 0);
        for _ in 0..length {
            push(state, rest);
            match is_map {
                true => push(state, rest),
                false => ffi::lua_pushboolean(state, 1),
            }
            match ffi::lua_type(state, -2) {
                ffi::LUA_TNIL => ffi::lua_settop(state, -3),
                _ => ffi::lua_rawset(state, -3),
            }
        }
    }
}
