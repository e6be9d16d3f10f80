//! The first line of a script or of a library: `#!lua name=… flags=…`.

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
    pub(crate) engine: &'a [u8],
    pub(crate) words: Vec<&'a [u8]>,
    /// The code from the end of the line on, its line break included, so that lines keep their numbers.
    pub(crate) rest: &'a [u8],
}

impl<'a> Shebang<'a> {
    /// Takes the first line apart. None if it is none, or does not end.
    pub(crate) fn parse(code: &'a [u8]) -> Option<Shebang<'a>> {
        let line = code.strip_prefix(b"#!")?;
        let end = memchr::memchr(b'\n', line)?;
        let mut words = line[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let engine = words.next().unwrap_or_default();
        Some(Shebang { engine, words: words.collect(), rest: &line[end..] })
    }
}

/// The flags of a script, and its code without the first line.
pub(super) fn script(code: &[u8]) -> Result<(ScriptFlags, Vec<u8>), String> {
    if !code.starts_with(b"#!") {
        return Ok((ScriptFlags { is_plain: true, ..ScriptFlags::default() }, code.to_vec()));
    }
    let shebang = Shebang::parse(code).ok_or("ERR Invalid script shebang")?;
    if shebang.engine != b"lua" {
        return Err(format!("ERR Unexpected engine in script shebang: #!{}", String::from_utf8_lossy(shebang.engine)));
    }
    let mut flags = ScriptFlags::default();
    for word in shebang.words {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err(format!("ERR Unknown lua shebang option: {}", String::from_utf8_lossy(word)));
        };
        for flag in list.split(|byte| *byte == b',').filter(|flag| !flag.is_empty()) {
            if !flags.set(flag) {
                return Err(format!("ERR Unexpected flag in script shebang: {}", String::from_utf8_lossy(flag)));
            }
        }
    }
    Ok((flags, shebang.rest.to_vec()))
}
