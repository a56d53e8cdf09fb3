//! ICMP errors in Data indications (RFC 8656 section 11.5).

use super::*;

const PEER: &str = "8.8.4.4:9000";

fn error(peer: &str, kind: u8, code: u8) -> IcmpError {
    IcmpError {
        peer: peer.parse().unwrap(),
        kind,
        code,
        mtu: 1_280,
    }
}

impl World {
    /// Returns the Data indication that an error causes for the client of a relayed address.
    fn on_icmp(
        &mut self,
        relayed: SocketAddr,
        error: &IcmpError,
    ) -> Result<(Route, Response), DropReason> {
        let id = self.server.table.find_by_relayed(relayed);
        let id = id.expect("an allocation");
        let route = self.server.handle_icmp_error(self.now, id, error)?;
        Ok((route, Response(self.server.response().to_vec())))
    }

    /// Returns the value of the ICMP attribute.
    fn reported(&mut self, relayed: SocketAddr, error: &IcmpError) -> Result<Vec<u8>, DropReason> {
        let (_, indication) = self.on_icmp(relayed, error)?;
        let value = indication
            .message()
            .get(Attribute::ICMP)
            .map(<[u8]>::to_vec);
        Ok(value.expect("an ICMP attribute"))
    }
}

#[test]
fn an_icmp_error_about_a_permitted_peer_is_reported_by_data_indication() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("192.88.1.1:1000", "alice");
    client.permit(&mut world, &["8.8.4.4:1"]);
    let unreachable = error(PEER, 3, 3);
    let (route, indication) = world.on_icmp(relayed, &unreachable).unwrap();
    assert_eq!(route, client.route);
    let message = indication.message();
    assert_eq!(message.class(), Class::Indication);
    assert_eq!(message.method(), Method::DATA);
    let peer = indication.address(Attribute::XOR_PEER_ADDRESS);
    assert_eq!(peer, Some(PEER.parse().unwrap()));
    // 16 reserved bits, 7 bits type, 9 bits code, no MTU.
    assert_eq!(
        message.get(Attribute::ICMP),
        Some(&[0, 0, 3 << 1, 3, 0, 0, 0, 0][..])
    );
    assert_eq!(message.get(Attribute::DATA), None);
}

#[test]
fn a_packet_too_big_error_reports_the_next_hop_mtu() {
    let mut world = World::new();
    let mut client = Client::new("192.88.1.1:1000", "alice");
    let both = (Attribute::ADDITIONAL_ADDRESS_FAMILY, vec![2, 0, 0, 0]);
    let relayed = client.allocate(&mut world, &[both]).relayed();
    let v6 = "[2606:4700::1]:9000";
    client.permit(&mut world, &[PEER, v6]);
    let [at_v4, at_v6] = relayed[..] else {
        panic!("two relayed addresses");
    };
    let reported = [
        (at_v4, error(PEER, 3, 4), [0, 0, 6, 4, 0, 0, 5, 0]),
        (at_v4, error(PEER, 11, 0), [0, 0, 22, 0, 0, 0, 0, 0]),
        (at_v6, error(v6, 2, 0), [0, 0, 4, 0, 0, 0, 5, 0]),
        (at_v6, error(v6, 1, 4), [0, 0, 2, 4, 0, 0, 0, 0]),
        (at_v6, error(v6, 3, 1), [0, 0, 6, 1, 0, 0, 0, 0]),
    ];
    for (relayed, error, value) in reported {
        assert_eq!(world.reported(relayed, &error).unwrap(), value, "{error:?}");
    }
    for peer in [PEER, v6] {
        let too_big = IcmpError::too_big(peer.parse().unwrap(), 1_280);
        let value = world.reported(at_v4, &too_big).unwrap();
        assert_eq!(value[4..], [0, 0, 5, 0]);
    }
}

#[test]
fn other_icmp_types_are_not_reported() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("192.88.1.1:1000", "alice");
    client.permit(&mut world, &[PEER]);
    for kind in (0..=255).filter(|kind| ![3, 11].contains(kind)) {
        let reported = world.reported(relayed, &error(PEER, kind, 0));
        assert_eq!(reported, Err(DropReason::IcmpType), "type {kind}");
    }
}

#[test]
fn an_icmp_error_about_a_peer_without_permission_is_not_reported() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("192.88.1.1:1000", "alice");
    let unreachable = error(PEER, 3, 1);
    assert_eq!(
        world.reported(relayed, &unreachable),
        Err(DropReason::NoPermission)
    );
    client.permit(&mut world, &[PEER]);
    assert!(world.reported(relayed, &unreachable).is_ok());
    let denied = error("10.0.0.1:9000", 3, 1);
    assert_eq!(
        world.reported(relayed, &denied),
        Err(DropReason::PeerDenied)
    );
    world.advance(Duration::from_secs(300));
    assert_eq!(
        world.reported(relayed, &unreachable),
        Err(DropReason::NoPermission)
    );
}

#[test]
fn ten_icmp_errors_a_second_are_reported_to_a_client() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("192.88.1.1:1000", "alice");
    client.permit(&mut world, &[PEER]);
    let unreachable = error(PEER, 3, 3);
    let mut reported = 0;
    for _ in 0..1_000 {
        reported += usize::from(world.reported(relayed, &unreachable).is_ok());
        world.advance(Duration::from_millis(10));
    }
    assert!((100..=120).contains(&reported), "{reported} in ten seconds");
    let mut at_once = (0..1_000).map(|_| world.reported(relayed, &unreachable));
    assert_eq!(at_once.find_map(Result::err), Some(DropReason::IcmpRate));
}
