//! DEBUG's looks at keys and values.

use super::{Answer, Session, Then, is};
use crate::error::Refusal;
use crate::rdb;
use crate::state::{Blob, Db, Entry, Fingerprint, Value, parse_integer};

/// Keys that POPULATE makes at most, and the bytes of a value.
const POPULATED_MAX: i64 = 100_000_000;
const VALUE_MAX: i64 = 512 << 20;

/// What the client's instance has in the client's database.
fn with_db<R>(session: &mut Session<'_>, use_it: impl FnOnce(&mut Db<'_>) -> R) -> Result<R, Refusal> {
    let (id, place) = (session.id, session.client);
    match session.cluster.db(session.ctx, id, Some(place)) {
        Some((mut db, _)) => Ok(use_it(&mut db)),
        None => Err(Refusal::text("LOADING Redis is loading the dataset in memory")),
    }
}

pub(super) fn digest(session: &mut Session<'_>) -> Answer {
    let total = with_db(session, |db| {
        let mut total = Fingerprint::default();
        for index in 0..db.dataset.databases.len() {
            db.index = index;
            if db.len() == 0 {
                continue;
            }
            total.append(&u32::try_from(index).unwrap_or(u32::MAX).to_be_bytes());
            for position in 0..db.positions() {
                let Some((key, entry)) = db.at(position) else { continue };
                let mut fingerprint = Fingerprint::default();
                fingerprint.append(key);
                fingerprint.append_entry(entry);
                total.merge(fingerprint);
            }
        }
        total
    })?;
    session.out.simple(&total.text());
    Ok(Then::Done)
}

pub(super) fn digest_value(session: &mut Session<'_>) -> Answer {
    let keys: Vec<&[u8]> = session.request.tail(2).collect();
    let texts: Vec<String> = with_db(session, |db| {
        let text = |key: &&[u8]| {
            let mut fingerprint = Fingerprint::default();
            if let Some(entry) = db.peek(key) {
                fingerprint.append_entry(entry);
            }
            fingerprint.text()
        };
        keys.iter().map(text).collect()
    })?;
    session.out.array(texts.len());
    texts.iter().for_each(|text| session.out.simple(text));
    Ok(Then::Done)
}

/// Every value goes through the format of RDB files and back, and what has expired is gone. No file is written.
pub(super) fn reload(session: &mut Session<'_>) -> Answer {
    let (mut reads_file, mut keeps, mut merges) = (false, false, false);
    for option in session.request.tail(2) {
        match option {
            word if is(word, "NOSAVE") => reads_file = true,
            word if is(word, "MERGE") => merges = true,
            word if is(word, "NOFLUSH") => keeps = true,
            _ => return Err(Refusal::text("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")),
        }
    }
    const FAILURE: &str = "ERR Error trying to load the RDB dump, check server logs.";
    // What is loaded beside what it came from collides with it, unless there is nothing.
    if reads_file || keeps && !merges && !is_empty(session) {
        return Err(Refusal::text(FAILURE));
    }
    through_file(session, FAILURE)
}

/// True if the instance has neither keys nor functions.
fn is_empty(session: &Session<'_>) -> bool {
    let cluster = &session.cluster;
    let dataset = cluster.instances[session.id].dataset.and_then(|dataset| cluster.datasets.get(dataset));
    dataset.is_none_or(|dataset| {
        dataset.libraries.list.is_empty() && dataset.databases.iter().all(|database| database.len() == 0)
    })
}

pub(super) fn load_log(session: &mut Session<'_>) -> Answer {
    let failure = "ERR Error trying to load the AOF files, check server logs.";
    if !session.cluster.config.settings.has_log {
        return Err(Refusal::text(failure));
    }
    through_file(session, failure)
}

fn through_file(session: &mut Session<'_>, failure: &'static str) -> Answer {
    with_db(session, |db| {
        for index in 0..db.dataset.databases.len() {
            db.index = index;
            let keys: Vec<Blob> = db.keys().cloned().collect();
            for key in keys {
                db.through_file(&key).map_err(|_| Refusal::text(failure))?;
            }
        }
        Ok(())
    })??;
    let now_s = session.ctx.wall(session.cluster.instances[session.id].node).as_millis() / 1000;
    if let Some(dataset) = session.cluster.instances[session.id].dataset {
        let saves = &mut session.cluster.datasets[dataset].saves;
        (saves.changes, saves.succeeded_at_s) = (0, now_s);
    }
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn populate(session: &mut Session<'_>) -> Answer {
    let number = |index: usize, most: i64| match session.integer(index)? {
        number if (0..=most).contains(&number) => Ok(number),
        _ => Err(Refusal::text("ERR value is out of range, must be positive")),
    };
    let count = number(2, POPULATED_MAX)?;
    let size = if session.request.len() == 5 { number(4, VALUE_MAX)? } else { 0 };
    let prefix = session.request.get(3).unwrap_or(b"key");
    with_db(session, |db| {
        for number in 0..count {
            let key = [prefix, b":", number.to_string().as_bytes()].concat();
            if db.exists(&key) {
                continue;
            }
            let mut value = format!("value:{number}").into_bytes();
            if size > 0 {
                value.resize(usize::try_from(size).unwrap_or(0), 0);
            }
            db.set(&key, Value::string(&value));
        }
        db.notices = None;
    })?;
    session.out.ok();
    Ok(Then::Done)
}

fn entry_of<R>(session: &mut Session<'_>, look: impl FnOnce(&Db<'_>, &Entry) -> R) -> Result<R, Refusal> {
    let key = session.arg(2);
    with_db(session, |db| db.peek(key).map(|entry| look(db, entry)))?.ok_or(Refusal::NoSuchKey)
}

/// Values have no address that would mean anything: their place among the keys stands for it.
pub(super) fn object(session: &mut Session<'_>) -> Answer {
    let key = session.arg(2);
    let line = with_db(session, |db| {
        // Whether its time has come or not.
        let entry = db.peek_expired(key)?;
        let place = db.dataset.databases[db.index].find(key).unwrap_or(0) + 1;
        let idle = entry.last_use.idle_s(&db.clock);
        let nodes = match &entry.value {
            Value::List(list) if list.encoding() == "quicklist" => {
                let (nodes, bytes) = list.nodes(db.thresholds);
                format!(
                    " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:0 ql_uncompressed_size:{bytes}",
                    list.len() as f64 / nodes as f64,
                    db.thresholds.list_size_max
                )
            }
            _ => String::new(),
        };
        Some(format!(
            "Value at:0x{place:x} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{idle}{nodes}",
            entry.value.encoding(),
            rdb::value_length(&entry.value, db.compresses),
            entry.last_use.bits(),
        ))
    })?
    .ok_or(Refusal::NoSuchKey)?;
    session.out.simple(&line);
    Ok(Then::Done)
}

/// Strings are exactly as long as they are: nothing is left over behind them.
pub(super) fn lengths(session: &mut Session<'_>) -> Answer {
    let key_length = session.arg(2).len();
    let value_length = entry_of(session, |_, entry| match &entry.value {
        Value::Str { bytes, .. } => Some(bytes.len()),
        _ => None,
    })?;
    let length = value_length.ok_or(Refusal::text("ERR Not an sds encoded string."))?;
    session.out.simple(&format!(
        "key_sds_len:{key_length}, key_sds_avail:0, key_zmalloc: {key_length}, val_sds_len:{length}, val_sds_avail:0, \
         val_zmalloc: {length}"
    ));
    Ok(Then::Done)
}

/// Redis prints the structure where nobody reads it; the answer says only that it is one.
pub(super) fn is_listpack(session: &mut Session<'_>) -> Answer {
    if entry_of(session, |_, entry| entry.value.encoding())? != "listpack" {
        return Err(Refusal::text("ERR Not a listpack encoded object."));
    }
    session.out.simple("Listpack structure printed on stdout");
    Ok(Then::Done)
}

pub(super) fn is_quicklist(session: &mut Session<'_>) -> Answer {
    if entry_of(session, |_, entry| entry.value.encoding())? != "quicklist" {
        return Err(Refusal::text("ERR Not a quicklist encoded object."));
    }
    session.out.simple("Quicklist structure printed on stdout");
    Ok(Then::Done)
}

fn table(kind: &str, elements: usize) -> String {
    if elements == 0 {
        return format!("{kind}No stats available for empty dictionaries\n");
    }
    let size = elements.next_power_of_two();
    format!("{kind}Hash table 0 stats (main hash table):\n table size: {size}\n number of elements: {elements}\n")
}

pub(super) fn tables(session: &mut Session<'_>) -> Answer {
    let number = parse_integer(session.arg(2)).ok_or(Refusal::NotInteger)?;
    let text = with_db(session, |db| {
        let keyspace = db.dataset.databases.get(usize::try_from(number).ok()?)?;
        Some(table("[Dictionary HT]\n", keyspace.len()) + &table("[Expires HT]\n", keyspace.expiring()))
    })?;
    session.out.verbatim(&text.ok_or(Refusal::text("ERR Out of range database"))?);
    Ok(Then::Done)
}

pub(super) fn table_of_key(session: &mut Session<'_>) -> Answer {
    let (encoding, elements) = entry_of(session, |_, entry| (entry.value.encoding(), entry.value.weight()))?;
    if !matches!(encoding, "hashtable" | "skiplist") {
        return Err(Refusal::text("ERR The value stored at the specified key is not represented using an hash table"));
    }
    session.out.verbatim(&table("", elements));
    Ok(Then::Done)
}
