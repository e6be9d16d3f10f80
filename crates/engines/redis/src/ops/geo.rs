//! Places in sorted sets: <https://redis.io/docs/latest/commands/?group=geo>. Scores are in `state/geohash.rs`.

use super::sorted_sets::{AddOptions, add, read};
use super::{Answer, Call, Then, is, zset_algebra};
use crate::error::Refusal;
use crate::state::geohash::{self, LATITUDE_MAX, LONGITUDE_MAX, Place, Shape};
use crate::state::{Blob, Score, SortedSet, parse_float};
use crate::wire::Reply;

/// Longitude and latitude, from argument `index` on.
fn place(call: &Call<'_>, index: usize) -> Result<Place, Refusal> {
    let (longitude, latitude) = (call.float(index)?, call.float(index + 1)?);
    if longitude.abs() > LONGITUDE_MAX || latitude.abs() > LATITUDE_MAX {
        return Err(Refusal::text(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}")));
    }
    Ok(Place { longitude, latitude })
}

/// How many metres a unit has.
fn unit(word: &[u8]) -> Result<f64, Refusal> {
    match word {
        _ if is(word, "M") => Ok(1.0),
        _ if is(word, "KM") => Ok(1000.0),
        _ if is(word, "FT") => Ok(0.3048),
        _ if is(word, "MI") => Ok(1609.34),
        _ => Err(Refusal::text("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// GEOADD key [NX|XX] [CH] longitude latitude member..., since 3.2.
pub(super) fn geoadd(call: &mut Call<'_>) -> Answer {
    let (mut options, mut first) = (AddOptions::default(), 2);
    while let Some(word) = call.request.get(first) {
        match word {
            _ if is(word, "NX") => options.nx = true,
            _ if is(word, "XX") => options.xx = true,
            _ if is(word, "CH") => options.ch = true,
            _ => break,
        }
        first += 1;
    }
    let arguments = call.request.len() - first;
    if arguments == 0 || !arguments.is_multiple_of(3) || options.nx && options.xx {
        return Err(Refusal::Syntax);
    }
    let mut scores = Vec::with_capacity(arguments / 3);
    for index in (first..call.request.len()).step_by(3) {
        scores.push(geohash::encode(place(call, index)?));
    }
    add(call, &options, (first + 2, 3), &scores)
}

/// A coordinate: all the digits that 17 places after the point show.
fn reply_coordinate(out: &mut Reply<'_>, number: f64) {
    let text = format!("{number:.17}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if text == "-0" { "0" } else { text };
    if out.is_resp3() {
        out.raw(format!(",{text}\r\n").as_bytes());
    } else {
        out.bulk(text.as_bytes());
    }
}

fn reply_distance(out: &mut Reply<'_>, distance: f64) {
    out.bulk(format!("{distance:.4}").as_bytes());
}

fn scores(call: &mut Call<'_>) -> Result<Vec<Option<Score>>, Refusal> {
    let request = call.request;
    let set = read(call, request.arg(1))?;
    Ok(request.tail(2).map(|member| set.and_then(|set| set.score(member))).collect())
}

/// GEOPOS key [member]..., since 3.2.
pub(super) fn geopos(call: &mut Call<'_>) -> Answer {
    let scores = scores(call)?;
    call.out.array(scores.len());
    for score in scores {
        let Some(place) = score.map(geohash::decode) else {
            call.out.null_array();
            continue;
        };
        call.out.array(2);
        reply_coordinate(&mut call.out, place.longitude);
        reply_coordinate(&mut call.out, place.latitude);
    }
    Ok(Then::Done)
}

/// GEOHASH key [member]..., since 3.2.
pub(super) fn geohash(call: &mut Call<'_>) -> Answer {
    let scores = scores(call)?;
    call.out.array(scores.len());
    for score in scores {
        match score {
            Some(score) => call.out.bulk(&geohash::text(score)),
            None => call.out.null(),
        }
    }
    Ok(Then::Done)
}

/// GEODIST key member1 member2 [M|KM|FT|MI], since 3.2.
pub(super) fn geodist(call: &mut Call<'_>) -> Answer {
    let metres = match call.request.len() {
        4 => 1.0,
        5 => unit(call.arg(4))?,
        _ => return Err(Refusal::Syntax),
    };
    let (one, other) = (call.arg(2), call.arg(3));
    let both = read(call, call.request.arg(1))?.and_then(|set| Some((set.score(one)?, set.score(other)?)));
    match both {
        Some((one, other)) => {
            let distance = geohash::distance(geohash::decode(one), geohash::decode(other));
            reply_distance(&mut call.out, distance / metres);
        }
        None => call.out.null(),
    }
    Ok(Then::Done)
}

/// The commands that search.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Radius,
    RadiusByMember,
    Search,
    SearchStore,
}

/// What is searched, and what is to be done with what is found.
struct Search<'r> {
    centre: Option<Place>,
    has_member: bool,
    shape: Option<Shape>,
    /// How many metres the unit of distances has.
    metres: f64,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    count: usize,
    any: bool,
    is_descending: Option<bool>,
    store: Option<&'r [u8]>,
    stores_distances: bool,
}

/// Something that was found.
struct Found {
    member: Blob,
    score: Score,
    distance: f64,
    place: Place,
}

fn radius(call: &Call<'_>, index: usize) -> Result<(f64, f64), Refusal> {
    let radius = parse_float(call.arg(index)).ok_or(Refusal::text("ERR need numeric radius"))?;
    if radius < 0.0 {
        return Err(Refusal::text("ERR radius cannot be negative"));
    }
    Ok((radius, unit(call.arg(index + 1))?))
}

fn rectangle(call: &Call<'_>, index: usize) -> Result<(f64, f64, f64), Refusal> {
    let width = parse_float(call.arg(index)).ok_or(Refusal::text("ERR need numeric width"))?;
    let height = parse_float(call.arg(index + 1)).ok_or(Refusal::text("ERR need numeric height"))?;
    if width < 0.0 || height < 0.0 {
        return Err(Refusal::text("ERR height or width cannot be negative"));
    }
    Ok((width, height, unit(call.arg(index + 2))?))
}

fn place_of(set: Option<&SortedSet>, member: &[u8]) -> Result<Option<Place>, Refusal> {
    let Some(set) = set else { return Ok(None) };
    let score = set.score(member).ok_or(Refusal::text("ERR could not decode requested zset member"))?;
    Ok(Some(geohash::decode(score)))
}

impl<'r> Search<'r> {
    fn new(call: &mut Call<'r>, key: &[u8], form: Form) -> Result<(Search<'r>, usize), Refusal> {
        let mut it = Search {
            centre: None,
            has_member: false,
            shape: None,
            metres: 1.0,
            with_distance: false,
            with_hash: false,
            with_place: false,
            count: 0,
            any: false,
            is_descending: None,
            store: None,
            stores_distances: false,
        };
        let exists = read(call, key)?.is_some();
        let first = match form {
            Form::Radius => {
                it.centre = Some(place(call, 2)?);
                it.set_radius(call, 4)?;
                6
            }
            Form::RadiusByMember => {
                let member = call.arg(2);
                it.centre = place_of(read(call, key)?, member)?;
                if exists {
                    it.set_radius(call, 3)?;
                }
                5
            }
            Form::Search => 2,
            Form::SearchStore => {
                it.store = Some(call.arg(1));
                3
            }
        };
        Ok((it, first))
    }

    fn set_radius(&mut self, call: &Call<'_>, index: usize) -> Result<(), Refusal> {
        let (radius, metres) = radius(call, index)?;
        (self.shape, self.metres) = (Some(Shape::Circle { radius: radius * metres }), metres);
        Ok(())
    }

    /// Options that all forms have. How many arguments this one took; 0: it is none of them.
    fn common_option(&mut self, call: &Call<'_>, index: usize) -> Result<usize, Refusal> {
        let word = call.arg(index);
        match word {
            _ if is(word, "WITHDIST") => self.with_distance = true,
            _ if is(word, "WITHHASH") => self.with_hash = true,
            _ if is(word, "WITHCOORD") => self.with_place = true,
            _ if is(word, "ANY") => self.any = true,
            _ if is(word, "ASC") => self.is_descending = Some(false),
            _ if is(word, "DESC") => self.is_descending = Some(true),
            _ if is(word, "COUNT") && call.request.get(index + 1).is_some() => {
                let count = usize::try_from(call.integer(index + 1)?).ok().filter(|count| *count > 0);
                self.count = count.ok_or(Refusal::text("ERR COUNT must be > 0"))?;
                return Ok(2);
            }
            _ => return Ok(0),
        }
        Ok(1)
    }

    /// Options of GEOSEARCH and GEOSEARCHSTORE.
    fn search_option(&mut self, call: &mut Call<'r>, key: &[u8], index: usize, form: Form) -> Result<usize, Refusal> {
        let (word, follow) = (call.arg(index), call.request.len() - index - 1);
        let has_circle = matches!(self.shape, Some(Shape::Circle { .. }));
        let has_box = matches!(self.shape, Some(Shape::Box { .. }));
        let has_place = self.centre.is_some() && !self.has_member;
        match word {
            _ if form == Form::SearchStore && is(word, "STOREDIST") => {
                self.stores_distances = true;
                Ok(1)
            }
            _ if is(word, "FROMMEMBER") && follow >= 1 && !has_place => {
                let member = call.arg(index + 1);
                self.centre = place_of(read(call, key)?, member)?;
                self.has_member = true;
                Ok(2)
            }
            _ if is(word, "FROMLONLAT") && follow >= 2 && !self.has_member => {
                self.centre = Some(place(call, index + 1)?);
                Ok(3)
            }
            _ if is(word, "BYRADIUS") && follow >= 2 && !has_box => {
                self.set_radius(call, index + 1)?;
                Ok(3)
            }
            _ if is(word, "BYBOX") && follow >= 3 && !has_circle => {
                let (width, height, metres) = rectangle(call, index + 1)?;
                self.shape = Some(Shape::Box { width: width * metres, height: height * metres });
                self.metres = metres;
                Ok(4)
            }
            _ => Ok(0),
        }
    }

    fn options(
        &mut self,
        call: &mut Call<'r>,
        key: &[u8],
        first: usize,
        form: Form,
        stores: bool,
    ) -> Result<(), Refusal> {
        let is_search = matches!(form, Form::Search | Form::SearchStore);
        let mut index = first;
        while index < call.request.len() {
            let word = call.arg(index);
            let mut taken = self.common_option(call, index)?;
            let names_target = stores && (is(word, "STORE") || is(word, "STOREDIST"));
            if taken == 0 && is_search {
                taken = self.search_option(call, key, index, form)?;
            } else if taken == 0 && names_target && call.request.get(index + 1).is_some() {
                self.store = call.request.get(index + 1);
                self.stores_distances = is(word, "STOREDIST");
                taken = 2;
            }
            if taken == 0 {
                return Err(Refusal::Syntax);
            }
            index += taken;
        }
        self.check(call, form, is_search)
    }

    fn check(&self, call: &Call<'_>, form: Form, is_search: bool) -> Result<(), Refusal> {
        let name = String::from_utf8_lossy(call.arg(0));
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_place) {
            let what = if form == Form::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(Refusal::text(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        if is_search && !self.has_member && self.centre.is_none() {
            return Err(Refusal::text(format!(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}"
            )));
        }
        if is_search && self.shape.is_none() {
            return Err(Refusal::text(format!("ERR exactly one of BYRADIUS and BYBOX can be specified for {name}")));
        }
        if self.any && self.count == 0 {
            return Err(Refusal::text("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    /// Members inside the shape, the nearest or farthest first if that was asked for.
    fn find(&self, set: &SortedSet) -> Vec<Found> {
        let (Some(centre), Some(shape)) = (self.centre, self.shape) else { return Vec::new() };
        let limit = if self.any { self.count } else { usize::MAX };
        let mut found: Vec<Found> = Vec::new();
        for (low, high) in shape.score_ranges(centre) {
            let first = set.count_before(|(score, _)| *score < low);
            let last = set.count_before(|(score, _)| *score < high);
            for (member, score) in set.range(first, last) {
                if found.len() >= limit {
                    break;
                }
                let place = geohash::decode(score);
                if let Some(distance) = shape.distance_within(centre, place) {
                    found.push(Found { member: member.clone(), score, distance, place });
                }
            }
        }
        // The nearest of many have to be found first.
        let order = self.is_descending.or((self.count > 0 && !self.any).then_some(false));
        if let Some(is_descending) = order {
            found.sort_by(|one, other| {
                let order = one.distance.total_cmp(&other.distance);
                if is_descending { order.reverse() } else { order }
            });
        }
        if self.count > 0 {
            found.truncate(self.count);
        }
        found
    }

    fn reply(&self, out: &mut Reply<'_>, found: &[Found]) {
        let options = [self.with_distance, self.with_hash, self.with_place];
        let options = options.into_iter().filter(|is_set| *is_set).count();
        out.array(found.len());
        for one in found {
            if options > 0 {
                out.array(options + 1);
            }
            out.bulk(&one.member);
            if self.with_distance {
                reply_distance(out, one.distance / self.metres);
            }
            if self.with_hash {
                out.integer(one.score as i64);
            }
            if self.with_place {
                out.array(2);
                reply_coordinate(out, one.place.longitude);
                reply_coordinate(out, one.place.latitude);
            }
        }
    }
}

fn search(call: &mut Call<'_>, form: Form, stores: bool) -> Answer {
    let key = call.arg(if form == Form::SearchStore { 2 } else { 1 });
    let (mut it, first) = Search::new(call, key, form)?;
    it.options(call, key, first, form, stores)?;
    let found = read(call, key)?.map_or(Vec::new(), |set| it.find(set));
    match it.store {
        None => it.reply(&mut call.out, &found),
        Some(target) => {
            let score = |one: &Found| if it.stores_distances { one.distance / it.metres } else { one.score };
            let members: Vec<(Blob, Score)> = found.iter().map(|one| (one.member.clone(), score(one))).collect();
            zset_algebra::store(call, target, &members);
            call.out.count(members.len());
        }
    }
    Ok(Then::Done)
}

/// GEORADIUS key longitude latitude radius unit [options] [STORE key|STOREDIST key], since 3.2.
pub(super) fn georadius(call: &mut Call<'_>) -> Answer {
    search(call, Form::Radius, true)
}

/// GEORADIUS_RO: the same without STORE, since 3.2.10.
pub(super) fn georadius_ro(call: &mut Call<'_>) -> Answer {
    search(call, Form::Radius, false)
}

/// GEORADIUSBYMEMBER key member radius unit [options] [STORE key|STOREDIST key], since 3.2.
pub(super) fn georadiusbymember(call: &mut Call<'_>) -> Answer {
    search(call, Form::RadiusByMember, true)
}

/// GEORADIUSBYMEMBER_RO: the same without STORE, since 3.2.10.
pub(super) fn georadiusbymember_ro(call: &mut Call<'_>) -> Answer {
    search(call, Form::RadiusByMember, false)
}

/// GEOSEARCH key FROMMEMBER member|FROMLONLAT longitude latitude BYRADIUS radius unit|BYBOX width height unit [options],
/// since 6.2.
pub(super) fn geosearch(call: &mut Call<'_>) -> Answer {
    search(call, Form::Search, false)
}

/// GEOSEARCHSTORE destination source ... [STOREDIST], since 6.2.
pub(super) fn geosearchstore(call: &mut Call<'_>) -> Answer {
    search(call, Form::SearchStore, false)
}
