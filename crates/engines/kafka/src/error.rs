//! Kafka's error codes, as far as they are given.
//!
//! <https://kafka.apache.org/protocol.html#protocol_error_codes>

/// An error code with the number that stands for it on the wire. Retriable ones say that the same request may succeed
/// later; with [`ErrorCode::RequestTimedOut`] and [`ErrorCode::NotEnoughReplicasAfterAppend`] it may have succeeded already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub enum ErrorCode {
    /// Something that should not happen. The broker is at fault.
    UnknownServerError = -1,
    /// No error.
    None = 0,
    /// The offset is not within the log.
    OffsetOutOfRange = 1,
    /// The batch is damaged. The client is at fault.
    CorruptMessage = 2,
    /// No such topic or partition, as far as this broker knows.
    UnknownTopicOrPartition = 3,
    /// The partition has no leader at present.
    LeaderNotAvailable = 5,
    /// This broker does not lead, or does not hold, the partition.
    NotLeaderOrFollower = 6,
    /// The time is up; the outcome is unknown.
    RequestTimedOut = 7,
    /// The broker that would have to be asked cannot be reached.
    BrokerNotAvailable = 8,
    /// This broker does not hold the replica.
    ReplicaNotAvailable = 9,
    /// The batch is above `max.message.bytes`.
    MessageTooLarge = 10,
    /// The metadata string of a committed offset is too long.
    OffsetMetadataTooLarge = 12,
    /// Another broker was not reached. Retry.
    NetworkException = 13,
    /// The coordinator is still loading. Retry.
    CoordinatorLoadInProgress = 14,
    /// There is no coordinator at present. Retry.
    CoordinatorNotAvailable = 15,
    /// This broker is not the coordinator: find it again.
    NotCoordinator = 16,
    /// The topic's name is not allowed.
    InvalidTopic = 17,
    /// The batch is above `segment.bytes`.
    RecordListTooLarge = 18,
    /// Fewer replicas are in sync than `min.insync.replicas`; nothing was written.
    NotEnoughReplicas = 19,
    /// The same, but the record was written and may yet be seen.
    NotEnoughReplicasAfterAppend = 20,
    /// `acks` is not −1, 0 or 1.
    InvalidRequiredAcks = 21,
    /// The group's generation is another one.
    IllegalGeneration = 22,
    /// The member shares no protocol with the group.
    InconsistentGroupProtocol = 23,
    /// The group's id is empty or null.
    InvalidGroupId = 24,
    /// The group does not know this member.
    UnknownMemberId = 25,
    /// The session timeout is out of the allowed range.
    InvalidSessionTimeout = 26,
    /// The group is rebalancing: join again.
    RebalanceInProgress = 27,
    /// A record's time is out of the allowed range.
    InvalidTimestamp = 32,
    /// The principal may not do this to the topic.
    TopicAuthorizationFailed = 29,
    /// The principal may not do this to the group.
    GroupAuthorizationFailed = 30,
    /// The principal may not do this to the cluster.
    ClusterAuthorizationFailed = 31,
    /// The principal may not do this with the transactional id.
    TransactionalIdAuthorizationFailed = 53,
    /// There is no authorizer.
    SecurityDisabled = 54,
    /// The broker does not offer this way to authenticate.
    UnsupportedSaslMechanism = 33,
    /// The request does not belong here in the course of an authentication.
    IllegalSaslState = 34,
    /// The version is not supported.
    UnsupportedVersion = 35,
    /// The topic is there already.
    TopicAlreadyExists = 36,
    /// The number of partitions is not allowed.
    InvalidPartitions = 37,
    /// The replication factor is not allowed, or there are too few brokers.
    InvalidReplicationFactor = 38,
    /// The replica assignment is not allowed.
    InvalidReplicaAssignment = 39,
    /// A configuration is not allowed.
    InvalidConfig = 40,
    /// This broker is not the controller, or the controller has no majority.
    NotController = 41,
    /// The request contradicts itself.
    InvalidRequest = 42,
    /// The message format is too old.
    UnsupportedForMessageFormat = 43,
    /// A batch of this producer is missing before this one.
    OutOfOrderSequenceNumber = 45,
    /// A newer producer has taken over.
    InvalidProducerEpoch = 47,
    /// The transaction is not in a state in which that can be done.
    InvalidTxnState = 48,
    /// The transactional id belongs to another producer id.
    InvalidProducerIdMapping = 49,
    /// The timeout is above `transaction.max.timeout.ms`, or not positive.
    InvalidTransactionTimeout = 50,
    /// The transaction before is still ending. Retry.
    ConcurrentTransactions = 51,
    /// A newer coordinator has taken over.
    TransactionCoordinatorFenced = 52,
    /// Not done, because something else in the request was refused.
    OperationNotAttempted = 55,
    /// A policy forbids it.
    PolicyViolation = 44,
    /// The disk is full or failing.
    KafkaStorageError = 56,
    /// No such log directory.
    LogDirNotFound = 57,
    /// Wrong credentials.
    SaslAuthenticationFailed = 58,
    /// Delegation tokens are not enabled.
    DelegationTokenAuthDisabled = 61,
    /// Delegation tokens cannot be asked for over this kind of connection.
    DelegationTokenRequestNotAllowed = 64,
    /// The group is not empty.
    NonEmptyGroup = 68,
    /// There is no such group.
    GroupIdNotFound = 69,
    /// No such fetch session.
    FetchSessionIdNotFound = 70,
    /// The fetch session is at another epoch.
    InvalidFetchSessionEpoch = 71,
    /// The client knows an older leader epoch than this broker.
    FencedLeaderEpoch = 74,
    /// The client knows a newer leader epoch than this broker.
    UnknownLeaderEpoch = 75,
    /// The compression is not known to this version.
    UnsupportedCompressionType = 76,
    /// The new leader does not yet know what is committed. Retry.
    OffsetNotAvailable = 78,
    /// Join again with the member id that was given.
    MemberIdRequired = 79,
    /// The first replica of the partition is not in sync.
    PreferredLeaderNotAvailable = 80,
    /// The group is full.
    GroupMaxSizeReached = 81,
    /// Another member uses the same `group.instance.id`.
    FencedInstanceId = 82,
    /// No replica can lead.
    EligibleLeadersNotAvailable = 83,
    /// The leader is the wanted one already.
    ElectionNotNeeded = 84,
    /// The partition's replicas are not being moved.
    NoReassignmentInProgress = 85,
    /// The group's members read the topic.
    GroupSubscribedToTopic = 86,
    /// The record is not valid.
    InvalidRecord = 87,
    /// A transaction that is not over may change the offset.
    UnstableOffsetCommit = 88,
    /// A newer producer with the same transactional id has taken over.
    ProducerFenced = 90,
    /// Too many changes within a time: later.
    ThrottlingQuotaExceeded = 89,
    /// What the request refers to is not there.
    ResourceNotFound = 91,
    /// The request names the same thing twice.
    DuplicateResource = 92,
    /// The credential does not meet what is asked of credentials.
    UnacceptableCredential = 93,
    /// The feature cannot have this version.
    InvalidUpdateVersion = 95,
    /// No topic has this id, as far as this broker knows.
    UnknownTopicId = 100,
    /// No broker of this id.
    BrokerIdNotRegistered = 102,
    /// There is no transaction of this id.
    TransactionalIdNotFound = 105,
    /// The fetch session names topics in the other way.
    FetchSessionTopicIdError = 106,
    /// The member has been put out: it gives up its partitions and joins again.
    FencedMemberEpoch = 110,
    /// Another member still uses the instance id.
    UnreleasedInstanceId = 111,
    /// There is no such assignor.
    UnsupportedAssignor = 112,
    /// The member has not yet heard of its new epoch.
    StaleMemberEpoch = 113,
    /// The request was sent to a broker, and asks of another kind of server.
    MismatchedEndpointType = 114,
    /// No such kind of server.
    UnsupportedEndpointType = 115,
    /// The transaction can only be aborted.
    TransactionAbortable = 120,
    /// The regular expression is not one.
    InvalidRegularExpression = 128,
}

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> i16 {
        error as i16
    }
}
