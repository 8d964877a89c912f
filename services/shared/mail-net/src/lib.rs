//! Every socket that carries a dialogue, and the clock that is injected everywhere.
//!
//! A server accepts with an [`AcceptLoop`], a client connects with a [`Dial`]. Both get an [`Io`], over which they have a
//! dialogue with a [`LineStream`]. A [`Tap`] sees all of it.

mod accept;
mod clock;
mod close;
pub mod descriptors;
mod dial;
mod io;
mod proxy;
mod stream;
mod tap;

pub use accept::{
    AcceptLoop, ConnectionLimits, Place, Places, SharedAddresses, accept_local, accept_one, client_network,
};
pub use clock::{Clock, Immovable, IoClock, ManualClock, WallClock};
pub use close::close;
pub use dial::{Address, Dial, Dialing, Hop, InvalidAddress, MemoryListener, MemoryNetwork, TcpDial, pair};
pub use io::{Ends, Io, read_some};
pub use proxy::{ProxyError, read_proxy_header};
pub use stream::{Closed, Decode, Encode, Line, LineStream, OUTPUT_OCTETS, Pace, StreamLimits, Tls, TlsError};
pub use tap::{Direction, Kind, Tap, Taps};
