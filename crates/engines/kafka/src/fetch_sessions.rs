//! Fetch sessions: a broker remembers what a client fetches, so that the client names only what changes, and is answered
//! only what has changed (KIP-227).
//!
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-227%3A+Introduce+Incremental+FetchRequests+to+Increase+Partition+Scalability>

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_kernel::{Context, Moment};
use uuid::Uuid;

use crate::error::ErrorCode;
use crate::wire::generated::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use crate::wire::generated::fetch_response::{FetchableTopicResponse, PartitionData};
use crate::wire::generated::{FetchRequest, FetchResponse};

/// After this long a session may make room for another (`min.incremental.fetch.session.eviction.ms`).
const EVICTION: Duration = Duration::from_secs(120);
/// As many partitions are remembered of one client.
const PARTITIONS_MAX: usize = 100_000;

/// The sessions of one broker.
#[derive(Debug, Default)]
pub struct FetchSessions {
    by_id: BTreeMap<i32, Session>,
}

#[derive(Debug)]
struct Session {
    /// The epoch of the next request.
    epoch: i32,
    uses_topic_ids: bool,
    created: Moment,
    last_used: Moment,
    /// In the order in which they are served: who got records goes to the end.
    partitions: BTreeMap<u64, Cached>,
    places: BTreeMap<Named, u64>,
    next_place: u64,
}

/// A partition as the client names it: topic, id, index.
type Named = (String, Uuid, i32);

#[derive(Debug)]
struct Cached {
    name: Named,
    asked: FetchPartition,
    /// What was told last; −1 where it is to be told anew.
    high_watermark: i64,
    log_start_offset: i64,
}

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// All that was asked for, in no session.
    Whole,
    /// All that was asked for, and a session begins.
    Begin,
    /// What has changed, in this session as of this epoch.
    Changes(i32, i32),
}

impl FetchSessions {
    /// Takes a request in: what is really to be fetched, and how it is answered.
    pub fn enter(
        &mut self,
        now: Moment,
        mut request: FetchRequest,
        version: i16,
    ) -> Result<(FetchRequest, Answering), ErrorCode> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if epoch <= 0 {
            // A session that a whole request names is over.
            self.by_id.remove(&id);
            return Ok((request, if epoch == 0 && version >= 7 { Answering::Begin } else { Answering::Whole }));
        }
        let session = self.by_id.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != (version >= 13) {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.last_used = now;
        session.remember(std::mem::take(&mut request.topics));
        session.forget(&request.forgotten_topics_data);
        if session.places.is_empty() || session.places.len() > PARTITIONS_MAX {
            self.by_id.remove(&id);
            return Ok((request, Answering::Whole));
        }
        session.epoch = next_epoch(epoch);
        request.topics = session.asked();
        let epoch = session.epoch;
        Ok((request, Answering::Changes(id, epoch)))
    }

    /// Makes an answer one of its session: it is given the session's id, and what has not changed is left out.
    pub fn leave(
        &mut self,
        ctx: &Context<'_>,
        slots: usize,
        request: &FetchRequest,
        version: i16,
        answering: Answering,
        mut response: FetchResponse,
    ) -> FetchResponse {
        match answering {
            Answering::Whole => response,
            Answering::Begin => {
                let count: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
                if count <= PARTITIONS_MAX && self.make_room(ctx.now(), slots, count) {
                    let id = self.new_id(ctx);
                    let mut session = Session::new(ctx.now(), version >= 13);
                    session.remember(request.topics.clone());
                    session.told(&mut response, false);
                    self.by_id.insert(id, session);
                    response.session_id = id;
                }
                response
            }
            Answering::Changes(id, epoch) => {
                let Some(session) = self.by_id.get_mut(&id).filter(|session| session.epoch == epoch) else {
                    let error_code = ErrorCode::InvalidFetchSessionEpoch.code();
                    return FetchResponse { error_code, ..FetchResponse::default() };
                };
                session.told(&mut response, true);
                response.session_id = id;
                response
            }
        }
    }

    /// Whether there is room for another session; one that was not used for long, or that is old and smaller, gives way.
    fn make_room(&mut self, now: Moment, slots: usize, size: usize) -> bool {
        if self.by_id.len() < slots {
            return true;
        }
        let idlest = self.by_id.iter().min_by_key(|(id, session)| (session.last_used, **id));
        let idle = idlest.filter(|(_, session)| now.since(session.last_used) > EVICTION).map(|(id, _)| *id);
        let old = |session: &Session| now.since(session.created) > EVICTION && session.places.len() < size;
        let smaller = self.by_id.iter().filter(|(_, session)| old(session));
        let smallest = smaller.min_by_key(|(id, session)| (session.places.len(), **id)).map(|(id, _)| *id);
        match idle.or(smallest) {
            Some(id) => self.by_id.remove(&id).is_some(),
            None => false,
        }
    }

    fn new_id(&self, ctx: &Context<'_>) -> i32 {
        let mut stream = ctx.random("kafka.fetch-session", ctx.now().as_nanos() ^ self.by_id.len() as u64);
        loop {
            let id = (stream.next_u64() & 0x7fff_ffff) as i32;
            if id != 0 && !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

impl Session {
    fn new(now: Moment, uses_topic_ids: bool) -> Session {
        let (partitions, places) = (BTreeMap::new(), BTreeMap::new());
        Session { epoch: 1, uses_topic_ids, created: now, last_used: now, partitions, places, next_place: 0 }
    }

    fn remember(&mut self, topics: Vec<FetchTopic>) {
        for topic in topics {
            for asked in topic.partitions {
                let name = (topic.topic.clone(), topic.topic_id, asked.partition);
                match self.places.get(&name).and_then(|place| self.partitions.get_mut(place)) {
                    Some(cached) => cached.asked = asked,
                    None => self.add(Cached { name, asked, high_watermark: -1, log_start_offset: -1 }),
                }
            }
        }
    }

    fn add(&mut self, cached: Cached) {
        self.places.insert(cached.name.clone(), self.next_place);
        self.partitions.insert(self.next_place, cached);
        self.next_place += 1;
    }

    fn forget(&mut self, topics: &[ForgottenTopic]) {
        for topic in topics {
            for index in &topic.partitions {
                if let Some(place) = self.places.remove(&(topic.topic.clone(), topic.topic_id, *index)) {
                    self.partitions.remove(&place);
                }
            }
        }
    }

    /// All that the session fetches, in the order in which it is served.
    fn asked(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for cached in self.partitions.values() {
            let (topic, topic_id, _) = &cached.name;
            match topics.last_mut() {
                Some(last) if last.topic == *topic && last.topic_id == *topic_id => {
                    last.partitions.push(cached.asked.clone());
                }
                _ => topics.push(FetchTopic {
                    topic: topic.clone(),
                    topic_id: *topic_id,
                    partitions: vec![cached.asked.clone()],
                }),
            }
        }
        topics
    }

    /// Notes what the client is told, and leaves out what it knows if that is asked for.
    fn told(&mut self, response: &mut FetchResponse, only_changes: bool) {
        let mut with_records = Vec::new();
        for topic in &mut response.responses {
            let FetchableTopicResponse { topic, topic_id, partitions } = topic;
            partitions.retain(|data| {
                let name = (topic.clone(), *topic_id, data.partition_index);
                let Some(place) = self.places.get(&name).copied() else { return true };
                let Some(cached) = self.partitions.get_mut(&place) else { return true };
                let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
                if has_records {
                    with_records.push(place);
                }
                cached.update(data, has_records) || !only_changes
            });
        }
        response.responses.retain(|topic| !topic.partitions.is_empty());
        for place in with_records {
            if let Some(cached) = self.partitions.remove(&place) {
                self.add(cached);
            }
        }
    }
}

impl Cached {
    /// Notes what is told, and says whether it is news.
    fn update(&mut self, data: &PartitionData, has_records: bool) -> bool {
        let news = has_records
            || data.high_watermark != self.high_watermark
            || data.log_start_offset != self.log_start_offset
            || data.preferred_read_replica != -1
            || data.error_code != 0
            || data.diverging_epoch.end_offset >= 0;
        self.high_watermark = data.high_watermark;
        self.log_start_offset = data.log_start_offset;
        // An error, or a part that was cut off, is told again even if nothing else changes.
        if data.error_code != 0 || data.diverging_epoch.end_offset >= 0 {
            self.high_watermark = -1;
        }
        news
    }
}
