//! Files that wait for acceptance: what an attempt writes lies in a folder of its own, over the tree that it changes,
//! until it is moved into place.
//!
//! | part | is |
//! | --- | --- |
//! | `stand` | what stands at a path of the tree, looked up without following a link |
//! | `manifest` | what shall stand where, and what stood there when it was read: the list of changes |
//! | `overlay` | the tree as the attempt sees it: its changes over what is there |
//! | `mover` | moves the changes into place; may be cut off anywhere and repeated |
//! | `claims` | paths of attempts that are accepted and not all in place |
//!
//! It does not know who may write where: that is the `fs` server's, and what is accepted is the engine's.

mod claims;
mod manifest;
mod mover;
mod overlay;
mod stand;

pub use claims::{Claims, Moving};
pub use manifest::{CHANGES_MAX, Change, Kind, Listed, Manifest, ManifestError};
pub use mover::{Move, MoveError, conflicts, discard, place, place_pacing};
pub use overlay::{Node, Overlay, OverlayError, Walked};
pub use stand::{Stand, is_plain, open_beneath, sha256_of};
