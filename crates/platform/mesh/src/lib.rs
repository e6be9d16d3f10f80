//! Captured pod traffic, cluster DNS, load balancing and mutual TLS between nodes.
