//! A network of several hosts, of which the test's namespace is one.

use std::net::{Ipv4Addr, SocketAddr};

use super::host::{Host, run};

/// A bridge with a network of 254 addresses; the first is the test's own.
pub struct Switch {
    name: String,
    network: (u8, u8),
}

impl Switch {
    pub fn new(name: String, network: (u8, u8)) -> Self {
        let switch = Switch { name, network };
        let name = &switch.name;
        run(&format!("ip link add {name} type bridge"));
        run(&format!("ip addr add {}/24 dev {name}", switch.address(1)));
        run(&format!("ip link set {name} up"));
        switch
    }

    pub fn address(&self, place: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.network.0, self.network.1, place)
    }

    pub fn socket(&self, place: u8, port: u16) -> SocketAddr {
        SocketAddr::from((self.address(place), port))
    }

    /// The network, as options name it.
    pub fn network(&self) -> String {
        format!("{}/24", self.address(0))
    }

    /// Connects a host, whose interface has the name of the switch.
    pub fn plug(&self, host: &Host, place: u8) -> Cable {
        let (name, port, pid) = (&self.name, format!("{}-{place}", self.name), host.pid());
        run(&format!("ip link add {port} type veth peer name {name} netns {pid}"));
        run(&format!("ip link set {port} up master {name}"));
        host.run(&format!("ip addr add {}/24 dev {name}", self.address(place)));
        host.run(&format!("ip link set {name} up"));
        Cable { switch: name.clone(), port }
    }
}

/// A host's connection to a switch.
pub struct Cable {
    switch: String,
    port: String,
}

impl Cable {
    /// From now on all packets vanish, in both directions, and neither side is told.
    pub fn cut(&self) {
        run(&format!("ip link set {} nomaster", self.port));
    }

    pub fn mend(&self) {
        run(&format!("ip link set {} master {}", self.port, self.switch));
    }
}
