//! The first line of a script or of a library: `#!lua name=… flags=…`.

use crate::wire::split_line;

/// What a script may do, by the flags of its first line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScriptFlags {
    pub(crate) no_writes: bool,
    pub(crate) allow_oom: bool,
    pub(crate) allow_stale: bool,
    pub(crate) no_cluster: bool,
    pub(crate) allow_cross_slot_keys: bool,
    /// A script without such a line: what it may do is seen when it does it.
    pub(crate) is_plain: bool,
}

impl ScriptFlags {
    /// The flags by their names; for lists as well.
    const NAMES: [&'static str; 5] = ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];

    /// Sets the flag of this name. False if there is none.
    pub(crate) fn set(&mut self, name: &[u8]) -> bool {
        let flag = match name {
            b"no-writes" => &mut self.no_writes,
            b"allow-oom" => &mut self.allow_oom,
            b"allow-stale" => &mut self.allow_stale,
            b"no-cluster" => &mut self.no_cluster,
            b"allow-cross-slot-keys" => &mut self.allow_cross_slot_keys,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// The names of the flags that are set.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let set = [self.no_writes, self.allow_oom, self.allow_stale, self.no_cluster, self.allow_cross_slot_keys];
        Self::NAMES.into_iter().zip(set).filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
    }
}

/// The parts of the line: the engine, and the words after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shebang<'a> {
    /// What is joined to the `#!`.
    pub(crate) engine: Vec<u8>,
    /// They may be quoted, as in a line of redis.conf.
    pub(crate) words: Vec<Vec<u8>>,
    /// The code from the end of the line on, its line break included, so that lines keep their numbers.
    pub(crate) rest: &'a [u8],
}

impl<'a> Shebang<'a> {
    /// Takes the first line apart. None if it is none, does not end, or has a quote that does not.
    pub(crate) fn parse(code: &'a [u8]) -> Option<Shebang<'a>> {
        let end = memchr::memchr(b'\n', code)?;
        let mut words = split_line(&code[..end])?.into_iter();
        let engine = words.next()?.strip_prefix(b"#!")?.to_vec();
        Some(Shebang { engine, words: words.collect(), rest: &code[end..] })
    }
}

/// The flags that a script's first line gives it, if it is one that can be run.
pub(crate) fn flags_of(code: &[u8]) -> Option<ScriptFlags> {
    script(code).ok().map(|(flags, _)| flags)
}

/// The flags of a script, and its code without the first line.
pub(super) fn script(code: &[u8]) -> Result<(ScriptFlags, Vec<u8>), String> {
    if !code.starts_with(b"#!") {
        return Ok((ScriptFlags { is_plain: true, ..ScriptFlags::default() }, code.to_vec()));
    }
    let shebang = Shebang::parse(code).ok_or("ERR Invalid script shebang")?;
    if shebang.engine != b"lua" {
        return Err(format!("ERR Unexpected engine in script shebang: #!{}", String::from_utf8_lossy(&shebang.engine)));
    }
    let mut flags = ScriptFlags::default();
    for word in shebang.words {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err(format!("ERR Unknown lua shebang option: {}", String::from_utf8_lossy(&word)));
        };
        for flag in list.split(|byte| *byte == b',').filter(|_| !list.is_empty()) {
            if !flags.set(flag) {
                return Err(format!("ERR Unexpected flag in script shebang: {}", String::from_utf8_lossy(flag)));
            }
        }
    }
    Ok((flags, shebang.rest.to_vec()))
}
