//! What parlor keeps: the data directory and, in it, the database.

pub mod data_dir;
