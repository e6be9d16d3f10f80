//! Redis Cluster over its real protocol.
