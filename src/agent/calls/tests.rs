//! Families of forms, as tables.
