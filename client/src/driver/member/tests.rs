use super::*;

fn member() -> Member {
    let (member, _events) = Member::new(Join::new("doc/x")).unwrap();
    member
}

fn entry(site: u64, clock: u64, state: Option<&'static str>) -> wire::PresenceEntry {
    wire::PresenceEntry {
        site,
        clock,
        state: state.map(|state| Bytes::from_static(state.as_bytes())),
    }
}

fn sites(news: &[(u64, Option<Bytes>)]) -> Vec<u64> {
    news.iter().map(|(site, _)| *site).collect()
}

#[test]
fn presence_that_comes_late_or_twice_is_not_news() {
    let mut member = member();
    let mut hear =
        |site, clock, state| sites(&member.hear_presence(vec![entry(site, clock, state)]));
    assert_eq!(hear(7, 3, Some("new")), [7]);
    assert_eq!(hear(7, 3, Some("new")), [0; 0], "the stream repeats it");
    assert_eq!(hear(7, 2, Some("old")), [0; 0]);
    assert_eq!(hear(7, 3, None), [7]);
    assert_eq!(hear(7, 3, Some("new")), [0; 0], "who has left stays away");
    assert_eq!(hear(7, 4, Some("back")), [7]);
    assert_eq!(hear(8, 1, Some("another")), [8]);
    member.away(Instant::now());
    let news = member.hear_presence(vec![entry(7, 1, Some("restarted"))]);
    assert_eq!(sites(&news), [7], "a server that was restarted begins anew");
}

#[test]
fn what_the_server_takes_for_this_client_is_put_right() {
    let mut member = member();
    let own = member.client.get();
    member.presence = Some(Bytes::from_static(b"1"));
    member.presence_clock = 5;
    member.presence_repeat = Some(Instant::now());
    member.hear_presence(vec![entry(own, 4, None)]);
    assert!(member.presence_repeat.is_some(), "that was before");
    member.hear_presence(vec![entry(own, 5, Some("1"))]);
    assert_eq!(member.presence_repeat, None, "it is known");
    assert_eq!(member.presence_clock, 5);
    // It was away for so long that it was said gone, with the next clock.
    member.hear_presence(vec![entry(own, 6, None)]);
    assert_eq!((member.presence_clock, member.presence_sent), (7, false));
}

#[test]
fn of_how_many_replicas_clocks_are_kept_is_bounded() {
    let mut member = member();
    let many = (1..=PRESENCE_REPLICAS as u64 + 10).map(|site| entry(site, 1, Some("x")));
    member.hear_presence(many.collect());
    assert_eq!(member.replicas.len(), PRESENCE_REPLICAS);
    member.hear_presence((1..=100).map(|site| entry(site, 2, None)).collect());
    assert_eq!(
        sites(&member.hear_presence(vec![entry(1 << 40, 1, Some("x"))])),
        [1 << 40]
    );
    assert!(member.replicas.len() <= PRESENCE_REPLICAS);
}
