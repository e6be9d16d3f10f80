//! Listeners on node addresses, with the kernel's rules applied to live connections.
