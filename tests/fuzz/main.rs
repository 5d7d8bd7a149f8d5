//! Fuzz targets. Each runs as an ordinary test; a guided run is `cargo bolero test NAME`.

mod journal;
mod plan_file;
