//! Every interleaving of three replicas with three operations each on a short text.
//!
//! Each replica makes its operations with whatever it has received by then; each order of editing
//! and receiving is tried. To keep that within reason a replica receives all that is on its way at
//! once, before any of its operations or not.

mod support;

use crdt::text::{Client, Measure, Text};
use support::model::{Change, Model};

#[derive(Clone)]
struct Peer {
    text: Text,
    model: Model,
}

/// What a replica does next, by its number and how often it has done something.
fn act(peer: &mut Peer, plan: usize) -> (Vec<u8>, Change) {
    let len = peer.model.len();
    let name = ["a", "bc", "d"][peer.model.client as usize % 3];
    let (update, change) = match plan {
        0 => (
            peer.text.insert(Measure::Chars, 0, name),
            peer.model.insert(0, name),
        ),
        1 => (
            peer.text.insert(Measure::Chars, len, name),
            peer.model.insert(len, name),
        ),
        2 => {
            let at = len / 2;
            (
                peer.text.insert(Measure::Chars, at, name),
                peer.model.insert(at, name),
            )
        }
        _ => {
            let (at, many) = if len < 2 { (0, len) } else { (1, len - 1) };
            (
                peer.text.delete(Measure::Chars, at, many),
                peer.model.delete(at, many),
            )
        }
    };
    (peer.text.encode(&update.expect("an edit")), change)
}

/// One order: nine steps, each a replica that acts, receiving before it or not.
fn play(order: &[usize], receive: usize, plans: &[[usize; 3]; 3]) {
    let mut peers: Vec<Peer> = (0..3)
        .map(|client| Peer {
            text: Text::new(Client::new(client)),
            model: Model::new(client),
        })
        .collect();
    let mut log: Vec<(usize, (Vec<u8>, Change))> = Vec::new();
    let first = act(&mut peers[0], 1);
    log.push((0, first));
    let mut heard = [0; 3];
    let mut acted = [0; 3];
    let hear =
        |peer: &mut Peer, who: usize, heard: &mut usize, log: &[(usize, (Vec<u8>, Change))]| {
            for (from, (bytes, change)) in &log[*heard..] {
                if *from != who {
                    peer.text.apply(bytes, None).expect("a good update");
                    peer.model.apply(change);
                }
            }
            *heard = log.len();
        };
    // Everyone starts with the same short text.
    for (who, peer) in peers.iter_mut().enumerate() {
        hear(peer, who, &mut heard[who], &log);
    }
    for (step, &who) in order.iter().enumerate() {
        if receive >> step & 1 == 1 {
            hear(&mut peers[who], who, &mut heard[who], &log);
        }
        let done = act(&mut peers[who], plans[who][acted[who]]);
        acted[who] += 1;
        log.push((who, done));
    }
    for who in 0..3 {
        hear(&mut peers[who], who, &mut heard[who], &log);
        assert_eq!(peers[who].text.to_string(), peers[who].model.text());
        assert_eq!(
            peers[who].text.to_string(),
            peers[0].text.to_string(),
            "{order:?} {receive} {plans:?}"
        );
    }
}

/// Every order of `left` actions of each of the three.
fn orders(left: [usize; 3], order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
    if left == [0; 3] {
        all.push(order.clone());
        return;
    }
    for who in 0..3 {
        if left[who] > 0 {
            let mut left = left;
            left[who] -= 1;
            order.push(who);
            orders(left, order, all);
            order.pop();
        }
    }
}

#[test]
fn three_replicas_with_three_operations_converge_in_every_interleaving() {
    let mut all = Vec::new();
    orders([3; 3], &mut Vec::new(), &mut all);
    assert_eq!(all.len(), 1680);
    // Whether each of the nine actions hears before: all 512 with one order in debug, all with all
    // where the environment asks for it.
    let thorough = support::size("EXHAUSTIVE", 0) > 0;
    let plans = [
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[1, 0, 2], [0, 1, 2], [2, 1, 0]],
        [[0, 2, 3], [2, 3, 0], [1, 0, 3]],
        [[2, 2, 2], [3, 1, 1], [2, 0, 2]],
    ];
    let mut played = 0;
    for plans in &plans {
        for (at, order) in all.iter().enumerate() {
            for receive in 0..512 {
                if thorough || (at + receive) % 16 == 0 {
                    play(order, receive, plans);
                    played += 1;
                }
            }
        }
    }
    println!("{played} interleavings");
}
