//! Fuzz targets; each runs as an ordinary test too, with fewer inputs.

mod plan_file;
