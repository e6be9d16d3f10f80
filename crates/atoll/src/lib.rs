//! The distributed stack in one binary: command line, configuration and assembly.
