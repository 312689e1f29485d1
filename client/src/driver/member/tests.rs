use super::*;

fn member() -> Member {
    listened_to().0
}

/// With what the application is told.
fn listened_to() -> (Member, mpsc::Receiver<Event>) {
    Member::new(Join::new("doc/x")).unwrap()
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

fn joined(head: u64, head_at: u64, began_anew: bool) -> wire::Joined {
    wire::Joined {
        number: 1,
        head,
        head_at,
        began_anew,
        content: Some(wire::joined::Content::Snapshot(Bytes::from_static(b"all"))),
        ..wire::Joined::default()
    }
}

fn span(seq: u64, at: u64, later: &[u32]) -> wire::Span {
    wire::Span {
        seq,
        at,
        payloads: vec![Bytes::from_static(b"x"); later.len() + 1],
        later: later.to_vec(),
        ..wire::Span::default()
    }
}

#[test]
fn the_time_of_the_last_record_is_said_with_its_seq() {
    let mut member = member();
    let said = |member: &Member| {
        let join = member.join(9);
        (join.since, join.since_at)
    };
    assert_eq!(said(&member), (None, 0));
    member.joined(joined(5, 50, false), &mut Vec::new());
    assert_eq!(said(&member), (Some(5), 50));
    let records = |after, through, through_at, spans| wire::Records {
        number: 1,
        after,
        through,
        spans,
        through_at,
    };
    let others = vec![span(6, 60, &[3])];
    member.records(records(5, 7, 0, others)).unwrap();
    assert_eq!(said(&member), (Some(7), 63));
    // The last one is an event of the room.
    member
        .records(records(7, 9, 90, vec![span(8, 80, &[])]))
        .unwrap();
    assert_eq!(said(&member), (Some(9), 90));
    // Its own, of which it hears before what came in between.
    let placed = wire::Placed {
        operation: 1,
        seq: 11,
        count: 2,
        at: 110,
        stale: 0,
    };
    let ack = wire::Ack {
        number: 1,
        operation: 2,
        placed: vec![placed],
    };
    member.acked(&ack);
    assert_eq!(said(&member), (Some(9), 90));
    member
        .records(records(9, 12, 0, vec![span(10, 100, &[])]))
        .unwrap();
    assert_eq!(said(&member), (Some(12), 110));
    member.reset(wire::Reset {
        number: 1,
        head: 20,
        snapshot: Bytes::new(),
        head_at: 200,
    });
    assert_eq!(said(&member), (Some(20), 200));
}

#[test]
fn what_a_log_that_began_anew_has_is_news_however_far_the_client_was() {
    let (mut member, mut events) = listened_to();
    member.joined(joined(20, 200, false), &mut Vec::new());
    events.try_recv().unwrap();
    member.away(Instant::now());
    member.joined(joined(2, 900, true), &mut Vec::new());
    let told = [events.try_recv().unwrap(), events.try_recv().unwrap()];
    let [
        Event::Joined { state, .. },
        Event::Reset {
            head, began_anew, ..
        },
    ] = &told
    else {
        panic!("{told:?}");
    };
    assert_eq!(*state, State::Records(Vec::new()));
    assert_eq!((*head, *began_anew), (2, true));
    let records = wire::Records {
        number: 1,
        after: 2,
        through: 3,
        spans: vec![span(3, 903, &[])],
        through_at: 0,
    };
    let heard = member.records(records).unwrap();
    assert!(matches!(heard, Some(Event::Records(it)) if it[0].seq == 3));
}

#[test]
fn who_takes_no_events_is_told_that_it_lags_and_then_given_the_document() {
    let (mut member, mut events) = listened_to();
    let mut say = Vec::new();
    member.joined(joined(1, 1, false), &mut say);
    for seq in 2..=EVENTS as u64 * 2 {
        let records = wire::Records {
            number: 1,
            after: seq - 1,
            through: seq,
            spans: vec![span(seq, seq, &[])],
            through_at: 0,
        };
        let event = member.records(records).unwrap().unwrap();
        member.tell(event);
    }
    let told: Vec<Event> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert_eq!(
        (told.len(), told.last()),
        (EVENTS + 1, Some(&Event::Lagged))
    );
    assert!(say.is_empty() && member.since.is_some());
    member.catch_up(&mut say);
    assert_eq!((say.len(), member.join(9).since), (1, None));
    let head = EVENTS as u64 * 2;
    member.joined(joined(head, head, false), &mut say);
    let told: Vec<Event> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert!(
        matches!(
            &told[..],
            [
                Event::Joined { .. },
                Event::Reset {
                    began_anew: false,
                    ..
                }
            ]
        ),
        "{told:?}"
    );
    // The end is told also to who takes nothing.
    for _ in 0..=EVENTS {
        member.tell(Event::Presence(Vec::new()));
    }
    member.close(4404, "gone");
    let last = std::iter::from_fn(|| events.try_recv().ok()).last();
    assert!(matches!(last, Some(Event::Closed { code: 4404, .. })));
}

#[test]
fn who_lags_while_the_room_is_joined_is_given_the_document_after_that() {
    let (mut member, mut events) = listened_to();
    let mut say = Vec::new();
    member.joined(joined(5, 5, false), &mut say);
    for _ in 0..=EVENTS {
        member.tell(Event::Presence(Vec::new()));
    }
    member.standing = Standing::Asked(9);
    member.catch_up(&mut say);
    assert_eq!((member.standing, say.len()), (Standing::Asked(9), 0));
    while events.try_recv().is_ok() {}
    member.joined(joined(7, 7, true), &mut say);
    assert!(matches!(member.standing, Standing::Away(_)) && events.try_recv().is_err());
    assert_eq!((say.len(), member.join(9).since), (1, None));
    // Nor does it miss that the log began anew meanwhile.
    member.joined(joined(8, 8, false), &mut say);
    let last = std::iter::from_fn(|| events.try_recv().ok()).last();
    assert!(
        matches!(
            last,
            Some(Event::Reset {
                began_anew: true,
                ..
            })
        ),
        "{last:?}"
    );
}

#[test]
fn an_ack_is_an_event_where_no_ticket_tells_it() {
    let (mut member, _events) = listened_to();
    member.joined(joined(0, 0, false), &mut Vec::new());
    let mut kept = member.submit(Bytes::from_static(b"a")).unwrap();
    drop(member.submit(Bytes::from_static(b"b")).unwrap());
    let told = member.acked(&wire::Ack {
        number: 1,
        operation: 2,
        placed: Vec::new(),
    });
    assert!(
        matches!(told[..], [Event::Acked { operation: 2, .. }]),
        "{told:?}"
    );
    assert!(kept.is_told());
}

#[test]
fn each_reason_for_no_connection_is_told_once_until_there_is_one() {
    let (mut member, mut events) = listened_to();
    for reason in ["refused", "refused", "no answer", "no answer"] {
        member.tell_disconnected(reason);
        member.away(Instant::now());
    }
    member.joined(joined(0, 0, false), &mut Vec::new());
    member.tell_disconnected("no answer");
    let told = std::iter::from_fn(|| events.try_recv().ok());
    let told: Vec<_> = told
        .filter_map(|event| match event {
            Event::Disconnected { reason } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["refused", "no answer", "no answer"]);
}
