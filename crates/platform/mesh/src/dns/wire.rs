//! DNS messages (RFC 1035, RFC 2782, RFC 6891): decoding questions, encoding answers. No I/O, every length bounded.

use std::net::Ipv4Addr;

/// A DNS datagram is no longer than this here; the usual EDNS limit that survives every network.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 1232;
/// A datagram without EDNS.
const PLAIN_DATAGRAM_BYTES_MAX: usize = 512;
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;
const HEADER_BYTES: usize = 12;
const CLASS_INTERNET: u16 = 1;
/// A pointer to the question's name, which always follows the header.
const QUESTION_POINTER: [u8; 2] = [0xC0, 12];

/// Record types by number (IANA).
pub(crate) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const ANY: u16 = 255;
}

/// A question, as far as we answer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Identifier, to be repeated.
    pub id: u16,
    /// The name asked for: labels in lower case, without the root.
    pub labels: Vec<String>,
    /// The type asked for.
    pub kind: u16,
    /// Whether recursion is desired; to be repeated.
    pub recursion_desired: bool,
    /// The datagram size that the asker accepts, if it speaks EDNS.
    pub edns_bytes_max: Option<u16>,
    /// The question as it came, to be repeated with the asker's own upper and lower case.
    pub question: Vec<u8>,
}

/// The message is not a question that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a DNS question")]
pub struct Malformed;

/// Response codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Code {
    #[default]
    NoError = 0,
    Format = 1,
    ServerFailure = 2,
    NameError = 3,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    Address(Ipv4Addr),
    Name(u16, String),
    Service { port: u16, target: String },
    Text(String),
}

/// An answer to a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: Code,
    /// Records of the name asked for.
    pub(crate) records: Vec<Data>,
    /// Addresses of names in the records.
    pub(crate) additional: Vec<(String, Ipv4Addr)>,
    /// Seconds that it stays true.
    pub(crate) ttl: u32,
    /// The zone that says so, for answers without records.
    pub(crate) authority: Option<&'static str>,
}

impl Answer {
    pub(crate) fn of_code(code: Code) -> Self {
        Self { code, ..Self::default() }
    }
}

/// Reads a message that should be a question. Total: any bytes give a question or [`Malformed`], in time linear in them.
pub fn decode(message: &[u8]) -> Result<Query, Malformed> {
    let word = |at: usize| -> Result<u16, Malformed> {
        let bytes = message.get(at..at + 2).ok_or(Malformed)?;
        Ok(u16::from_be_bytes(bytes.try_into().map_err(|_| Malformed)?))
    };
    let flags = word(2)?;
    let is_question = flags & 0x8000 == 0 && (flags >> 11) & 0xF == 0;
    // Servers everywhere answer one question at a time.
    if !is_question || word(4)? != 1 || word(6)? != 0 || word(8)? != 0 {
        return Err(Malformed);
    }
    let (labels, after_name) = name(message, HEADER_BYTES)?;
    let (kind, class) = (word(after_name)?, word(after_name + 2)?);
    if class != CLASS_INTERNET {
        return Err(Malformed);
    }
    let question = message.get(HEADER_BYTES..after_name + 4).ok_or(Malformed)?.to_vec();
    let edns_bytes_max = match word(10)? {
        0 => None,
        // The root's name, then the type: the only additional record that questions carry.
        _ if message.get(after_name + 4) == Some(&0) && word(after_name + 5)? == kind::OPT => {
            Some(word(after_name + 7)?)
        }
        _ => None,
    };
    Ok(Query { id: word(0)?, labels, kind, recursion_desired: flags & 0x0100 != 0, edns_bytes_max, question })
}

/// A name without pointers (a question has nothing to point to), and where it ends.
fn name(message: &[u8], mut at: usize) -> Result<(Vec<String>, usize), Malformed> {
    let (start, mut labels) = (at, Vec::new());
    loop {
        let length = usize::from(*message.get(at).ok_or(Malformed)?);
        if length == 0 {
            return Ok((labels, at + 1));
        }
        let label = message.get(at + 1..at + 1 + length).ok_or(Malformed)?;
        at += 1 + length;
        if length > LABEL_BYTES_MAX || at - start >= NAME_BYTES_MAX {
            return Err(Malformed);
        }
        // Labels are bytes; what is not ASCII cannot be a name of ours, and is compared as it comes.
        labels.push(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect());
    }
}

/// The answer to something that is not a question, if it is anything: FORMERR.
pub(crate) fn refuse(message: &[u8]) -> Option<Vec<u8>> {
    let header = message.get(..HEADER_BYTES)?;
    // Never answer an answer.
    if header.get(2)? & 0x80 != 0 {
        return None;
    }
    let mut out = header.get(..2)?.to_vec();
    out.extend_from_slice(&[0x80, Code::Format as u8, 0, 0, 0, 0, 0, 0, 0, 0]);
    Some(out)
}

/// The whole answer, however long; see [`truncated`].
pub(crate) fn encode(query: &Query, answer: &Answer) -> Vec<u8> {
    let has_authority = answer.records.is_empty() && answer.authority.is_some();
    let is_authoritative = answer.authority.is_some();
    let mut flags = 0x8000 | 0x0080 | answer.code as u16;
    flags |= if is_authoritative { 0x0400 } else { 0 };
    flags |= if query.recursion_desired { 0x0100 } else { 0 };
    let counted = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
    let additional = answer.additional.len() + usize::from(query.edns_bytes_max.is_some());
    let mut out = Vec::with_capacity(PLAIN_DATAGRAM_BYTES_MAX);
    for word in [query.id, flags, 1, counted(answer.records.len()), u16::from(has_authority), counted(additional)] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(&query.question);
    for data in &answer.records {
        record(&mut out, &QUESTION_POINTER, data, answer.ttl);
    }
    if let Some(zone) = answer.authority.filter(|_| has_authority) {
        start_of_authority(&mut out, zone, answer.ttl);
    }
    for (owner, address) in &answer.additional {
        let mut name = Vec::new();
        put_name(&mut name, owner);
        record(&mut out, &name, &Data::Address(*address), answer.ttl);
    }
    if query.edns_bytes_max.is_some() {
        out.push(0);
        out.extend_from_slice(&kind::OPT.to_be_bytes());
        out.extend_from_slice(&(DATAGRAM_BYTES_MAX as u16).to_be_bytes());
        out.extend_from_slice(&[0; 6]);
    }
    out
}

/// Makes an answer fit a datagram: too long, only its question stays, marked so that the asker comes again over TCP.
pub(crate) fn truncated(mut answer: Vec<u8>, query: &Query) -> Vec<u8> {
    let accepted = query.edns_bytes_max.map_or(PLAIN_DATAGRAM_BYTES_MAX, usize::from);
    if answer.len() > accepted.clamp(PLAIN_DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MAX) {
        answer.truncate(HEADER_BYTES + query.question.len());
        if let Some(flags) = answer.get_mut(2) {
            *flags |= 0x02;
        }
        if let Some(counts) = answer.get_mut(6..HEADER_BYTES) {
            counts.fill(0);
        }
    }
    answer
}

fn record(out: &mut Vec<u8>, owner: &[u8], data: &Data, ttl: u32) {
    let mut body = Vec::new();
    let kind = match data {
        Data::Address(address) => {
            body.extend_from_slice(&address.octets());
            kind::A
        }
        Data::Name(kind, name) => {
            put_name(&mut body, name);
            *kind
        }
        Data::Service { port, target } => {
            // Priority 0; all targets weigh the same.
            body.extend_from_slice(&[0, 0, 0, 100]);
            body.extend_from_slice(&port.to_be_bytes());
            put_name(&mut body, target);
            kind::SRV
        }
        Data::Text(text) => {
            let text = text.as_bytes().get(..text.len().min(255)).unwrap_or_default();
            body.push(text.len() as u8);
            body.extend_from_slice(text);
            kind::TXT
        }
    };
    out.extend_from_slice(owner);
    put_record(out, kind, ttl, &body);
}

fn put_record(out: &mut Vec<u8>, kind: u16, ttl: u32, body: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&CLASS_INTERNET.to_be_bytes());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(body);
}

/// As CoreDNS writes it; the last field says how long a missing name stays missing.
fn start_of_authority(out: &mut Vec<u8>, zone: &str, ttl: u32) {
    put_name(out, zone);
    let mut body = Vec::new();
    put_name(&mut body, &format!("ns.dns.{zone}"));
    put_name(&mut body, &format!("hostmaster.{zone}"));
    for number in [1, 7200, 1800, 86400, ttl] {
        body.extend_from_slice(&u32::to_be_bytes(number));
    }
    put_record(out, kind::SOA, ttl, &body);
}

/// A name in full. Labels come from validated Kubernetes names; one that does not fit is cut rather than corrupting.
fn put_name(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let bytes = label.as_bytes();
        let bytes = bytes.get(..bytes.len().min(LABEL_BYTES_MAX)).unwrap_or_default();
        out.push(bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
    out.push(0);
}
