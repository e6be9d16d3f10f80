//! Libraries of functions: what a data set holds of them, and how an interpreter loads them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use corosensei::on_stack;
use indexmap::IndexMap;
use mlua::{Function, Lua, MultiValue, Table, Value};

use super::bridge::Bridge;
use super::sandbox::Loading;
use super::{Engine, INSTRUCTIONS_PER_MS, ScriptFlags, Shebang, api, sandbox};

/// How long the code of a library may run when it is loaded.
const LOAD_MS_MAX: u64 = 500;
const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                        character long";

/// A function that a library has registered.
#[derive(Clone, Debug)]
pub(crate) struct FunctionEntry {
    pub(crate) flags: ScriptFlags,
    pub(crate) description: Option<Vec<u8>>,
    pub(crate) body: Function,
}

/// A library as a data set holds it: its code, and what it is known to register.
#[derive(Clone, Debug)]
pub(crate) struct Library {
    pub(crate) code: Vec<u8>,
    pub(crate) functions: BTreeMap<String, FunctionInfo>,
}

/// What FUNCTION LIST shows of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionInfo {
    pub(crate) description: Option<Vec<u8>>,
    pub(crate) flags: ScriptFlags,
}

/// The libraries of a data set. Interpreters load them when they see that the version is another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Libraries {
    /// 0: there are none and never were.
    pub(crate) version: u64,
    pub(crate) list: BTreeMap<String, Library>,
}

impl Libraries {
    pub(crate) fn functions_count(&self) -> usize {
        self.list.values().map(|library| library.functions.len()).sum()
    }

    /// The first function of `functions` that another library than `library` has.
    pub(crate) fn collision<'f>(
        &self,
        library: &str,
        functions: impl IntoIterator<Item = &'f String>,
    ) -> Option<&'f String> {
        let others: Vec<&Library> =
            self.list.iter().filter(|(name, _)| *name != library).map(|(_, other)| other).collect();
        let has = |library: &&Library, name: &str| library.functions.keys().any(|own| own.eq_ignore_ascii_case(name));
        functions.into_iter().find(|function| others.iter().any(|other| has(other, function)))
    }
}

/// The name of a library, from its first line; and its code.
pub(crate) fn metadata(code: &[u8]) -> Result<(String, &[u8]), String> {
    if !code.starts_with(b"#!") {
        return Err("ERR Missing library metadata".to_owned());
    }
    let shebang = Shebang::parse(code).ok_or("ERR Invalid library metadata")?;
    let mut name = None;
    for word in &shebang.words {
        match word.split_first_chunk::<5>() {
            Some((word, _)) if word.eq_ignore_ascii_case(b"name=") && name.is_some() => {
                return Err("ERR Invalid metadata value, name argument was given multiple times".to_owned());
            }
            Some((word, given)) if word.eq_ignore_ascii_case(b"name=") => {
                name = Some(String::from_utf8_lossy(given).into_owned());
            }
            _ => return Err(format!("ERR Invalid metadata value given: {}", String::from_utf8_lossy(word))),
        }
    }
    let name = name.ok_or("ERR Library name was not given")?;
    if !is_name(name.as_bytes()) {
        return Err(format!("ERR {BAD_NAME}"));
    }
    if !shebang.engine.eq_ignore_ascii_case(b"lua") {
        return Err(format!("ERR Engine '{}' not found", String::from_utf8_lossy(&shebang.engine)));
    }
    Ok((name, shebang.rest))
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

impl Engine {
    /// Runs the code of a library and says which functions it registers. The error is what the client is told.
    pub(crate) fn load_library(&mut self, code: &[u8]) -> Result<IndexMap<String, FunctionEntry>, String> {
        let body =
            self.compile(code, "@user_function").map_err(|error| format!("ERR Error compiling function: {error}"))?;
        let Some(mut stack) = self.stack.take() else { return Err("ERR a script is running".to_owned()) };
        self.bridge.begin(LOAD_MS_MAX * INSTRUCTIONS_PER_MS);
        let bridge = Rc::clone(&self.bridge);
        let (driver, loading, register) = (self.run.clone(), self.loading.clone(), Rc::clone(&self.register));
        let loaded = on_stack(&mut stack, || load(&bridge, &driver, &loading, &register, body));
        self.stack = Some(stack);
        sandbox::reset(&self.lua, &self.bridge);
        let registered = loaded.map_err(|error| format!("ERR Error registering functions: {error}"))?;
        if registered.is_empty() {
            return Err("ERR No functions registered".to_owned());
        }
        let entry = |(name, registered): (String, Registered)| {
            let Registered { description, flags, body } = registered;
            (name, FunctionEntry { flags, description, body })
        };
        Ok(registered.into_iter().map(entry).collect())
    }

    /// Makes the functions those of these libraries. They were loaded before, so what fails now is left out.
    pub(crate) fn follow(&mut self, libraries: &Libraries) {
        if self.functions_version == libraries.version {
            return;
        }
        self.functions_version = libraries.version;
        self.functions.clear();
        for library in libraries.list.values() {
            if let Ok((_, code)) = metadata(&library.code)
                && let Ok(functions) = self.load_library(code)
            {
                // They are called by their names in any case.
                let functions = functions.into_iter();
                self.functions.extend(functions.map(|(name, entry)| (name.to_ascii_lowercase(), Rc::new(entry))));
            }
        }
    }
}

/// What `redis.register_function` was given.
#[derive(Clone)]
pub(super) struct Registered {
    description: Option<Vec<u8>>,
    flags: ScriptFlags,
    body: Function,
}

/// What the library that is being loaded has registered so far. None: no library is being loaded.
pub(super) type Register = Rc<RefCell<Option<IndexMap<String, Registered>>>>;

fn load(
    bridge: &Bridge,
    driver: &Function,
    loading: &Loading,
    register: &Register,
    body: Function,
) -> Result<IndexMap<String, Registered>, String> {
    let switch = |is_on: bool| loading.switch(is_on).map_err(|error| error.to_string());
    *register.borrow_mut() = Some(IndexMap::new());
    switch(true)?;
    let result: mlua::Result<(bool, Value)> = driver.call(body);
    let registered = register.take().unwrap_or_default();
    switch(false)?;
    match (result, bridge.failure.take()) {
        (Ok((true, _)), _) => Ok(registered),
        (_, Some(failure)) => Err(String::from_utf8_lossy(&failure.message).into_owned()),
        (Ok((_, value)), None) => Err(String::from_utf8_lossy(&sandbox::describe(&value)).into_owned()),
        (Err(error), None) => Err(error.to_string()),
    }
}

/// `redis.register_function`, and where it puts what it is given.
pub(super) fn register(lua: &Lua) -> mlua::Result<(Register, Function)> {
    let register = Register::default();
    let shared = Rc::clone(&register);
    let function = move |_: &Lua, arguments: MultiValue| {
        let mut register = shared.borrow_mut();
        // A function may have kept it.
        let Some(list) = register.as_mut() else {
            return api::refuse(b"redis.register_function can only be called on FUNCTION LOAD command");
        };
        match registration(&arguments) {
            Ok((name, _)) if list.contains_key(&name) => api::refuse(b"Function already exists in the library"),
            Ok((name, registered)) => {
                list.insert(name, registered);
                Ok(())
            }
            Err(complaint) => api::refuse(complaint.as_bytes()),
        }
    };
    Ok((register, lua.create_function(function)?))
}

fn registration(arguments: &MultiValue) -> Result<(String, Registered), &'static str> {
    let (name, registered) = match (arguments.len(), arguments.front(), arguments.get(1)) {
        (1, Some(Value::Table(named)), _) => from_named(named)?,
        (1, ..) => {
            return Err("calling redis.register_function with a single argument is only applicable to Lua table \
                        (representing named arguments).");
        }
        (2, Some(name), Some(body)) => {
            let name = sandbox::bytes(name).ok_or("first argument to redis.register_function must be a string")?;
            let Value::Function(body) = body else {
                return Err("second argument to redis.register_function must be a function");
            };
            (name, Registered { description: None, flags: ScriptFlags::default(), body: body.clone() })
        }
        _ => return Err("wrong number of arguments to redis.register_function"),
    };
    if !is_name(&name) {
        return Err(BAD_NAME);
    }
    Ok((String::from_utf8_lossy(&name).into_owned(), registered))
}

fn from_named(named: &Table) -> Result<(Vec<u8>, Registered), &'static str> {
    let (mut name, mut body, mut description, mut flags) = (None, None, None, ScriptFlags::default());
    for pair in named.pairs::<Value, Value>() {
        let Ok((key, value)) = pair else { continue };
        let Value::String(key) = key else {
            return Err("named argument key given to redis.register_function is not a string");
        };
        match &*key.as_bytes() {
            b"function_name" => {
                let given = sandbox::bytes(&value);
                name = Some(given.ok_or("function_name argument given to redis.register_function must be a string")?);
            }
            b"description" => {
                let given = sandbox::bytes(&value);
                description =
                    Some(given.ok_or("description argument given to redis.register_function must be a string")?);
            }
            b"callback" => match value {
                Value::Function(given) => body = Some(given),
                _ => return Err("callback argument given to redis.register_function must be a function"),
            },
            b"flags" => match value {
                Value::Table(given) => flags = flags_of(&given)?,
                _ => {
                    return Err(
                        "flags argument to redis.register_function must be a table representing function flags",
                    );
                }
            },
            _ => return Err("unknown argument given to redis.register_function"),
        }
    }
    let name = name.ok_or("redis.register_function must get a function name argument")?;
    let body = body.ok_or("redis.register_function must get a callback argument")?;
    Ok((name, Registered { description, flags, body }))
}

fn flags_of(list: &Table) -> Result<ScriptFlags, &'static str> {
    let mut flags = ScriptFlags::default();
    for index in 1.. {
        match list.raw_get::<Value>(index) {
            Ok(Value::String(flag)) if flags.set(&flag.as_bytes()) => {}
            Ok(Value::Nil) | Err(_) => break,
            Ok(_) => return Err("unknown flag given"),
        }
    }
    Ok(flags)
}
