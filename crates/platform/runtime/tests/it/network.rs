//! The way out of a pod and the way in.

use crate::fixture::*;
use nix::sys::socket::{getsockopt, sockopt::OriginalDst};
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn read_all(mut stream: tokio::net::TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("text");
    text
}

#[tokio::test]
async fn every_connection_out_arrives_at_the_capture_listener_with_its_destination() {
    let Some(mut stand) = stand("capture").await else { return };
    let network = stand.start(pod("out-0", 5)).await;
    let capture = tokio::net::TcpListener::from_std(network.capture).expect("listener");
    for (place, port) in [("10.96.0.50", 80), ("10.244.2.7", 8080), ("93.184.216.34", 443), ("10.240.0.2", 9092)] {
        let name = format!("client-{port}");
        stand.run("out-0", shell(&name, &format!("exec 3<>/dev/tcp/{place}/{port}; echo ping >&3; cat <&3"))).await;
        let (mut stream, from) = capture.accept().await.expect("captured");
        let wanted = getsockopt(&stream, OriginalDst).expect("original destination");
        assert_eq!(Ipv4Addr::from(u32::from_be(wanted.sin_addr.s_addr)).to_string(), place);
        assert_eq!(u16::from_be(wanted.sin_port), port);
        assert_eq!(from.ip().to_string(), "10.244.1.5");
        let mut question = [0; 5];
        stream.read_exact(&mut question).await.expect("a question");
        stream.write_all(b"pong\n").await.expect("answered");
        drop(stream);
        stand.exit(&name).await;
        assert_eq!(stand.log("out-0", &name, Default::default()).await, "pong\n");
    }
}

#[tokio::test]
async fn connections_within_the_pod_stay_there_and_other_protocols_go_nowhere() {
    let Some(mut stand) = stand("within").await else { return };
    stand.start(pod("in-0", 6)).await;
    stand.run("in-0", server(8080)).await;
    stand.printed("in-0", "server", "listening").await;
    for address in ["127.0.0.1", "10.244.1.6", "localhost"] {
        let (text, _) = stand.output("in-0", shell("client", &format!("cat < /dev/tcp/{address}/8080"))).await;
        assert!(text.starts_with("hello "), "{address}: {text}");
    }
    let udp = "my $s = IO::Socket::INET->new(Proto => 'udp', PeerAddr => '10.244.1.99', PeerPort => 9) or die;
               my $r = $s->send('x'); print defined $r ? 'sent' : \"refused\"";
    let (text, _) = stand.output("in-0", perl("udp", udp)).await;
    assert_eq!(text, "refused\n");
}

#[tokio::test]
async fn dns_questions_arrive_at_the_dns_sockets() {
    let Some(mut stand) = stand("dns").await else { return };
    let network = stand.start(pod("dns-0", 7)).await;
    let dns = tokio::net::UdpSocket::from_std(network.dns).expect("socket");
    let script = "my $s = IO::Socket::INET->new(Proto => 'udp', PeerAddr => '10.96.0.10', PeerPort => 53) or die;
                  $s->send('question'); $s->recv(my $answer, 100); print $answer, ' from ', $s->peerhost";
    stand.run("dns-0", perl("asker", script)).await;
    let mut buffer = [0; 100];
    let (length, from) = dns.recv_from(&mut buffer).await.expect("a question");
    assert_eq!(&buffer[..length], b"question");
    dns.send_to(b"answer", from).await.expect("answered");
    stand.exit("asker").await;
    assert_eq!(stand.log("dns-0", "asker", Default::default()).await, "answer from 10.96.0.10\n");
}

#[tokio::test]
async fn connections_into_a_pod_carry_the_callers_address() {
    let Some(stand) = stand("dial").await else { return };
    stand.start(pod("srv-0", 8)).await;
    let refused = stand.runtime.dial("srv-0", 8080, None).await.expect_err("nobody listens yet");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    stand.run("srv-0", server(8080)).await;
    stand.printed("srv-0", "server", "listening").await;
    // More than one batch of spare sockets.
    for round in 0..40 {
        let caller = Ipv4Addr::new(10, 244, 2, round);
        let stream = stand.runtime.dial("srv-0", 8080, Some(caller)).await.expect("connected");
        assert_eq!(read_all(stream).await, format!("hello {caller}\n"));
    }
    let stream = stand.runtime.dial("srv-0", 8080, None).await.expect("connected");
    assert_eq!(read_all(stream).await, "hello 10.244.1.8\n");
}
