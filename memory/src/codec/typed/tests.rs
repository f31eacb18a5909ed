use super::*;
use crate::{NormalizedKey, RowBatch};
use proptest::prelude::*;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: f64,
    y: f32,
    tag: char,
    on: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapper<T>(T);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Start,
    Click(u32),
    Move(i16, i16),
    Text { content: String, at: Option<Point> },
    Nested(Box<Event>),
    Many(Vec<Event>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Expression {
    Add(Box<Expression>, Box<Expression>),
    Number(i64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Level {
    Low,
    High,
}

type Everything = (
    (bool, i8, i16, i32, i64, i128),
    (u8, u16, u32, u64, u128, usize),
    (f32, f64, char, String, ()),
    (Option<String>, Vec<u16>, BTreeMap<String, Option<u8>>, [u8; 5]),
    (Vec<(String, f64)>, HashSet<u64>, Option<Option<i32>>),
);

fn back<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) -> std::result::Result<(), TestCaseError> {
    let codec = Codec::<T>::new().unwrap();
    let mut bytes = vec![7];
    codec.encode(value, &mut bytes).unwrap();
    let bytes = &bytes[1..];
    if let Some(width) = codec.width() {
        prop_assert_eq!(bytes.len(), width);
    }
    prop_assert_eq!(&codec.decode(bytes).unwrap(), value);
    for cut in 0..bytes.len() {
        prop_assert!(codec.decode(&bytes[..cut]).is_err());
    }
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    prop_assert!(codec.decode(&longer).is_err());
    prop_assert_eq!(&Schema::from_json(&codec.schema().to_json()).unwrap(), codec.schema());
    Ok(())
}

fn event() -> impl Strategy<Value = Event> {
    let point = (-1e9..1e9f64, -1e9..1e9f32, any::<char>(), any::<bool>()).prop_map(|(x, y, tag, on)| Point { x, y, tag, on });
    let leaf = prop_oneof![
        Just(Event::Start),
        any::<u32>().prop_map(Event::Click),
        any::<(i16, i16)>().prop_map(|(x, y)| Event::Move(x, y)),
        (any::<String>(), prop::option::of(point)).prop_map(|(content, at)| Event::Text { content, at }),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|event| Event::Nested(Box::new(event))),
            prop::collection::vec(inner, 0..3).prop_map(Event::Many),
        ]
    })
}

proptest! {
    #[test]
    fn values_come_back(value: Everything, event in event(), number: i64) {
        prop_assume!(!value.2.0.is_nan() && !value.2.1.is_nan() && value.4.0.iter().all(|v| !v.1.is_nan()));
        back(&value)?;
        back(&event)?;
        back(&(Wrapper(number), Wrapper("text".to_owned()), Marker, Level::High))?;
        back(&Expression::Add(Box::new(Expression::Number(number)), Box::new(Expression::Number(1))))?;
    }

    #[test]
    fn random_bytes_do_not_panic(bytes: Vec<u8>) {
        let _ = Codec::<Everything>::new().unwrap().decode(&bytes);
        let _ = Codec::<Event>::new().unwrap().decode(&bytes);
        let _ = Codec::<Vec<(String, Option<char>)>>::new().unwrap().decode(&bytes);
    }

    #[test]
    fn typed_rows(records: Vec<(String, u64, Option<i32>)>) {
        fn check<K: NormalizedKey + PartialEq + fmt::Debug>(
            records: &[(String, u64, Option<i32>)],
            key: impl Fn(&(String, u64, Option<i32>)) -> K,
        ) -> std::result::Result<(), TestCaseError> {
            let rows = TypedRows::new::<K>().unwrap();
            let mut batch = RowBatch::new(rows.shape());
            records.iter().for_each(|record| rows.push(&key(record), record, &mut batch).unwrap());
            for (record, row) in records.iter().zip(batch.iter()) {
                prop_assert_eq!(rows.key::<K>(row).unwrap(), key(record));
                prop_assert_eq!(&rows.value(row).unwrap(), record);
            }
            Ok(())
        }
        check(&records, |record| record.0.clone())?;
        check(&records, |record| (record.1, record.2))?;
        check(&records, |_| ())?;
    }
}

#[test]
fn schemas() {
    let text = |schema: &Schema| schema.to_string();
    assert_eq!(text(Codec::<Point>::new().unwrap().schema()), "Point { x: f64, y: f32, tag: char, on: bool }");
    assert_eq!(Codec::<Point>::new().unwrap().width(), Some(17));
    assert_eq!(Codec::<(u64, u64)>::new().unwrap().width(), Some(16));
    assert_eq!(Codec::<Level>::new().unwrap().width(), Some(1));
    assert_eq!(Codec::<Wrapper<[Level; 3]>>::new().unwrap().width(), Some(3));
    assert_eq!(Codec::<std::time::Duration>::new().unwrap().width(), Some(12));
    assert_eq!(Codec::<std::num::NonZeroU16>::new().unwrap().width(), Some(2));
    assert_eq!(Codec::<Option<u8>>::new().unwrap().width(), None);
    assert_eq!(
        text(Codec::<Event>::new().unwrap().schema()),
        "enum Event { Start, Click(u32), Move(i16, i16), Text { content: str, at: option<Point { x: f64, y: f32, tag: char, \
         on: bool }> }, Nested(Event), Many([Event]) }"
    );
    assert_eq!(
        text(Codec::<Expression>::new().unwrap().schema()),
        "enum Expression { Add(Expression, Expression), Number(i64) }"
    );
    assert_eq!(
        text(Codec::<(Wrapper<u8>, Wrapper<Wrapper<String>>, Marker)>::new().unwrap().schema()),
        "(Wrapper { 0: u8 }, Wrapper { 0: Wrapper { 0: str } }, Marker {  })"
    );
    assert_eq!(
        text(Codec::<BTreeMap<String, Vec<(Level, Level)>>>::new().unwrap().schema()),
        "map<str, [(enum Level { Low, High }, enum Level { Low, High })]>"
    );
}

#[test]
fn enums_of_many_variants() {
    /// A type that says it is an enum of 300 unit variants.
    #[derive(Debug, PartialEq)]
    struct Wide(u32);

    impl Serialize for Wide {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            serializer.serialize_unit_variant("Wide", self.0, "v")
        }
    }

    impl<'de> Deserialize<'de> for Wide {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Wide;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a variant")
                }
                fn visit_enum<A: serde::de::EnumAccess<'de>>(self, access: A) -> std::result::Result<Wide, A::Error> {
                    let (index, variant) = access.variant::<u32>()?;
                    serde::de::VariantAccess::unit_variant(variant)?;
                    Ok(Wide(index))
                }
            }
            const NAMES: [&str; 300] = ["v"; 300];
            deserializer.deserialize_enum("Wide", &NAMES, Visitor)
        }
    }

    for index in [0, 254, 255, 299] {
        back(&Wide(index)).unwrap();
    }
    assert_eq!(Codec::<Wide>::new().unwrap().width(), None);
}

#[test]
fn refusals() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        #[allow(dead_code)]
        A(u8),
    }
    let error = Codec::<Untagged>::new().unwrap_err().to_string();
    assert!(error.contains("Untagged") && error.contains("self-describing"), "{error}");

    /// Refuses empty strings, as tracing makes them up.
    #[derive(Debug, PartialEq, Serialize)]
    struct Picky(String);
    impl<'de> Deserialize<'de> for Picky {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            if text.is_empty() { Err(serde::de::Error::custom("empty")) } else { Ok(Self(text)) }
        }
    }
    assert!(matches!(Codec::<Picky>::new().unwrap().schema(), Schema::Opaque(name) if name.ends_with("Picky")));
    back(&Picky("text".to_owned())).unwrap();

    let error = Codec::<(u32, bool)>::new().unwrap().decode(&[1, 2, 3, 4, 5]).unwrap_err().to_string();
    assert!(error.contains("(u32, bool)") && error.contains("expected a bool of 0 or 1, found 5"), "{error}");
}
