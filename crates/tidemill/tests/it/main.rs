//! What holds for the whole repository.

mod tidy;
