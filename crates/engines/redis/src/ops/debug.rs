//! DEBUG as test suites use it; `debug_values.rs` has what looks at keys. Whatever would crash Redis on purpose is not here.

use std::time::Duration;

use super::debug_values as values;
use super::{Answer, Session, Then, is};
use crate::error::Refusal;
use crate::ops::glob::{glob_matches, glob_matches_any_case};
use crate::state::parse_integer;

const NO_DEBUG: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run \
                        it from a local connection, otherwise you need to set this option in the configuration file, and \
                        then restart the server.";

/// What DEBUG has switched, for the whole cluster.
#[derive(Debug)]
pub(crate) struct Switches {
    /// SET-ACTIVE-EXPIRE, PAUSE-CRON: keys expire though nobody asks for them.
    pub(crate) expires_actively: bool,
    pub(crate) has_cron: bool,
    /// SET-DISABLE-DENY-SCRIPTS: scripts may call what they may not.
    pub(crate) scripts_call_all: bool,
    /// SET-SKIP-CHECKSUM-VALIDATION: RESTORE believes its payload.
    pub(crate) skips_checksums: bool,
}

impl Default for Switches {
    fn default() -> Switches {
        Switches { expires_actively: true, has_cron: true, scripts_call_all: false, skips_checksums: false }
    }
}

pub(super) fn debug(session: &mut Session<'_>) -> Answer {
    if !session.allows("enable-debug-command") {
        return Err(Refusal::text(NO_DEBUG));
    }
    let (word, arguments) = (session.arg(1), session.request.len() - 2);
    match arguments {
        0 if is(word, "HELP") => help(session),
        0 if is(word, "DIGEST") => values::digest(session),
        0 if is(word, "LOADAOF") => values::load_log(session),
        0 if is(word, "CONFIG-REWRITE-FORCE-ALL") => {
            Err(Refusal::text("ERR CONFIG-REWRITE-FORCE-ALL failed: No such file or directory"))
        }
        0 if is(word, "STRINGMATCH-TEST") => match_at_random(session),
        _ if is(word, "RELOAD") => values::reload(session),
        _ if is(word, "DIGEST-VALUE") => values::digest_value(session),
        1 if is(word, "OBJECT") => values::object(session),
        1 if is(word, "SDSLEN") => values::lengths(session),
        1 if is(word, "LISTPACK") => values::is_listpack(session),
        1 | 2 if is(word, "QUICKLIST") => values::is_quicklist(session),
        1..=3 if is(word, "POPULATE") => values::populate(session),
        1 | 2 if is(word, "HTSTATS") => values::tables(session),
        1 | 2 if is(word, "HTSTATS-KEY") => values::table_of_key(session),
        1 if is(word, "SLEEP") => sleep(session),
        1 if is(word, "ERROR") => Err(Refusal::text(String::from_utf8_lossy(session.arg(2)).into_owned())),
        1 if is(word, "PROTOCOL") => protocol(session),
        1 if is(word, "QUICKLIST-PACKED-THRESHOLD") => packed_threshold(session),
        2 if is(word, "STRINGMATCH-LEN") => {
            let matches = glob_matches(session.arg(2), session.arg(3));
            session.out.flag(matches);
            Ok(Then::Done)
        }
        2 if is(word, "REPLYBUFFER") => reply_buffer(session),
        1 => switch(session),
        _ => Err(unknown(session)),
    }
}

pub(super) fn unknown(session: &Session<'_>) -> Refusal {
    let word = String::from_utf8_lossy(session.arg(1)).into_owned();
    let command = String::from_utf8_lossy(session.arg(0)).to_ascii_uppercase();
    Refusal::text(format!("ERR unknown subcommand or wrong number of arguments for '{word}'. Try {command} HELP."))
}

/// Numbers as C reads them: up to the first byte that is no digit.
fn leading_number(text: &[u8]) -> i64 {
    let digits = text.iter().skip(usize::from(text.starts_with(b"-"))).take_while(|byte| byte.is_ascii_digit()).count();
    let length = digits + usize::from(text.starts_with(b"-"));
    std::str::from_utf8(&text[..length]).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn switch(session: &mut Session<'_>) -> Answer {
    let (word, is_on) = (session.arg(1), leading_number(session.arg(2)) != 0);
    let switches = &mut session.cluster.switches;
    match word {
        word if is(word, "SET-ACTIVE-EXPIRE") => switches.expires_actively = is_on,
        word if is(word, "PAUSE-CRON") => switches.has_cron = !is_on,
        word if is(word, "SET-DISABLE-DENY-SCRIPTS") => switches.scripts_call_all = is_on,
        word if is(word, "SET-SKIP-CHECKSUM-VALIDATION") => switches.skips_checksums = is_on,
        _ => return Err(unknown(session)),
    }
    session.out.ok();
    Ok(Then::Done)
}

/// The server does nothing for so long, its cluster bus included.
fn sleep(session: &mut Session<'_>) -> Answer {
    let text = String::from_utf8_lossy(session.arg(2));
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0).unwrap_or(0.0);
    let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    if time.is_zero() {
        session.out.ok();
        return Ok(Then::Done);
    }
    session.cluster.fall_asleep(session.ctx, session.id, time);
    Ok(Then::Sleep { time })
}

/// A value of each type of RESP.
#[allow(clippy::approx_constant, reason = "the digits that Redis answers, which only look like those of pi")]
fn protocol(session: &mut Session<'_>) -> Answer {
    let name = String::from_utf8_lossy(session.arg(2)).to_ascii_lowercase();
    let out = &mut session.out;
    let is_resp3 = out.is_resp3();
    match name.as_str() {
        "string" => out.bulk(b"Hello World"),
        "integer" => out.integer(12345),
        "double" => out.double(3.141),
        "bignum" if is_resp3 => out.raw(b"(1234567999999999999999999999999999999\r\n"),
        "bignum" => out.bulk(b"1234567999999999999999999999999999999"),
        "null" => out.null(),
        "array" | "set" => {
            if name == "set" {
                out.set(3)
            } else {
                out.array(3)
            }
            (0..3).for_each(|number| out.integer(number));
        }
        "map" => {
            out.map(3);
            for number in 0..3 {
                out.integer(number);
                boolean(out, number == 1);
            }
        }
        "attrib" => {
            if is_resp3 {
                out.raw(b"|1\r\n");
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.integer(90);
            }
            out.bulk(b"Some real reply following the attribute");
        }
        "push" if !is_resp3 => return Err(Refusal::text("ERR RESP2 is not supported by this command")),
        "push" => {
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.integer(42);
            out.bulk(b"Some real reply following the push reply");
        }
        "true" => boolean(out, true),
        "false" => boolean(out, false),
        "verbatim" => out.verbatim("This is a verbatim\nstring"),
        _ => {
            return Err(Refusal::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(Then::Done)
}

/// Patterns and strings of a few random letters, each compared in both ways.
fn match_at_random(session: &mut Session<'_>) -> Answer {
    const ROUNDS: usize = 100_000;
    const LETTERS: &[u8] = b"ab*?[]^-\\ ";
    let random = &mut session.cluster.random;
    for _ in 0..ROUNDS {
        let mut word = || -> Vec<u8> {
            let length = random.below(32);
            (0..length).filter_map(|_| random.pick(LETTERS).copied()).collect()
        };
        let (pattern, text) = (word(), word());
        glob_matches(&pattern, &text);
        glob_matches_any_case(&pattern, &text);
    }
    session.out.simple("Apparently Redis did not crash: test passed");
    Ok(Then::Done)
}

fn boolean(out: &mut crate::wire::Reply<'_>, value: bool) {
    match (out.is_resp3(), value) {
        (true, true) => out.raw(b"#t\r\n"),
        (true, false) => out.raw(b"#f\r\n"),
        (false, value) => out.flag(value),
    }
}

/// Lists are not made of nodes here: the threshold is checked, and changes nothing that a client could see.
fn packed_threshold(session: &mut Session<'_>) -> Answer {
    const THRESHOLD_MAX: u64 = 1 << 32;
    let text = String::from_utf8_lossy(session.arg(2));
    match crate::config::memory(&text) {
        Some(bytes) if bytes < THRESHOLD_MAX => session.out.ok(),
        _ => return Err(Refusal::text("ERR argument must be a memory value bigger than 1 and smaller than 4gb")),
    }
    Ok(Then::Done)
}

/// Buffers of replies are the server's own: there is nothing to resize.
fn reply_buffer(session: &mut Session<'_>) -> Answer {
    let (what, value) = (session.arg(2), session.arg(3));
    let is_time = is(what, "PEAK-RESET-TIME")
        && (is(value, "NEVER") || is(value, "RESET") || parse_integer(value).is_some_and(|time| time >= 0));
    if !is_time && !is(what, "RESIZING") {
        return Err(unknown(session));
    }
    session.out.ok();
    Ok(Then::Done)
}

fn help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DIGEST",
        "    Output a hex signature representing the current DB content.",
        "DIGEST-VALUE <key> [<key> ...]",
        "    Output a hex signature of the values of all the specified keys.",
        "ERROR <string>",
        "    Return a Redis protocol error with <string> as message.",
        "HTSTATS <dbid> [full]",
        "    Return hash table statistics of the specified Redis database.",
        "HTSTATS-KEY <key> [full]",
        "    Like HTSTATS but for the hash table stored at <key>'s value.",
        "LISTPACK <key>",
        "    Tell whether <key> has the listpack encoding.",
        "LOADAOF",
        "    Reload what the AOF holds.",
        "OBJECT <key>",
        "    Show low level info about `key` and associated value.",
        "PAUSE-CRON <0|1>",
        "    Stop periodic cron job processing.",
        "POPULATE <count> [<prefix>] [<size>]",
        "    Create <count> string keys named key:<num>.",
        "PROTOCOL <type>",
        "    Reply with a test value of the specified type.",
        "QUICKLIST <key> [<0|1>]",
        "    Tell whether <key> has the quicklist encoding.",
        "QUICKLIST-PACKED-THRESHOLD <size>",
        "    Sets the threshold for elements to be inserted as plain vs packed nodes.",
        "RELOAD [option ...]",
        "    Bring every value into the form in which an RDB file holds it, and back.",
        "REPLYBUFFER (PEAK-RESET-TIME <NEVER|RESET|time>|RESIZING <0|1>)",
        "    Control the reply buffers.",
        "SDSLEN <key>",
        "    Show low level string info representing `key` and value.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Setting it to 0 disables expiring keys in background when they are not accessed.",
        "SET-DISABLE-DENY-SCRIPTS <0|1>",
        "    Setting it to 1 lets scripts call commands that they may not.",
        "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
        "    Enables or disables checksum checks for RESTORE's payload.",
        "SLEEP <seconds>",
        "    Stop the server for <seconds>. Decimals allowed.",
        "STRINGMATCH-LEN <pattern> <string>",
        "    Tell whether <string> matches the glob-like <pattern>.",
        "STRINGMATCH-TEST",
        "    Run a test of patterns.",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}
