use governor::clock::FakeRelativeClock;

use super::*;

const OFF: Rate = Rate(None);

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

/// Rates with `rate` for all kinds of work, and a clock that only the test advances.
fn rates(rate: &str) -> (Arc<Rates<FakeRelativeClock>>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Arc::new(Rates::with_clock([self::rate(rate); 5], clock.clone())), clock)
}

fn at(address: &str) -> Source {
    Source::reported(address.parse().unwrap())
}

/// The number of changes until the first refusal.
fn changes(rates: &Rates<FakeRelativeClock>, source: Source) -> usize {
    (0..100_000).take_while(|_| rates.check(source, Work::Changes, 1).is_ok()).count()
}

#[test]
fn a_full_bucket_holds_a_minutes_worth_and_then_the_rate_counts() {
    let (rates, clock) = rates("50/s");
    let here = at("192.0.2.1");
    assert_eq!(changes(&rates, here), 3_000);
    let refused = rates.check(here, Work::Changes, 1).unwrap_err();
    assert_eq!(refused.wait, Duration::from_millis(20));
    clock.advance(refused.wait);
    assert_eq!(changes(&rates, here), 1);
    clock.advance(Duration::from_secs(10));
    assert_eq!(changes(&rates, here), 500);
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(changes(&rates, here), 3_000, "no more than a minute's worth, however long nothing happened");
    assert_eq!((rates.exceeded(Work::Changes), rates.exceeded(Work::Rooms)), (5, 0));
}

#[test]
fn addresses_and_kinds_of_work_have_buckets_of_their_own() {
    let (rates, _clock) = rates("1/min");
    for source in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"].map(at) {
        for work in Work::ALL {
            assert_eq!(rates.check(source, work, 1), Ok(()), "{source:?} {work:?}");
            assert!(rates.check(source, work, 1).is_err(), "{source:?} {work:?}");
        }
    }
    for same in ["::ffff:192.0.2.1", "2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff"].map(at) {
        assert!(rates.check(same, Work::Changes, 1).is_err(), "{same:?}");
    }
}

#[test]
fn local_and_private_addresses_have_no_rates_unless_a_proxy_reports_them() {
    for (address, direct, reported) in [
        ("127.0.0.1", false, false),
        ("::1", false, false),
        ("10.1.2.3", false, true),
        ("172.16.0.1", false, true),
        ("192.168.1.1", false, true),
        ("169.254.1.1", false, true),
        ("100.64.0.1", false, true),
        ("fd00::1", false, true),
        ("fe80::1", false, true),
        ("100.128.0.1", true, true),
        ("192.0.2.1", true, true),
        ("2001:db8::1", true, true),
    ] {
        let address: IpAddr = address.parse().unwrap();
        let counted = (Source::direct(address).is_counted, Source::reported(address).is_counted);
        assert_eq!(counted, (direct, reported), "{address}");
        assert!(!Source::proxy(address).is_counted);
    }
    let (rates, _clock) = rates("1/min");
    let proxy = Source::proxy("192.0.2.1".parse().unwrap());
    assert!((0..1_000).all(|_| rates.check(proxy, Work::Connections, 1).is_ok()));
}

#[test]
fn what_is_off_is_never_refused() {
    let clock = FakeRelativeClock::default();
    let rates = Arc::new(Rates::with_clock([OFF; 5], clock));
    let pace = Pace::new(&rates, at("192.0.2.1"));
    assert!((0..10_000).all(|_| rates.check(at("192.0.2.1"), Work::Changes, 1_000).is_ok()));
    assert!((0..10_000).all(|_| pace.check(Work::Changes, 1_000).is_ok()));
    (0..10_000).for_each(|_| pace.heard());
    assert_eq!(pace.pause(), None);
}

#[test]
fn many_changes_at_once_are_done_whole_or_not_at_all() {
    let (rates, clock) = rates("60/min");
    let here = at("192.0.2.1");
    assert_eq!(rates.check(here, Work::Changes, 0), Ok(()));
    assert_eq!(rates.check(here, Work::Changes, 40), Ok(()));
    assert_eq!(rates.check(here, Work::Changes, 30).unwrap_err().wait, Duration::from_secs(10));
    assert_eq!(changes(&rates, here), 20, "the refused ones do not count");
    clock.advance(Duration::from_secs(59));
    let whole = rates.check(here, Work::Changes, 1_000).unwrap_err();
    assert_eq!(whole.wait, Duration::from_secs(1), "more than a bucket holds takes a full bucket");
    clock.advance(whole.wait);
    assert_eq!(rates.check(here, Work::Changes, 1_000), Ok(()));
    assert_eq!(changes(&rates, here), 0);
}

/// 20,000 new addresses a second. The table's size is part of its type.
#[test]
fn a_million_strangers_are_served_and_do_not_push_out_a_greedy_address() {
    let (rates, clock) = rates("50/s");
    let greedy = at("192.0.2.1");
    assert_eq!(changes(&rates, greedy), 3_000);
    let (mut refused, mut greedy_done) = (0, 0);
    for stranger in 0..1_000_000_u32 {
        clock.advance(Duration::from_micros(50));
        let stranger = Source::reported(Ipv6Addr::from_bits(u128::from(stranger) << 64 | 1 << 125).into());
        refused += u32::from(rates.check(stranger, Work::Changes, 1).is_err());
        greedy_done += u32::from(rates.check(greedy, Work::Changes, 1).is_ok());
    }
    assert_eq!((refused, greedy_done), (0, 2_500), "50 s at 50/s");
}

#[test]
fn a_connection_has_a_tenth_of_its_address() {
    let (rates, clock) = rates("60/min");
    let here = at("192.0.2.1");
    let paces: Vec<_> = (0..11).map(|_| Pace::new(&rates, here)).collect();
    for pace in &paces[..10] {
        assert!((0..6).all(|_| pace.check(Work::Changes, 1).is_ok()));
        let refused = pace.check(Work::Changes, 1).unwrap_err();
        assert_eq!((refused.of_connection, refused.wait), (true, Duration::from_secs(10)));
    }
    let refused = paces[10].check(Work::Changes, 1).unwrap_err();
    assert_eq!((refused.of_connection, refused.wait), (false, Duration::from_secs(1)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(rates.check(here, Work::Changes, 1), Ok(()));
}

#[test]
fn too_many_messages_are_paid_for_by_a_pause() {
    let (rates, clock) = rates("600/min");
    let pace = Pace::new(&rates, at("192.0.2.1"));
    (0..60).for_each(|_| pace.heard());
    assert_eq!(pace.pause(), None);
    (0..5).for_each(|_| pace.heard());
    assert_eq!(pace.pause(), Some(Duration::from_secs(5)));
    clock.advance(Duration::from_secs(4));
    assert_eq!(pace.pause(), Some(Duration::from_secs(1)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(pace.pause(), None);
    assert_eq!(rates.exceeded(Work::Messages), 1, "one pause");
    pace.heard();
    assert_eq!(pace.pause(), Some(Duration::from_secs(1)));
}

#[test]
fn the_messages_of_all_connections_count_for_the_address() {
    let (rates, clock) = rates("600/min");
    let paces: Vec<_> = (0..11).map(|_| Pace::new(&rates, at("192.0.2.1"))).collect();
    for pace in &paces[..10] {
        (0..60).for_each(|_| pace.heard());
        assert_eq!(pace.pause(), None);
    }
    paces[10].heard();
    assert_eq!(paces[10].pause(), Some(Duration::from_millis(100)));
    clock.advance(Duration::from_millis(100));
    assert_eq!(paces[10].pause(), None);
}

#[test]
fn who_comes_back_has_a_message_and_a_snapshot_free() {
    let (rates, _clock) = rates("10/min");
    let pace = Pace::new(&rates, at("192.0.2.1"));
    for _ in 0..100 {
        pace.heard();
        pace.returned();
    }
    assert_eq!(pace.pause(), None);
    assert!((0..100).all(|_| pace.check(Work::Snapshots, 1).is_ok()));
    assert_eq!(pace.check(Work::Snapshots, 1), Ok(()), "its own rate is untouched");
    assert!(pace.check(Work::Snapshots, 1).is_err());
}

#[test]
fn rates_are_written_with_a_unit() {
    for (text, a_minute) in [("50/s", 3_000), ("1/min", 1), ("90/min", 90), ("1000000/s", 60_000_000)] {
        let rate = rate(text);
        assert_eq!((rate.0.map(NonZeroU32::get), rate.to_string().as_str()), (Some(a_minute), text));
    }
    assert_eq!((rate("off"), rate("off").to_string().as_str()), (OFF, "off"));
    assert_eq!(rate("120/min").to_string(), "2/s");
    for bad in
        ["", "0", "50", "0/s", "0/min", "-1/s", "1.5/s", "50/h", "1000001/s", "60000001/min", "5000000000/s", "OFF"]
    {
        assert!(bad.parse::<Rate>().unwrap_err().starts_with("write 50/s, 90/min or off"), "{bad:?}");
    }
}

#[test]
fn new_connections_of_strangers_have_a_rate_and_those_of_local_peers_none() {
    let (rates, clock) = rates("2/s");
    let [stranger, local] = ["192.0.2.1", "10.1.2.3"].map(|address| Source::direct(address.parse().unwrap()));
    assert_eq!((0..200).filter(|_| rates.admits(stranger)).count(), 120);
    assert!((0..200).all(|_| rates.admits(local)));
    clock.advance(Duration::from_secs(1));
    assert_eq!((0..200).filter(|_| rates.admits(stranger)).count(), 2);
    assert_eq!(rates.exceeded(Work::Connections), 80 + 198);
}
