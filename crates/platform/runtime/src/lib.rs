//! Pods as isolated process trees, without root or Docker.
