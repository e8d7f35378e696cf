//! Clients with public addresses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::loopback;
use crate::machines::DEADLINE;
use crate::machines::host::run;
use crate::silence::Gateway;

/// Whether a request over a connection of its own is answered.
fn is_served(to: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200 ")
}

#[test]
fn a_public_address_past_its_rate_of_connections_is_refused_at_once_and_this_machine_is_not() {
    loopback();
    run("ip addr add 192.0.2.1/32 dev lo");
    let gateway = Gateway::start(&["--rate-connections", "1/s"]);
    let served = |ip: [u8; 4]| (0..200).filter(|_| is_served(SocketAddr::from((ip, gateway.port)))).count();
    let public = served([192, 0, 2, 1]);
    assert!((60..200).contains(&public), "{public}, a minute's worth");
    assert_eq!(served([127, 0, 0, 1]), 200);
}
