//! Questions to the kernel about its network interfaces, over a NETLINK_ROUTE socket. Numbers are those of rtnetlink(7).

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use model::lxc::Ipv4Network;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, send, socket_with};

/// A socket that stays in the network namespace in which it was opened.
pub(crate) struct Route {
    socket: OwnedFd,
    sequence: u32,
}

/// An interface as the kernel has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    /// Its first name; it may have been asked for by another.
    pub(crate) name: String,
    mtu: u32,
}

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const NEW_OTHER_NAME: u16 = 108;
const DELETE_OTHER_NAME: u16 = 109;

const REQUEST: u16 = 1;
const ANSWER: u16 = 4;
const ALL: u16 = 0x300;
const CREATE: u16 = 0x600;
const ONE_MORE: u16 = 0xe00;

const UP: u32 = 1;
const INET: u8 = 2;
const LINK_CHANGES: u32 = 1;

mod link {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const MASTER: u16 = 10;
    pub(super) const SORT: u16 = 18;
    pub(super) const NAMESPACE: u16 = 28;
    pub(super) const OTHER_NAMES: u16 = 52;
    pub(super) const OTHER_NAME: u16 = 53;
    /// Within `SORT`.
    pub(super) const KIND: u16 = 1;
    /// Within `SORT`.
    pub(super) const PARTICULARS: u16 = 2;
    /// Within `PARTICULARS` of a veth.
    pub(super) const PEER: u16 = 1;
}

/// Readable when an interface of the network namespace in which it was opened has changed.
pub(crate) struct Changes(OwnedFd);

impl Changes {
    pub(crate) fn open() -> Result<Changes, Errno> {
        let Route { socket, .. } = Route::open()?;
        bind(&socket, &SocketAddrNetlink::new(0, LINK_CHANGES))?;
        Ok(Changes(socket))
    }
}

impl Route {
    pub(crate) fn open() -> Result<Route, Errno> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Route { socket, sequence: 0 })
    }

    /// The interface of that name, or with that other name.
    pub(crate) fn interface(&mut self, name: &str) -> Result<Interface, Errno> {
        let answers = self.ask(GET_LINK, 0, &link_of(0, 0).text(link::NAME, name))?;
        answers.iter().find_map(|answer| interface_of(answer)).ok_or(Errno::NODEV)
    }

    /// The same, which may be on its way back from a network namespace that is being taken down.
    pub(crate) fn awaited_interface(&mut self, name: &str, changes: &Changes) -> Result<Interface, Errno> {
        let Changes(changes) = changes;
        let end = Instant::now() + LONGEST_WAY_BACK;
        loop {
            match self.interface(name) {
                Err(Errno::NODEV) => {}
                outcome => return outcome,
            }
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(changes, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(Errno::NODEV),
                // Too many changes at once to tell each is a change as well.
                Ok(_) => drop(rustix::io::read(changes, &mut [0; 4096])),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The first address of an interface.
    pub(crate) fn address(&mut self, interface: &Interface) -> Result<Ipv4Addr, Errno> {
        let answers = self.ask(GET_ADDRESS, ALL, &Attributes::after(&[INET, 0, 0, 0, 0, 0, 0, 0]))?;
        let of_it = |answer: &&Vec<u8>| answer.get(4..8) == Some(&interface.index.to_ne_bytes());
        let local = |answer: &Vec<u8>| <[u8; 4]>::try_from(attribute(answer, 8, 2)?).ok();
        answers.iter().filter(of_it).find_map(local).map(Ipv4Addr::from).ok_or(Errno::ADDRNOTAVAIL)
    }

    /// Makes a pair of interfaces: ours, up and attached to `bridge`; theirs named `name` in that namespace.
    pub(crate) fn make_pair(
        &mut self,
        bridge: Option<&Interface>,
        name: &str,
        namespace: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        let mut peer = link_of(0, 0).text(link::NAME, name).number(link::NAMESPACE, number_of(namespace));
        let mut ours = link_of(0, UP);
        if let Some(bridge) = bridge {
            // A bridge takes the lowest address of its ports as its own: this one is never the lowest.
            let mut address = [0xfe; 6];
            rustix::rand::getrandom(&mut address[1..], rustix::rand::GetRandomFlags::INSECURE)?;
            peer = peer.number(link::MTU, bridge.mtu);
            ours = ours
                .bytes(link::ADDRESS, &address)
                .number(link::MTU, bridge.mtu)
                .number(link::MASTER, bridge.index);
        }
        let particulars = Attributes::after(&[]).nest(link::PEER, &peer);
        let sort = Attributes::after(&[]).text(link::KIND, "veth").nest(link::PARTICULARS, &particulars);
        self.ask(NEW_LINK, CREATE, &ours.nest(link::SORT, &sort)).map(drop)
    }

    /// Moves an interface into that namespace, where it is called `name`.
    pub(crate) fn give(
        &mut self,
        interface: &Interface,
        name: &str,
        namespace: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        let there =
            link_of(interface.index, 0).number(link::NAMESPACE, number_of(namespace)).text(link::NAME, name);
        self.ask(NEW_LINK, 0, &there).map(drop)
    }

    /// Lets an interface be found by another name too.
    pub(crate) fn add_other_name(&mut self, interface: &Interface, name: &str) -> Result<(), Errno> {
        self.ask(NEW_OTHER_NAME, ONE_MORE, &other_name(interface, name)).map(drop)
    }

    pub(crate) fn delete_other_name(&mut self, interface: &Interface, name: &str) -> Result<(), Errno> {
        self.ask(DELETE_OTHER_NAME, 0, &other_name(interface, name)).map(drop)
    }

    pub(crate) fn set_up(&mut self, interface: &Interface) -> Result<(), Errno> {
        self.ask(NEW_LINK, 0, &link_of(interface.index, UP)).map(drop)
    }

    pub(crate) fn add_address(&mut self, interface: &Interface, network: Ipv4Network) -> Result<(), Errno> {
        let address = network.address.octets();
        let [a, b, c, d] = interface.index.to_ne_bytes();
        let mut body = Attributes::after(&[INET, network.prefix, 0, 0, a, b, c, d])
            .bytes(2, &address)
            .bytes(1, &address);
        if network.prefix < 31 {
            let hosts = u32::MAX.checked_shr(network.prefix.into()).unwrap_or(0);
            body = body.bytes(4, &(network.address.to_bits() | hosts).to_be_bytes());
        }
        self.ask(NEW_ADDRESS, CREATE, &body).map(drop)
    }

    /// The default route. A gateway outside of the interface's own networks is one that the interface reaches directly.
    pub(crate) fn add_gateway(&mut self, interface: &Interface, gateway: Ipv4Addr) -> Result<(), Errno> {
        let default =
            || route(0, EVERYWHERE).number(OUT_BY, interface.index).bytes(GATEWAY, &gateway.octets());
        match self.ask(NEW_ROUTE, CREATE, &default()) {
            Err(Errno::NETUNREACH) => {
                let host = route(32, NEIGHBOURS).number(OUT_BY, interface.index);
                self.ask(NEW_ROUTE, CREATE, &host.bytes(DESTINATION, &gateway.octets()))?;
                self.ask(NEW_ROUTE, CREATE, &default()).map(drop)
            }
            outcome => outcome.map(drop),
        }
    }

    fn ask(&mut self, kind: u16, flags: u16, body: &Attributes) -> Result<Vec<Vec<u8>>, Errno> {
        self.sequence += 1;
        let mut message = Vec::with_capacity(HEAD + body.0.len());
        message.extend_from_slice(&length(HEAD + body.0.len())?.to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&(REQUEST | ANSWER | flags).to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&body.0);
        send(&self.socket, &message, SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut space = vec![0; LARGEST];
        loop {
            let got = match rustix::io::read(&self.socket, &mut space) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            let mut rest = &space[..got];
            while let Some((heard, after)) = first_message(rest) {
                rest = after;
                match heard {
                    Heard { sequence, .. } if sequence != self.sequence => {}
                    Heard { kind: ERROR, body, .. } => return outcome_of(body).map(|()| answers),
                    Heard { kind: DONE, .. } => return Ok(answers),
                    Heard { body, .. } => answers.push(body.to_vec()),
                }
            }
        }
    }
}

/// A namespace that is taken down gives its interfaces back some milliseconds after its last process has ended.
const LONGEST_WAY_BACK: Duration = Duration::from_secs(2);

const HEAD: usize = 16;
/// The kernel fills at most 32 KiB at once.
const LARGEST: usize = 64 * 1024;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const DESTINATION: u16 = 1;
const OUT_BY: u16 = 4;
const GATEWAY: u16 = 5;
const EVERYWHERE: u8 = 0;
const NEIGHBOURS: u8 = 253;

struct Heard<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

fn first_message(bytes: &[u8]) -> Option<(Heard<'_>, &[u8])> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let whole = usize::try_from(word(0)?).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let heard = Heard { kind, sequence: word(8)?, body: bytes.get(HEAD..whole)? };
    Some((heard, bytes.get(whole.next_multiple_of(4)..).unwrap_or_default()))
}

fn outcome_of(body: &[u8]) -> Result<(), Errno> {
    let number = body.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    if number == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(number.wrapping_neg())) }
}

fn interface_of(answer: &[u8]) -> Option<Interface> {
    let name = attribute(answer, 16, link::NAME)?.split(|byte| *byte == 0).next()?;
    Some(Interface {
        index: u32::from_ne_bytes(answer.get(4..8)?.try_into().ok()?),
        name: String::from_utf8_lossy(name).into_owned(),
        mtu: u32::from_ne_bytes(attribute(answer, 16, link::MTU)?.try_into().ok()?),
    })
}

/// The value of an attribute, of those that come after the first `head` bytes.
fn attribute(body: &[u8], head: usize, wanted: u16) -> Option<&[u8]> {
    let mut rest = body.get(head..)?;
    loop {
        let whole = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..whole)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(whole.next_multiple_of(4)..)?;
    }
}

/// The body of a message: a head of fixed form, then attributes.
struct Attributes(Vec<u8>);

impl Attributes {
    fn after(head: &[u8]) -> Attributes {
        Attributes(head.to_vec())
    }

    fn bytes(mut self, kind: u16, value: &[u8]) -> Attributes {
        // Ours are names, addresses, what holds them: never near 64 KiB.
        let whole = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&whole.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn number(self, kind: u16, value: u32) -> Attributes {
        self.bytes(kind, &value.to_ne_bytes())
    }

    fn text(self, kind: u16, value: &str) -> Attributes {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    fn nest(self, kind: u16, inside: &Attributes) -> Attributes {
        const NESTED: u16 = 0x8000;
        self.bytes(kind | NESTED, &inside.0)
    }
}

/// `struct ifinfomsg`: the interface, with the flags that are set.
fn link_of(index: u32, flags: u32) -> Attributes {
    let [index, flags] = [index.to_ne_bytes(), flags.to_ne_bytes()];
    Attributes::after(&[[0; 4], index, flags, flags].concat())
}

/// `struct rtmsg`, in the main table, as one made at boot.
fn route(prefix: u8, scope: u8) -> Attributes {
    Attributes::after(&[INET, prefix, 0, 0, 254, 3, scope, 1, 0, 0, 0, 0])
}

fn other_name(interface: &Interface, name: &str) -> Attributes {
    let names = Attributes::after(&[]).text(link::OTHER_NAME, name);
    link_of(interface.index, 0).nest(link::OTHER_NAMES, &names)
}

fn number_of(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_fd().as_raw_fd().cast_unsigned()
}

fn length(bytes: usize) -> Result<u32, Errno> {
    u32::try_from(bytes).map_err(|_| Errno::MSGSIZE)
}
