//! The addresses of this host on systems without change notifications.

use std::io;

use crate::turn::{AddressState, HostAddress};

/// Lists every address of every interface.
pub fn list() -> io::Result<Vec<HostAddress>> {
    let mut addresses = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(address) = interface.address else {
            continue;
        };
        let v4 = address.as_sockaddr_in().map(|a| a.ip().into());
        let v6 = address
            .as_sockaddr_in6()
            .map(|a| (a.ip().into(), a.scope_id()));
        addresses.extend(
            v4.map(|ip| (ip, 0))
                .or(v6)
                .map(|(ip, interface)| HostAddress {
                    ip,
                    interface,
                    state: AddressState::Preferred,
                    temporary: false,
                }),
        );
    }
    Ok(addresses)
}

/// Never notifies: the list is polled.
pub struct Watch;

impl Watch {
    pub fn open() -> io::Result<Watch> {
        let why = "this system has no address change notifications";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    pub async fn changed(&mut self) -> io::Result<()> {
        std::future::pending().await
    }
}
