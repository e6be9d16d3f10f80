//! Places on the earth as 52-bit numbers whose order keeps neighbours together, as Redis scores them.
//!
//! Longitude and latitude are halved in turn, 26 times each; the bits of the latitude stand at the even places.

/// The limits of the projection.
pub(crate) const LONGITUDE_MAX: f64 = 180.0;
pub(crate) const LATITUDE_MAX: f64 = 85.051_128_78;
const STEPS: u32 = 26;
/// The quadratic mean radius, in metres.
const EARTH_RADIUS: f64 = 6_372_797.560_856;
/// Half the earth's circumference in the projection, in metres.
const MERCATOR_MAX: f64 = 20_037_726.37;
const LONGITUDE_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;
const LATITUDE_BITS: u64 = 0x5555_5555_5555_5555;
const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

/// A place, in degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Place {
    pub(crate) longitude: f64,
    pub(crate) latitude: f64,
}

/// A rectangle of degrees.
#[derive(Clone, Copy, Debug)]
struct Area {
    low: Place,
    high: Place,
}

/// What is searched, in metres.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

fn spread(bits: u32) -> u64 {
    let mut spread = u64::from(bits);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, LATITUDE_BITS),
    ] {
        spread = (spread | spread << shift) & mask;
    }
    spread
}

fn gather(bits: u64) -> u32 {
    let mut gathered = bits & LATITUDE_BITS;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        gathered = (gathered | gathered >> shift) & mask;
    }
    gathered as u32
}

/// The cell of a place, when each side was halved `steps` times.
fn cell(place: Place, steps: u32, latitude_max: f64) -> u64 {
    let scale = (1u64 << steps) as f64;
    let latitude = (place.latitude + latitude_max) / (2.0 * latitude_max) * scale;
    let longitude = (place.longitude + LONGITUDE_MAX) / (2.0 * LONGITUDE_MAX) * scale;
    spread(latitude as u32) | spread(longitude as u32) << 1
}

fn area(cell: u64, steps: u32) -> Area {
    let (latitude, longitude) = (f64::from(gather(cell)), f64::from(gather(cell >> 1)));
    let scale = (1u64 << steps) as f64;
    let latitude_at = |number: f64| -LATITUDE_MAX + number / scale * (2.0 * LATITUDE_MAX);
    let longitude_at = |number: f64| -LONGITUDE_MAX + number / scale * (2.0 * LONGITUDE_MAX);
    Area {
        low: Place { longitude: longitude_at(longitude), latitude: latitude_at(latitude) },
        high: Place { longitude: longitude_at(longitude + 1.0), latitude: latitude_at(latitude + 1.0) },
    }
}

/// The score of a place.
pub(crate) fn encode(place: Place) -> f64 {
    cell(place, STEPS, LATITUDE_MAX) as f64
}

/// The middle of the cell that a score stands for.
pub(crate) fn decode(score: f64) -> Place {
    let area = area(score as u64, STEPS);
    let longitude = (area.low.longitude + area.high.longitude) / 2.0;
    let latitude = (area.low.latitude + area.high.latitude) / 2.0;
    Place {
        longitude: longitude.clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
        latitude: latitude.clamp(-LATITUDE_MAX, LATITUDE_MAX),
    }
}

/// The standard geohash of eleven letters; the last is always a zero, for the bits do not reach that far.
pub(crate) fn text(score: f64) -> [u8; 11] {
    let bits = cell(decode(score), STEPS, 90.0);
    let mut text = [ALPHABET[0]; 11];
    for (place, letter) in text.iter_mut().take(10).enumerate() {
        *letter = ALPHABET[(bits >> (52 - (place + 1) * 5) & 0x1f) as usize];
    }
    text
}

fn latitude_distance(one: f64, other: f64) -> f64 {
    EARTH_RADIUS * (radians(other) - radians(one)).abs()
}

/// As Redis multiplies, so that the last digit is the same.
fn radians(degrees: f64) -> f64 {
    degrees * (std::f64::consts::PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (std::f64::consts::PI / 180.0)
}

/// The distance of two places in metres, on a sphere.
pub(crate) fn distance(one: Place, other: Place) -> f64 {
    let v = ((radians(other.longitude) - radians(one.longitude)) / 2.0).sin();
    if v == 0.0 {
        return latitude_distance(one.latitude, other.latitude);
    }
    let (latitude, other_latitude) = (radians(one.latitude), radians(other.latitude));
    let u = ((other_latitude - latitude) / 2.0).sin();
    let a = u * u + latitude.cos() * other_latitude.cos() * v * v;
    2.0 * EARTH_RADIUS * a.sqrt().asin()
}

impl Shape {
    /// The distance from the centre, if a place is inside.
    pub(crate) fn distance_within(self, centre: Place, place: Place) -> Option<f64> {
        match self {
            Shape::Circle { radius } => Some(distance(centre, place)).filter(|distance| *distance <= radius),
            Shape::Box { width, height } => {
                let at_latitude = Place { latitude: place.latitude, ..centre };
                let is_inside = latitude_distance(place.latitude, centre.latitude) <= height / 2.0
                    && distance(place, at_latitude) <= width / 2.0;
                is_inside.then(|| distance(centre, place))
            }
        }
    }

    fn bounds(self, centre: Place) -> Area {
        let (height, width) = match self {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (height / 2.0, width / 2.0),
        };
        let latitude_delta = degrees(height / EARTH_RADIUS);
        let longitude_delta = |latitude: f64| degrees(width / EARTH_RADIUS / radians(latitude).cos());
        let widest = if centre.latitude < 0.0 {
            longitude_delta(centre.latitude - latitude_delta)
        } else {
            longitude_delta(centre.latitude + latitude_delta)
        };
        Area {
            low: Place { longitude: centre.longitude - widest, latitude: centre.latitude - latitude_delta },
            high: Place { longitude: centre.longitude + widest, latitude: centre.latitude + latitude_delta },
        }
    }

    /// Into how many steps the world is divided so that a cell and its neighbours cover the shape.
    fn steps(self, latitude: f64) -> u32 {
        let mut range = match self {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => ((width / 2.0).powi(2) + (height / 2.0).powi(2)).sqrt(),
        };
        if range == 0.0 {
            return STEPS;
        }
        let mut steps = 1;
        while range < MERCATOR_MAX {
            range *= 2.0;
            steps += 1;
        }
        steps -= 2;
        if latitude.abs() > 66.0 {
            steps -= if latitude.abs() > 80.0 { 2 } else { 1 };
        }
        steps.clamp(1, STEPS as i32) as u32
    }

    /// The ranges of scores, from the first and up to the second, in which members can lie; the centre's own cell first.
    pub(crate) fn score_ranges(self, centre: Place) -> Vec<(f64, f64)> {
        let bounds = self.bounds(centre);
        let mut steps = self.steps(centre.latitude);
        let mut middle = cell(centre, steps, LATITUDE_MAX);
        if steps > 1 && !covers(middle, steps, &bounds) {
            steps -= 1;
            middle = cell(centre, steps, LATITUDE_MAX);
        }
        let own = area(middle, steps);
        // Neighbours that the shape does not reach are left out, unless cells are so large that they wrap around.
        let is_fine = steps >= 2;
        let skips = |east: i8, north: i8| {
            is_fine
                && (north < 0 && own.low.latitude < bounds.low.latitude
                    || north > 0 && own.high.latitude > bounds.high.latitude
                    || east < 0 && own.low.longitude < bounds.low.longitude
                    || east > 0 && own.high.longitude > bounds.high.longitude)
        };
        let mut ranges: Vec<(f64, f64)> = Vec::with_capacity(9);
        let mut last = None;
        for (east, north) in [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)] {
            if skips(east, north) {
                continue;
            }
            let neighbour = moved(middle, steps, east, north);
            // With a very large shape neighbours can be the same cell.
            if last == Some(neighbour) {
                continue;
            }
            last = (east, north).ne(&(0, 0)).then_some(neighbour);
            let shift = 52 - steps * 2;
            ranges.push(((neighbour << shift) as f64, ((neighbour + 1) << shift) as f64));
        }
        ranges
    }
}

/// True if the cell's neighbours reach to the bounds.
fn covers(middle: u64, steps: u32, bounds: &Area) -> bool {
    let neighbour = |east, north| area(moved(middle, steps, east, north), steps);
    neighbour(0, 1).high.latitude >= bounds.high.latitude
        && neighbour(0, -1).low.latitude <= bounds.low.latitude
        && neighbour(1, 0).high.longitude >= bounds.high.longitude
        && neighbour(-1, 0).low.longitude <= bounds.low.longitude
}

/// The cell so many cells to the east and to the north.
fn moved(cell: u64, steps: u32, east: i8, north: i8) -> u64 {
    let unused = 64 - steps * 2;
    let longitude = step(cell & LONGITUDE_BITS, LATITUDE_BITS >> unused, LONGITUDE_BITS >> unused, east);
    let latitude = step(cell & LATITUDE_BITS, LONGITUDE_BITS >> unused, LATITUDE_BITS >> unused, north);
    longitude | latitude
}

/// Adds to a number that has only every second bit: the gaps are filled, so that what is carried passes over them.
fn step(bits: u64, gaps: u64, own: u64, by: i8) -> u64 {
    match by {
        0 => bits,
        1 => bits.wrapping_add(gaps + 1) & own,
        _ => (bits | gaps).wrapping_sub(gaps + 1) & own,
    }
}
