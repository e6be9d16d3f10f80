//! From the producer's call until the consumer has the record: one record at a time, on a fetch that is already there.
//!
//! Two clients of a library on one core measure mostly each other. So here is one thread with two blocking sockets, in a process of its own
//! ([`probe`]), which the bench starts on the core of the load generators. It speaks just enough of the protocol by hand: the
//! generated functions are written by this very tool, which has to be built without them.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::super::engine::load;
use super::Topic;

const PRODUCE: (i16, i16) = (0, 3);
const FETCH: (i16, i16) = (1, 4);
/// A version that tells brokers not to make topics.
const METADATA: (i16, i16) = (3, 4);
const RECORD_BYTES: usize = 100;
/// How long a fetch waits for a record, and how many in a row may have none.
const FETCH_WAIT_MS: i32 = 500;
const EMPTY_FETCHES_MAX: u32 = 20;
const FETCH_BYTES_MAX: i32 = 1 << 20;
/// For a broker that does not answer at all.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// A topic that was just made has no leader at first.
const LEADER_TRIES: u32 = 100;
const LEADER_PAUSE: Duration = Duration::from_millis(100);
/// The beginning counts for nothing, since connections are new.
const LEFT_OUT: f64 = 0.2;

/// Median and 99th percentile in milliseconds, with `acks=all`, each record that long after the one before it has arrived.
pub fn end_to_end(topic: &Topic<'_>, records: u64, pause: Duration) -> Result<(f64, f64)> {
    let this = std::env::current_exe()?.to_str().context("programs have names of characters")?.to_owned();
    let (records, pause_ms) = (records.to_string(), pause.as_millis().to_string());
    let words = ["bench", "kafka-latency", topic.servers, &topic.name, &records, &pause_ms];
    let command: Vec<String> = std::iter::once(this).chain(words.map(str::to_owned)).collect();
    percentiles_ms(&load(&command)?)
}

/// `bench kafka-latency SERVERS TOPIC RECORDS PAUSE_MS`: how many microseconds each record took, one a line.
pub fn probe(words: &[&str]) -> Result<()> {
    let [servers, topic, records, pause_ms] = words else { bail!("SERVERS TOPIC RECORDS PAUSE_MS are needed") };
    let (records, pause): (u64, _) = (records.parse()?, Duration::from_millis(pause_ms.parse()?));
    let mut probe = Probe::connect(servers, topic)?;
    let mut waits = String::new();
    for _ in 0..records {
        let wait = probe.record(pause)?;
        writeln!(waits, "{:.1}", wait.as_secs_f64() * 1e6)?;
    }
    print!("{waits}");
    Ok(())
}

/// Waits until every broker names a leader: librdkafka gives up what it was to send when the next broker does not know the topic yet.
pub fn wait_until_known(topic: &Topic<'_>) -> Result<()> {
    for server in topic.servers.split(',') {
        let mut asked = Connection::to(server)?;
        let mut tries = 1;
        while asked.leader_of(&topic.name)?.is_none() {
            if tries == LEADER_TRIES {
                bail!("{server} knows no leader of {}", topic.name);
            }
            std::thread::sleep(LEADER_PAUSE);
            tries += 1;
        }
    }
    Ok(())
}

/// From one number of microseconds a line.
pub fn percentiles_ms(waits: &str) -> Result<(f64, f64)> {
    let all: Vec<f64> = waits.lines().filter_map(|line| line.parse().ok()).collect();
    let mut counted = all[(all.len() as f64 * LEFT_OUT) as usize..].to_vec();
    counted.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| counted.get((counted.len() as f64 * share) as usize).map(|us| us / 1e3);
    at(0.5).zip(at(0.99)).context("no latencies were written")
}

/// A producer and a consumer of a topic's first partition, both connected to its leader.
struct Probe {
    producer: Connection,
    consumer: Connection,
    topic: String,
    batch: Vec<u8>,
    next_offset: i64,
}

impl Probe {
    /// Tries again while the topic has no leader, or one that does not know it yet: it has just been made.
    fn connect(servers: &str, topic: &str) -> Result<Probe> {
        let first = servers.split(',').next().unwrap_or_default();
        let mut asked = Connection::to(first)?;
        let mut tries = 1;
        loop {
            match Probe::to_leader(&mut asked, topic) {
                Err(error) if tries == LEADER_TRIES => return Err(error),
                Err(_) => std::thread::sleep(LEADER_PAUSE),
                connected => return connected,
            }
            tries += 1;
        }
    }

    fn to_leader(asked: &mut Connection, topic: &str) -> Result<Probe> {
        let leader = asked.leader_of(topic)?.with_context(|| format!("{topic} has no leader"))?;
        let (producer, consumer) = (Connection::to(&leader)?, Connection::to(&leader)?);
        let mut probe = Probe { producer, consumer, topic: topic.to_owned(), batch: batch()?, next_offset: 0 };
        probe.fetch(0)?;
        (probe.next_offset, _) = fetched(&probe.consumer.receive()?)?;
        Ok(probe)
    }

    /// How long a record takes that is produced so long after the consumer has begun to wait for it.
    fn record(&mut self, pause: Duration) -> Result<Duration> {
        self.fetch(FETCH_WAIT_MS)?;
        std::thread::sleep(pause);
        let produced = Instant::now();
        self.produce()?;
        let mut empty = 0;
        while !fetched(&self.consumer.receive()?)?.1 {
            empty += 1;
            if empty == EMPTY_FETCHES_MAX {
                break;
            }
            self.fetch(FETCH_WAIT_MS)?;
        }
        let wait = produced.elapsed();
        // Should the record have been refused, it says so here.
        self.next_offset = produced_at(&self.producer.receive()?)? + 1;
        if empty == EMPTY_FETCHES_MAX {
            bail!("the record was acknowledged and is not there");
        }
        Ok(wait)
    }

    fn produce(&mut self) -> Result<()> {
        let (no_transaction, acks_all, timeout_ms) = (-1_i16, -1_i16, 5000_i32);
        let head = [&no_transaction.to_be_bytes()[..], &acks_all.to_be_bytes(), &timeout_ms.to_be_bytes()].concat();
        let body = [&head[..], &first_partition(&self.topic), &length(self.batch.len())?, &self.batch].concat();
        self.producer.send(PRODUCE, &body)
    }

    fn fetch(&mut self, wait_ms: i32) -> Result<()> {
        let (consumer, bytes_min) = (-1, 1);
        let head = [consumer, wait_ms, bytes_min, FETCH_BYTES_MAX].map(i32::to_be_bytes).concat();
        let uncommitted = 0;
        let (offset, bytes_max) = (self.next_offset.to_be_bytes(), FETCH_BYTES_MAX.to_be_bytes());
        let body = [&head[..], &[uncommitted], &first_partition(&self.topic), &offset, &bytes_max].concat();
        self.consumer.send(FETCH, &body)
    }
}

struct Connection(TcpStream);

impl Connection {
    fn to(address: &str) -> Result<Connection> {
        let stream = TcpStream::connect(address).with_context(|| format!("no connection to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        Ok(Connection(stream))
    }

    fn send(&mut self, (api, version): (i16, i16), body: &[u8]) -> Result<()> {
        let correlation = 0_i32.to_be_bytes();
        let head = [&api.to_be_bytes()[..], &version.to_be_bytes(), &correlation, &text("latency")].concat();
        let request = [&length(head.len() + body.len())?[..], &head, body].concat();
        Ok(self.0.write_all(&request)?)
    }

    /// `HOST:PORT` of the leader of a topic's first partition, as far as this broker knows.
    fn leader_of(&mut self, topic: &str) -> Result<Option<String>> {
        self.send(METADATA, &[&1_i32.to_be_bytes()[..], &text(topic), &[0]].concat())?;
        leader(&self.receive()?)
    }

    /// An answer without its length and correlation.
    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut head = [0; 8];
        self.0.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let mut answer = vec![0; length.checked_sub(4).context("an answer has a correlation")?];
        self.0.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// A batch of one record without a key.
pub fn batch() -> Result<Vec<u8>> {
    // A record's lengths are zigzag varints; -1 is no key, and there are no headers.
    let value = vec![b'x'; RECORD_BYTES];
    let inner = [&[0, 0, 0, 1][..], &varint(RECORD_BYTES as u64 * 2), &value, &[0]].concat();
    let record = [&varint(inner.len() as u64 * 2)[..], &inner].concat();
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?.to_be_bytes();
    let (plain, last, records) = (0_i16.to_be_bytes(), 0_i32.to_be_bytes(), 1_i32.to_be_bytes());
    let (no_producer, no_epoch, no_sequence) = ((-1_i64).to_be_bytes(), (-1_i16).to_be_bytes(), (-1_i32).to_be_bytes());
    let head = [&plain[..], &last, &now_ms, &now_ms, &no_producer, &no_epoch, &no_sequence, &records].concat();
    let summed = [head, record].concat();
    let (offset, leader_epoch, magic) = (0_i64.to_be_bytes(), (-1_i32).to_be_bytes(), [2]);
    let rest = [&leader_epoch[..], &magic, &crc32c(&summed).to_be_bytes(), &summed].concat();
    Ok([&offset[..], &length(rest.len())?, &rest].concat())
}

/// Bit by bit, since it sums up one batch.
pub fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0x82F6_3B78;
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { REVERSED_POLYNOMIAL } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

fn varint(mut rest: u64) -> Vec<u8> {
    let mut coded = Vec::new();
    while rest > 127 {
        coded.push(rest as u8 | 128);
        rest >>= 7;
    }
    coded.push(rest as u8);
    coded
}

fn text(name: &str) -> Vec<u8> {
    [&(name.len() as u16).to_be_bytes()[..], name.as_bytes()].concat()
}

fn length(bytes: usize) -> Result<[u8; 4]> {
    Ok(i32::try_from(bytes)?.to_be_bytes())
}

/// An array of one topic, with an array of one partition.
fn first_partition(topic: &str) -> Vec<u8> {
    let (one, index) = (1_i32.to_be_bytes(), 0_i32.to_be_bytes());
    [&one[..], &text(topic), &one, &index].concat()
}

/// `HOST:PORT` of the first partition's leader, or None while it has none.
pub fn leader(metadata: &[u8]) -> Result<Option<String>> {
    let mut fields = Fields(metadata);
    let _throttle_ms = fields.int()?;
    let mut brokers = Vec::new();
    for _ in 0..fields.int()? {
        let (id, host, port, _rack) = (fields.int()?, fields.text()?, fields.int()?, fields.text()?);
        brokers.push((id, format!("{host}:{port}")));
    }
    let (_cluster, _controller, _topics) = (fields.text()?, fields.int()?, fields.int()?);
    let (topic_error, _name, _is_internal) = (fields.short()?, fields.text()?, fields.take(1)?);
    if topic_error != 0 || fields.int()? == 0 {
        return Ok(None);
    }
    let (_error, _index, leader) = (fields.short()?, fields.int()?, fields.int()?);
    Ok(brokers.into_iter().find(|(id, _)| *id == leader).map(|(_, address)| address))
}

/// The offset that the record was given.
fn produced_at(answer: &[u8]) -> Result<i64> {
    let mut fields = Fields(answer);
    fields.first_partition("produced")?;
    fields.long()
}

/// The high watermark, and whether there are records.
pub fn fetched(answer: &[u8]) -> Result<(i64, bool)> {
    let mut fields = Fields(answer);
    let _throttle_ms = fields.int()?;
    fields.first_partition("fetched")?;
    let (high_watermark, _last_stable_offset) = (fields.long()?, fields.long()?);
    let aborted = usize::try_from(fields.int()?).unwrap_or(0);
    let _aborted = fields.take(aborted * 16)?;
    Ok((high_watermark, fields.int()? > 0))
}

/// What is left of an answer.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count).context("an answer ends too early")?;
        self.0 = left;
        Ok(taken)
    }

    fn short(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    /// Empty where there is none.
    fn text(&mut self) -> Result<&'a str> {
        let bytes = usize::try_from(self.short()?).unwrap_or(0);
        Ok(std::str::from_utf8(self.take(bytes)?)?)
    }

    /// Skips what names the only partition of an answer, and its error if that is none.
    fn first_partition(&mut self, what: &str) -> Result<()> {
        let (_topics, topic, _partitions, _index) = (self.int()?, self.text()?, self.int()?, self.int()?);
        match self.short()? {
            0 => Ok(()),
            error => bail!("{topic} is not {what}: error {error}"),
        }
    }
}
