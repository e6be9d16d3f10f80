//! XGROUP: groups of consumers and their consumers: <https://redis.io/docs/latest/commands/xgroup/>.

use super::streams::{id, id_or_end, read, write};
use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Group, Stream, StreamId, Value};

const NO_KEY: &str = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
                      MKSTREAM option to create an empty stream automatically.";

/// The options of CREATE and SETID.
struct Options {
    makes_stream: bool,
    entries_read: Option<u64>,
}

fn bad_arguments(call: &Call<'_>) -> Refusal {
    let name = String::from_utf8_lossy(call.arg(1));
    Refusal::text(format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try XGROUP HELP."))
}

fn options(call: &Call<'_>, creates: bool) -> Result<Options, Refusal> {
    let (mut options, mut index) = (Options { makes_stream: false, entries_read: None }, 5);
    while let Some(word) = call.request.get(index) {
        if creates && is(word, "MKSTREAM") {
            options.makes_stream = true;
            index += 1;
        } else if is(word, "ENTRIESREAD") && call.request.get(index + 1).is_some() {
            let number = call.integer(index + 1)?;
            if number < -1 {
                return Err(Refusal::text("ERR value for ENTRIESREAD must be positive or -1"));
            }
            options.entries_read = u64::try_from(number).ok();
            index += 2;
        } else {
            return Err(bad_arguments(call));
        }
    }
    Ok(options)
}

/// The group has to be there.
fn check_group(call: &mut Call<'_>) -> Result<(), Refusal> {
    let (key, name) = (call.arg(2), call.arg(3));
    let stream = read(call, key)?.ok_or(Refusal::text(NO_KEY))?;
    if stream.group(name).is_none() {
        return Err(no_group(key, name));
    }
    Ok(())
}

pub(super) fn no_group(key: &[u8], name: &[u8]) -> Refusal {
    Refusal::text(format!(
        "NOGROUP No such consumer group '{}' for key name '{}'",
        String::from_utf8_lossy(name),
        String::from_utf8_lossy(key)
    ))
}

/// XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read], since 5.0.
pub(super) fn create(call: &mut Call<'_>) -> Answer {
    let options = options(call, true)?;
    let (key, name) = (call.arg(2), call.arg(3));
    let last = read(call, key)?.map(|stream| stream.last_id);
    if last.is_none() && !options.makes_stream {
        return Err(Refusal::text(NO_KEY));
    }
    if call.request.len() > 8 {
        return Err(bad_arguments(call));
    }
    let start = match call.arg(4) {
        b"$" => last.unwrap_or(StreamId::MIN),
        text => id(text, 0)?,
    };
    let Some(Value::Stream(stream)) = call.db.write_or_insert(key, || Value::Stream(Box::default())) else {
        return Err(Refusal::WrongType);
    };
    if !stream.add_group(name, Group::new(start, options.entries_read)) {
        return Err(Refusal::text("BUSYGROUP Consumer Group name already exists"));
    }
    if last.is_none() {
        call.db.changed(key);
    } else {
        call.db.changed_group(key);
    }
    call.out.ok();
    Ok(Then::Done)
}

/// XGROUP SETID key group id|$ [ENTRIESREAD entries-read], since 5.0.
pub(super) fn setid(call: &mut Call<'_>) -> Answer {
    let options = options(call, false)?;
    check_group(call)?;
    let (key, name, text) = (call.arg(2), call.arg(3), call.arg(4));
    let last = read(call, key)?.map_or(StreamId::MIN, |stream| stream.last_id);
    let start = if text == b"$" { last } else { id_or_end(text, 0)? };
    if let Some(group) = write(call, key)?.and_then(|stream| stream.group_mut(name)) {
        group.last_id = start;
        group.entries_read = options.entries_read;
    }
    call.db.changed_group(key);
    call.out.ok();
    Ok(Then::Done)
}

/// XGROUP DESTROY key group, since 5.0. Whoever waits for the group is told.
pub(super) fn destroy(call: &mut Call<'_>) -> Answer {
    let (key, name) = (call.arg(2), call.arg(3));
    if read(call, key)?.is_none() {
        return Err(Refusal::text(NO_KEY));
    }
    let is_removed = write(call, key)?.is_some_and(|stream: &mut Stream| stream.remove_group(name));
    if is_removed {
        call.db.changed(key);
    }
    call.out.flag(is_removed);
    Ok(Then::Done)
}

/// XGROUP CREATECONSUMER key group consumer, since 6.2.
pub(super) fn createconsumer(call: &mut Call<'_>) -> Answer {
    check_group(call)?;
    let (key, name, consumer) = (call.arg(2), call.arg(3), call.arg(4));
    // While the append-only file is read there is no present time.
    let now_ms = call.db.now_ms.max(0);
    let group = write(call, key)?.and_then(|stream| stream.group_mut(name));
    let is_new = group.is_some_and(|group| group.add_consumer(consumer, now_ms));
    if is_new {
        call.db.changed_group(key);
    }
    call.out.flag(is_new);
    Ok(Then::Done)
}

/// XGROUP DELCONSUMER key group consumer, since 5.0.
pub(super) fn delconsumer(call: &mut Call<'_>) -> Answer {
    check_group(call)?;
    let (key, name, consumer) = (call.arg(2), call.arg(3), call.arg(4));
    let group = write(call, key)?.and_then(|stream| stream.group_mut(name));
    let pending = group.and_then(|group| group.remove_consumer(consumer));
    if pending.is_some() {
        call.db.changed_group(key);
    }
    call.out.count(pending.unwrap_or(0));
    Ok(Then::Done)
}

/// XGROUP HELP, since 5.0.
pub(super) fn help(call: &mut Call<'_>) -> Answer {
    super::keys::reply_help(
        call,
        &[
            "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
            "CREATE <key> <groupname> <id|$> [option]",
            "    Create a new consumer group. Options are:",
            "    * MKSTREAM",
            "      Create the empty stream if it does not exist.",
            "    * ENTRIESREAD entries_read",
            "      Set the group's entries_read counter (internal use).",
            "CREATECONSUMER <key> <groupname> <consumer>",
            "    Create a new consumer in the specified group.",
            "DELCONSUMER <key> <groupname> <consumer>",
            "    Remove the specified consumer.",
            "DESTROY <key> <groupname>",
            "    Remove the specified group.",
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            "    Set the current group ID and entries_read counter.",
            "HELP",
            "    Print this help.",
        ],
    );
    Ok(Then::Done)
}
