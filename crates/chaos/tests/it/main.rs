//! Integration tests: one binary, a module per subject.

mod controls;
mod damage;
mod disk;
mod lives;
mod matrix;
mod random_kills;
