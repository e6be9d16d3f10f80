//! Just enough netlink to give a fresh network namespace its address, its routes and its redirects, so that no `ip` and
//! no `nft` program is needed. Messages are built by pure functions and sent in one go; every one is acknowledged.
//!
//! Sources: `linux/rtnetlink.h`, `linux/netfilter/nf_tables.h`, and what `nft --debug=mnl` sends for the same rules.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Where captured TCP connections arrive inside the pod (Istio's port for the same purpose).
pub(crate) const CAPTURE_PORT: u16 = 15001;
/// Where captured DNS questions arrive inside the pod (Istio's port for the same purpose).
pub(crate) const DNS_PORT: u16 = 15053;
/// The loopback interface is the first of every namespace.
const LOOPBACK_INDEX: u32 = 1;
/// Addresses that connections *into* a pod may come from (nodes, the host, pods): 10.240.0.0/13 covers 10.240 to 10.247.
const CALLERS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 240, 0, 0), 13);

/// A netlink message under construction, or several one after another.
#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
    acknowledged: usize,
}

impl Messages {
    /// Adds a message; `body` writes what follows the header. With `flags` containing `NLM_F_ACK` an answer is awaited.
    fn message(&mut self, kind: u16, flags: i32, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        let sequence = u32::try_from(self.acknowledged).unwrap_or(0) + 1;
        if flags & libc::NLM_F_ACK != 0 {
            self.acknowledged += 1;
        }
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        body(&mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Sends everything and waits for all acknowledgements; the first refusal is the error.
    fn exchange(&self, protocol: i32) -> io::Result<()> {
        // SAFETY: a plain system call without pointers; the descriptor is checked, and owned from here on.
        let socket = unsafe {
            let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: the pointer and the length describe `self.bytes`.
        let sent = unsafe { libc::send(socket.as_raw_fd(), self.bytes.as_ptr().cast(), self.bytes.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut answered = 0;
        let mut buffer = [0u8; 8192];
        while answered < self.acknowledged {
            // SAFETY: the pointer and the length describe `buffer`.
            let length = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
            answered += acknowledgements(buffer.get(..length).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Counts the acknowledgements in an answer; the first error in it is ours.
fn acknowledgements(mut answer: &[u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some(length) = answer.first_chunk::<4>() {
        let length = (u32::from_ne_bytes(*length) as usize).clamp(16, answer.len().max(16));
        let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map_or(0, u16::from_ne_bytes);
        if i32::from(kind) == libc::NLMSG_ERROR {
            let code = answer.get(16..20).and_then(|code| code.try_into().ok()).map_or(-libc::EIO, i32::from_ne_bytes);
            if code != 0 {
                return Err(io::Error::from_raw_os_error(-code));
            }
            count += 1;
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(count)
}

/// An attribute: length, type, value, padding. `libc::NLA_F_NESTED` is added by [`nested`].
fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn nested(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    body(&mut inner);
    attribute(out, kind | libc::NLA_F_NESTED as u16, &inner);
}

const MAKE: i32 = libc::NLM_F_CREATE | libc::NLM_F_ACK;

/// Brings the loopback interface up with the pod's address and its routes.
///
/// Everything is routed to `lo`. Callers' addresses are *local* there, so that a socket made for a connection into the
/// pod can carry its caller's address, and the answers find their way back to it.
pub(crate) fn configure_loopback(ip: Ipv4Addr) -> io::Result<()> {
    let mut messages = Messages::default();
    messages.message(libc::RTM_NEWLINK, libc::NLM_F_ACK, |body| {
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
        body.extend_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
        body.extend_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
    });
    messages.message(libc::RTM_NEWADDR, MAKE, |body| {
        body.extend_from_slice(&[libc::AF_INET as u8, 32, 0, libc::RT_SCOPE_UNIVERSE]);
        body.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
        attribute(body, libc::IFA_LOCAL, &ip.octets());
        attribute(body, libc::IFA_ADDRESS, &ip.octets());
    });
    let local = (libc::RT_TABLE_LOCAL, libc::RT_SCOPE_HOST, libc::RTN_LOCAL);
    messages.message(libc::RTM_NEWROUTE, MAKE, |body| route(body, CALLERS, local, ip));
    let link = (libc::RT_TABLE_MAIN, libc::RT_SCOPE_LINK, libc::RTN_UNICAST);
    messages.message(libc::RTM_NEWROUTE, MAKE, |body| route(body, (Ipv4Addr::UNSPECIFIED, 0), link, ip));
    messages.exchange(libc::NETLINK_ROUTE)
}

fn route(body: &mut Vec<u8>, to: (Ipv4Addr, u8), (table, scope, kind): (u8, u8, u8), source: Ipv4Addr) {
    body.extend_from_slice(&[libc::AF_INET as u8, to.1, 0, 0, table, libc::RTPROT_STATIC, scope, kind]);
    body.extend_from_slice(&0u32.to_ne_bytes());
    if to.1 > 0 {
        attribute(body, libc::RTA_DST, &to.0.octets());
    }
    attribute(body, libc::RTA_OIF, &LOOPBACK_INDEX.to_ne_bytes());
    attribute(body, libc::RTA_PREFSRC, &source.octets());
}

const TABLE: &[u8] = b"atoll\0";
const CHAIN: &[u8] = b"output\0";
const NFT_REG_1: u32 = 1;
const NFT_REG_VERDICT: u32 = 0;
const NFT_RETURN: i32 = -5;
const NF_DROP: i32 = 0;
const NFT_META_L4PROTO: u32 = 16;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// Redirects every outbound TCP connection to the capture port and every DNS question to the DNS port, except what stays
/// in the pod (127.0.0.0/8 and its own address). What is neither TCP nor DNS is dropped: nothing could carry it.
pub(crate) fn redirect_outbound(ip: Ipv4Addr) -> io::Result<()> {
    let mut batch = Messages::default();
    batch.message(libc::NFNL_MSG_BATCH_BEGIN as u16, 0, |body| family(body, 0, libc::NFNL_SUBSYS_NFTABLES as u16));
    nftables(&mut batch, libc::NFT_MSG_NEWTABLE, MAKE, |body| attribute(body, 1, TABLE));
    nftables(&mut batch, libc::NFT_MSG_NEWCHAIN, MAKE, |body| {
        attribute(body, 1, TABLE);
        attribute(body, 3, CHAIN);
        nested(body, 4, |hook| {
            attribute(hook, 1, &(libc::NF_INET_LOCAL_OUT as u32).to_be_bytes());
            attribute(hook, 2, &(libc::NF_IP_PRI_NAT_DST as u32).to_be_bytes());
        });
        attribute(body, 7, b"nat\0");
    });
    rule(&mut batch, |rule| {
        payload_is(rule, NETWORK_HEADER, 16, &[127]);
        verdict(rule, NFT_RETURN);
    });
    rule(&mut batch, |rule| {
        payload_is(rule, NETWORK_HEADER, 16, &ip.octets());
        verdict(rule, NFT_RETURN);
    });
    for protocol in [libc::IPPROTO_UDP, libc::IPPROTO_TCP] {
        rule(&mut batch, |rule| {
            protocol_is(rule, protocol);
            payload_is(rule, TRANSPORT_HEADER, 2, &53u16.to_be_bytes());
            redirect(rule, DNS_PORT);
        });
    }
    rule(&mut batch, |rule| {
        protocol_is(rule, libc::IPPROTO_TCP);
        redirect(rule, CAPTURE_PORT);
    });
    rule(&mut batch, |rule| verdict(rule, NF_DROP));
    batch.message(libc::NFNL_MSG_BATCH_END as u16, 0, |body| family(body, 0, libc::NFNL_SUBSYS_NFTABLES as u16));
    batch.exchange(libc::NETLINK_NETFILTER)
}

/// `struct nfgenmsg`.
fn family(body: &mut Vec<u8>, family: u8, resource: u16) {
    body.extend_from_slice(&[family, 0]);
    body.extend_from_slice(&resource.to_be_bytes());
}

fn nftables(batch: &mut Messages, kind: i32, flags: i32, attributes: impl FnOnce(&mut Vec<u8>)) {
    let kind = ((libc::NFNL_SUBSYS_NFTABLES << 8) | kind) as u16;
    batch.message(kind, flags, |body| {
        family(body, libc::NFPROTO_IPV4 as u8, 0);
        attributes(body);
    });
}

fn rule(batch: &mut Messages, expressions: impl FnOnce(&mut Vec<u8>)) {
    nftables(batch, libc::NFT_MSG_NEWRULE, MAKE | libc::NLM_F_APPEND, |body| {
        attribute(body, 1, TABLE);
        attribute(body, 2, CHAIN);
        nested(body, 4, expressions);
    });
}

fn expression(rule: &mut Vec<u8>, name: &[u8], body: impl FnOnce(&mut Vec<u8>)) {
    nested(rule, 1, |element| {
        attribute(element, 1, name);
        nested(element, 2, body);
    });
}

/// Loads bytes of a header into the register and compares them.
fn payload_is(rule: &mut Vec<u8>, base: u32, offset: u32, value: &[u8]) {
    expression(rule, b"payload\0", |body| {
        attribute(body, 1, &NFT_REG_1.to_be_bytes());
        attribute(body, 2, &base.to_be_bytes());
        attribute(body, 3, &offset.to_be_bytes());
        attribute(body, 4, &(value.len() as u32).to_be_bytes());
    });
    register_is(rule, value);
}

fn protocol_is(rule: &mut Vec<u8>, protocol: i32) {
    expression(rule, b"meta\0", |body| {
        attribute(body, 2, &NFT_META_L4PROTO.to_be_bytes());
        attribute(body, 1, &NFT_REG_1.to_be_bytes());
    });
    register_is(rule, &[protocol as u8]);
}

fn register_is(rule: &mut Vec<u8>, value: &[u8]) {
    expression(rule, b"cmp\0", |body| {
        attribute(body, 1, &NFT_REG_1.to_be_bytes());
        attribute(body, 2, &0u32.to_be_bytes());
        nested(body, 3, |data| attribute(data, 1, value));
    });
}

fn redirect(rule: &mut Vec<u8>, port: u16) {
    expression(rule, b"immediate\0", |body| {
        attribute(body, 1, &NFT_REG_1.to_be_bytes());
        nested(body, 2, |data| attribute(data, 1, &port.to_be_bytes()));
    });
    expression(rule, b"redir\0", |body| {
        attribute(body, 1, &NFT_REG_1.to_be_bytes());
        attribute(body, 3, &NF_NAT_RANGE_PROTO_SPECIFIED.to_be_bytes());
    });
}

fn verdict(rule: &mut Vec<u8>, code: i32) {
    expression(rule, b"immediate\0", |body| {
        attribute(body, 1, &NFT_REG_VERDICT.to_be_bytes());
        nested(body, 2, |data| nested(data, 2, |verdict| attribute(verdict, 1, &code.to_be_bytes())));
    });
}
