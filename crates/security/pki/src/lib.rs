//! The certificate authority and the certificates of nodes, users and workloads.
