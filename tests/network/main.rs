//! Hosts that vanish from the network without closing their connections, hosts with public addresses, and three gateways with a proxy
//! in front. `tests/run` runs these tests in a network namespace, because the tests take links down and add addresses.

mod kill;
#[allow(dead_code, reason = "the tests by hand use all of it")]
mod machines;
mod rates;
mod silence;
mod update;

use machines::host::run;

fn loopback() {
    run("ip link set lo up");
}
