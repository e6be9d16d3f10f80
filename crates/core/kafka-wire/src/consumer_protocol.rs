//! What members of kind `consumer` tell each other through their group's coordinator: a subscription when they join, an
//! assignment when they sync. Both begin with the version in which they are written, and are in the old encoding in each.
//!
//! <https://github.com/apache/kafka/blob/4.0/clients/src/main/resources/common/message/ConsumerProtocolSubscription.json>
//! <https://github.com/apache/kafka/blob/4.0/clients/src/main/resources/common/message/ConsumerProtocolAssignment.json>

use atoll_wire::{Reader, WireError, WireErrorKind, Writer};
use bytes::Bytes;

use crate::primitive;

/// The newest version of both. What follows later ones begins alike.
const VERSION_MAX: i16 = 3;

/// Partitions by the names of their topics.
pub type Named = Vec<(String, Vec<i32>)>;

/// What a member reads, and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// Names of topics.
    pub topics: Vec<String>,
    /// Since version 1; by then members give up no more than they must.
    pub owned: Named,
    /// Since version 3.
    pub rack_id: Option<String>,
}

/// The version in which a subscription or an assignment is to be understood.
pub fn version(bytes: &Bytes) -> Result<i16, WireError> {
    read_version(&mut Reader::new(bytes.clone()))
}

fn read_version(reader: &mut Reader) -> Result<i16, WireError> {
    let version = reader.i16()?;
    if version < 0 {
        return Err(reader
            .error(WireErrorKind::Invalid { what: "the version of a consumer's protocol", value: version.into() }));
    }
    Ok(version.min(VERSION_MAX))
}

/// The topics of a subscription alone, as a coordinator of a classic group must know them.
pub fn read_topics(bytes: Bytes) -> Result<Vec<String>, WireError> {
    let mut reader = Reader::new(bytes);
    read_version(&mut reader)?;
    topics(&mut reader)
}

fn topics(reader: &mut Reader) -> Result<Vec<String>, WireError> {
    // A name takes its length at least.
    primitive::array(reader, false, 2, |reader| primitive::string(reader, false))
}

fn partitions(reader: &mut Reader) -> Result<Named, WireError> {
    // A name and a list take their lengths at least.
    primitive::array(reader, false, 6, |reader| {
        Ok((primitive::string(reader, false)?, primitive::array(reader, false, 4, Reader::i32)?))
    })
}

/// Reads a subscription.
pub fn read_subscription(bytes: Bytes) -> Result<Subscription, WireError> {
    let mut reader = Reader::new(bytes);
    let version = read_version(&mut reader)?;
    let topics = topics(&mut reader)?;
    let _user_data = primitive::nullable_bytes(&mut reader, false)?;
    let owned = if version >= 1 { partitions(&mut reader)? } else { Named::new() };
    let _generation = if version >= 2 { reader.i32()? } else { -1 };
    let rack_id = if version >= 3 { primitive::nullable_string(&mut reader, false)? } else { None };
    Ok(Subscription { topics, owned, rack_id: rack_id.filter(|rack| !rack.is_empty()) })
}

/// Reads an assignment; whether an assignor of the members' own put something into it that only it understands.
pub fn read_assignment(bytes: Bytes) -> Result<(Named, bool), WireError> {
    let mut reader = Reader::new(bytes);
    read_version(&mut reader)?;
    let assigned = partitions(&mut reader)?;
    let user_data = primitive::nullable_bytes(&mut reader, false)?;
    Ok((assigned, user_data.is_some_and(|data| !data.is_empty())))
}

/// Writes an assignment.
pub fn write_assignment(version: i16, assigned: &[(String, Vec<i32>)]) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(version);
    primitive::put_array(&mut writer, false, assigned, |writer, (name, partitions)| {
        primitive::put_string(writer, false, name);
        primitive::put_array(writer, false, partitions, |writer, partition| writer.i32(*partition));
    });
    primitive::put_nullable_bytes(&mut writer, false, true, None);
    writer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A subscription as a client of Kafka 4.0 writes it, and an assignment.
    const SUBSCRIPTION: &[u8] = b"\0\x03\0\0\0\x01\0\x06orders\xff\xff\xff\xff\0\0\0\x01\0\x06orders\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\x07\0\x01a";
    const ASSIGNMENT: &[u8] = b"\0\x01\0\0\0\x01\0\x06orders\0\0\0\x02\0\0\0\0\0\0\0\x02\xff\xff\xff\xff";

    fn orders() -> Named {
        vec![("orders".to_owned(), vec![0, 2])]
    }

    #[test]
    fn a_subscription_in_each_version() {
        let (topics, owned) = (vec!["orders".to_owned()], orders());
        let newest = Subscription { topics, owned, rack_id: Some("a".to_owned()) };
        assert_eq!(read_subscription(Bytes::from_static(SUBSCRIPTION)), Ok(newest.clone()));
        for (version, length) in [(0, 18), (1, 42), (2, 46), (3, 49), (9, 49)] {
            let mut bytes = SUBSCRIPTION[..length].to_vec();
            bytes[1] = version;
            let mut wanted = newest.clone();
            if version < 1 {
                wanted.owned.clear();
            }
            wanted.rack_id = wanted.rack_id.filter(|_| version >= 3);
            assert_eq!(read_subscription(bytes.clone().into()), Ok(wanted), "version {version}");
            assert!(read_subscription(bytes[..length - 1].to_vec().into()).is_err(), "version {version}");
        }
        assert!(read_subscription(Bytes::from_static(b"\xff\xff\0\0\0\0")).is_err());
    }

    #[test]
    fn an_assignment_is_written_as_it_is_read() {
        assert_eq!(write_assignment(1, &orders()), ASSIGNMENT);
        assert_eq!(read_assignment(Bytes::from_static(ASSIGNMENT)), Ok((orders(), false)));
        let with_more = [&ASSIGNMENT[..ASSIGNMENT.len() - 4], b"\0\0\0\x01x"].concat();
        assert_eq!(read_assignment(with_more.into()), Ok((orders(), true)));
    }
}
