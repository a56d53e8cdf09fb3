use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::room::client_frame::ClientFrame;
use crate::room::client_request::ClientRequest;

/// Parses a `stats` frame with this `data`.
fn parse(data: &Value) -> Result<Vec<ReceivedStream>, DropReason> {
    let frame = json!({"type": "stats", "from": "", "roomId": "", "data": data});
    match ClientFrame::parse(&frame.to_string()).frame {
        Ok(ClientFrame::Request(ClientRequest::Stats(streams))) => Ok(streams),
        Ok(other) => panic!("{other:?}"),
        Err(reason) => Err(reason),
    }
}

fn stream(ssrc: u32, lost: i64, jitter_ms: f64) -> Value {
    json!({"ssrc": ssrc, "packets": 4567, "lost": lost, "jitterMs": jitter_ms})
}

/// Any number, integers at the bounds included.
fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-1.0..70_000.0).prop_map(Value::from),
        Just(json!("1")),
        Just(Value::Null),
    ]
}

fn is_within_bounds(stream: &Value) -> bool {
    let lost = stream["lost"].as_i64();
    let jitter = stream["jitterMs"].as_f64();
    stream["ssrc"]
        .as_u64()
        .is_some_and(|ssrc| ssrc <= u32::MAX.into())
        && stream["packets"].is_u64()
        && lost.is_some_and(|lost| lost.unsigned_abs() <= MAX_LOST)
        && jitter.is_some_and(|jitter| (0.0..=MAX_JITTER_MS).contains(&jitter))
}

proptest! {
    #[test]
    fn exactly_the_streams_within_the_bounds_are_accepted(
        streams in prop::collection::vec(
            (any::<u32>(), -(1i64 << 54)..1 << 54, 0.0..70_000.0),
            0..MAX_STREAMS + 3,
        ),
    ) {
        let list: Vec<_> = streams.iter().map(|(ssrc, lost, ms)| stream(*ssrc, *lost, *ms)).collect();
        let is_valid = list.len() <= MAX_STREAMS && list.iter().all(is_within_bounds);
        let parsed = parse(&json!({"received": list}));
        prop_assert_eq!(parsed.is_ok(), is_valid);
        for (parsed, (ssrc, lost, ms)) in parsed.iter().flatten().zip(streams) {
            prop_assert_eq!((parsed.ssrc, parsed.lost), (ssrc, lost));
            prop_assert!((parsed.jitter.as_secs_f64() * 1000.0 - ms).abs() < 0.001);
        }
    }

    #[test]
    fn values_that_are_not_in_their_range_are_rejected(
        [ssrc, packets, lost, jitter] in prop::array::uniform4(number()),
    ) {
        let stream = json!({"ssrc": ssrc, "packets": packets, "lost": lost, "jitterMs": jitter});
        let parsed = parse(&json!({"received": [&stream]}));
        prop_assert_eq!(parsed.is_ok(), is_within_bounds(&stream), "{}", stream);
    }
}

#[test]
fn data_without_a_list_of_streams_is_rejected() {
    let missing = json!({"ssrc": 1, "packets": 1, "lost": 0});
    let rejected = [
        json!(null),
        json!([[]]),
        json!({}),
        json!({"received": null}),
        json!({"received": {}}),
        json!({"received": [1]}),
        json!({"received": [missing]}),
    ];
    for data in rejected {
        assert_eq!(parse(&data), Err(DropReason::BadData), "{data}");
    }
    assert_eq!(parse(&json!({"received": []})), Ok(Vec::new()));
    let more = json!({"received": [stream(1, -1, 3.5)], "sent": []});
    let jitter = Duration::from_micros(3500);
    let expected = ReceivedStream {
        ssrc: 1,
        lost: -1,
        jitter,
    };
    assert_eq!(parse(&more), Ok(vec![expected]));
}
