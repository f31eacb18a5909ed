use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What was stored.
mod old {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Order {
        pub id: u64,
        pub lines: Vec<Line>,
        pub status: Status,
        pub notes: BTreeMap<String, Option<Line>>,
        pub legacy: (u8, String),
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Line {
        pub article: String,
        pub price: f64,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub enum Status {
        New,
        Sent { at: i64 },
        Split(Vec<Status>),
        Paid(u32, bool),
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Pair(pub u32, pub String);
}

/// What the program has now: fields added everywhere, another order, a field gone, more variants.
mod new {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Purchase {
        #[serde(default = "eur")]
        pub currency: String,
        pub status: Status,
        pub lines: Vec<Line>,
        pub notes: BTreeMap<String, Option<Line>>,
        #[serde(alias = "id")]
        pub number: u64,
        pub discount: Option<f32>,
    }

    fn eur() -> String {
        "EUR".to_owned()
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Line {
        pub price: f64,
        pub article: String,
        #[serde(default)]
        pub count: u16,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub enum Status {
        Lost,
        Paid(u32, bool),
        Sent {
            #[serde(default)]
            by: Option<String>,
            at: i64,
        },
        Split(Vec<Status>),
        New {
            #[serde(default)]
            since: i64,
        },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Pair(pub u32, pub String, #[serde(default)] pub bool);
}

fn line(line: old::Line) -> new::Line {
    new::Line { price: line.price, article: line.article, count: 0 }
}

fn status(status: old::Status) -> new::Status {
    match status {
        old::Status::New => new::Status::New { since: 0 },
        old::Status::Sent { at } => new::Status::Sent { by: None, at },
        old::Status::Split(parts) => new::Status::Split(parts.into_iter().map(self::status).collect()),
        old::Status::Paid(a, b) => new::Status::Paid(a, b),
    }
}

fn purchase(order: old::Order) -> new::Purchase {
    new::Purchase {
        currency: "EUR".to_owned(),
        status: status(order.status),
        lines: order.lines.into_iter().map(line).collect(),
        notes: order.notes.into_iter().map(|(name, note)| (name, note.map(line))).collect(),
        number: order.id,
        discount: None,
    }
}

fn lines() -> impl Strategy<Value = old::Line> {
    (any::<String>(), -1e12..1e12f64).prop_map(|(article, price)| old::Line { article, price })
}

fn statuses() -> impl Strategy<Value = old::Status> {
    let leaf = prop_oneof![
        Just(old::Status::New),
        any::<i64>().prop_map(|at| old::Status::Sent { at }),
        any::<(u32, bool)>().prop_map(|(a, b)| old::Status::Paid(a, b)),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| prop::collection::vec(inner, 0..4).prop_map(old::Status::Split))
}

fn orders() -> impl Strategy<Value = old::Order> {
    let notes = prop::collection::btree_map(any::<String>(), prop::option::of(lines()), 0..4);
    (any::<u64>(), prop::collection::vec(lines(), 0..4), statuses(), notes, any::<(u8, String)>())
        .prop_map(|(id, lines, status, notes, legacy)| old::Order { id, lines, status, notes, legacy })
}

fn bytes<T: Serialize + DeserializeOwned>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    Codec::<T>::new().unwrap().encode(value, &mut bytes).unwrap();
    bytes
}

fn schema<T: Serialize + DeserializeOwned>() -> Schema {
    Codec::<T>::new().unwrap().schema().clone()
}

fn reading<Old: Serialize + DeserializeOwned, New: Serialize + DeserializeOwned>() -> Result<StoredCodec<New>> {
    Codec::<New>::new()?.reading(&schema::<Old>())
}

fn refused<Old: Serialize + DeserializeOwned, New: Serialize + DeserializeOwned>() -> String {
    let error = reading::<Old, New>().unwrap_err();
    assert!(matches!(error, Error::SchemaChanged { .. }));
    let text = error.to_string();
    assert!(text.contains(&schema::<Old>().to_string()) && text.contains(&schema::<New>().to_string()), "{text}");
    text
}

fn json<T: Serialize + DeserializeOwned>(value: &T) -> Value {
    schema::<T>().reader().unwrap().read(&bytes(value)).unwrap()
}

proptest! {
    #[test]
    fn old_values_are_read_as_the_new_type(order in orders(), number: u32, text: String) {
        let stored = bytes(&order);
        let reader = reading::<old::Order, new::Purchase>().unwrap();
        prop_assert!(!reader.is_current());
        prop_assert_eq!(reader.decode(&stored).unwrap(), purchase(order));
        for cut in 0..stored.len() {
            prop_assert!(reader.decode(&stored[..cut]).is_err());
        }
        let longer: Vec<u8> = stored.iter().copied().chain([0]).collect();
        prop_assert!(reader.decode(&longer).is_err());

        let pair = reading::<old::Pair, new::Pair>().unwrap().decode(&bytes(&old::Pair(number, text.clone()))).unwrap();
        prop_assert_eq!(pair, new::Pair(number, text, false));
    }

    #[test]
    fn json_is_what_serde_json_makes_of_the_type(
        order in orders(),
        number in any::<(i64, u64, i8, f32, char, bool, ())>(),
        keys: BTreeMap<i32, [u16; 3]>,
    ) {
        prop_assert_eq!(json(&order), serde_json::to_value(&order).unwrap());
        prop_assert_eq!(json(&number), serde_json::to_value(number).unwrap());
        prop_assert_eq!(json(&keys), serde_json::to_value(&keys).unwrap());
        let pair = old::Pair(1, "text".to_owned());
        prop_assert_eq!(json(&(pair.clone(), Some(&pair).cloned())), serde_json::to_value((pair.clone(), Some(pair))).unwrap());
    }

    #[test]
    fn random_bytes_do_not_panic(bytes: Vec<u8>) {
        let _ = reading::<old::Order, new::Purchase>().unwrap().decode(&bytes);
        let _ = reading::<old::Status, new::Status>().unwrap().decode(&bytes);
        let _ = schema::<old::Order>().reader().unwrap().read::<Value>(&bytes);
        let _ = schema::<(Vec<()>, BTreeMap<char, u128>)>().reader().unwrap().read::<Value>(&bytes);
    }

    #[test]
    fn damaged_bytes_do_not_panic(order in orders(), at: prop::sample::Index, with: u8) {
        let mut stored = bytes(&order);
        let at = at.index(stored.len());
        stored[at] ^= with;
        let _ = reading::<old::Order, new::Purchase>().unwrap().decode(&stored);
        let _ = schema::<old::Order>().reader().unwrap().read::<Value>(&stored);
    }
}

/// What a checkpoint of today holds, a program of any later day reads: these bytes never change.
#[test]
fn golden_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    let text = |text: &str| text.to_owned();
    assert_eq!(hex(&bytes(&(true, -2i16, 0x0102_0304u32, 1.5f64))), "01 fe ff 04 03 02 01 00 00 00 00 00 00 f8 3f");
    assert_eq!(hex(&bytes(&('é', text("é"), Some(7u8), None::<u8>))), "e9 00 00 00 02 00 00 00 c3 a9 01 07 00");
    assert_eq!(hex(&bytes(&(vec![1u16, 2], [3u8, 4, 5], ()))), "02 00 00 00 01 00 02 00 03 04 05");
    assert_eq!(hex(&bytes(&BTreeMap::from([(1u8, text("a"))]))), "01 00 00 00 01 01 00 00 00 61");
    assert_eq!(hex(&bytes(&(usize::MAX, -1i128))), ["ff"; 24].join(" "));
    assert_eq!(hex(&bytes(&old::Status::Split(vec![old::Status::New]))), "02 01 00 00 00 00");
    assert_eq!(hex(&bytes(&old::Status::Sent { at: 1 })), "01 01 00 00 00 00 00 00 00");
    assert_eq!(
        schema::<old::Order>().to_json(),
        r#"{"struct":{"name":"Order","fields":[["id","u64"],["lines",{"seq":{"struct":{"name":"Line","fields":[["article","str"],["price","f64"]]}}}],["status",{"enum":{"name":"Status","variants":[["New","unit"],["Sent",{"struct":{"name":"Sent","fields":[["at","i64"]]}}],["Split",{"seq":{"recursive":"Status"}}],["Paid",{"tuple":["u32","bool"]}]]}}],["notes",{"map":["str",{"option":{"struct":{"name":"Line","fields":[["article","str"],["price","f64"]]}}}]}],["legacy",{"tuple":["u8","str"]}]]}}"#
    );
}

#[test]
fn what_json_does_not_have() {
    /// Says that it is bytes.
    #[derive(Serialize, Deserialize)]
    struct Blob(#[serde(serialize_with = "blob::write", deserialize_with = "blob::read")] Vec<u8>);
    mod blob {
        pub(super) fn write<S: serde::Serializer>(bytes: &[u8], to: S) -> std::result::Result<S::Ok, S::Error> {
            to.serialize_bytes(bytes)
        }
        pub(super) fn read<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Vec<u8>, D::Error> {
            struct Bytes;
            impl serde::de::Visitor<'_> for Bytes {
                type Value = Vec<u8>;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("bytes")
                }
                fn visit_bytes<E>(self, bytes: &[u8]) -> std::result::Result<Vec<u8>, E> {
                    Ok(bytes.to_vec())
                }
            }
            from.deserialize_bytes(Bytes)
        }
    }
    assert_eq!(json(&Blob(vec![1, 255])).to_string(), "[1,255]");
    assert_eq!(json(&(u128::MAX, i128::MIN, 5u128, -5i128)).to_string(), format!("[\"{}\",\"{}\",5,-5]", u128::MAX, i128::MIN));
    assert_eq!(json(&(f64::NAN, f32::INFINITY)).to_string(), "[null,null]");
    assert_eq!(json(&BTreeMap::from([((1u8, 'a'), true)])).to_string(), r#"{"[1,\"a\"]":true}"#);
    // Keys of their own kind for whoever asks for it.
    let map = BTreeMap::from([(7u64, "seven".to_owned())]);
    assert_eq!(schema::<BTreeMap<u64, String>>().reader().unwrap().read::<BTreeMap<u64, String>>(&bytes(&map)).unwrap(), map);
}

#[test]
fn names_of_types_do_not_matter() {
    mod renamed {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct Item {
            pub article: String,
            pub price: f64,
        }
    }
    let reader = reading::<old::Line, renamed::Item>().unwrap();
    assert!(reader.is_current());
    let stored = bytes(&old::Line { article: "nut".to_owned(), price: 0.1 });
    assert_eq!(reader.decode(&stored).unwrap(), renamed::Item { article: "nut".to_owned(), price: 0.1 });
}

#[test]
fn what_cannot_be_read_is_found_before_a_value_is() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Line {
        article: String,
        price: f64,
        count: u16,
    }
    #[derive(Debug, Serialize, Deserialize)]
    enum Deep<L> {
        No,
        Maybe(Option<Vec<(u8, L)>>),
    }
    let error = refused::<old::Line, Line>();
    assert!(error.ends_with("field `count` is not stored and has no default (`#[serde(default)]`)"), "{error}");
    let error = refused::<Deep<old::Line>, Deep<Line>>();
    assert!(error.contains("in `Maybe.1`: field `count` is not stored"), "{error}");

    #[derive(Debug, Serialize, Deserialize)]
    struct Cents {
        article: String,
        price: u64,
    }
    let error = refused::<Vec<old::Line>, Vec<Cents>>();
    assert!(error.ends_with("in `price`: stored as f64, now u64"), "{error}");

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        article: String,
    }
    let error = refused::<old::Line, Strict>();
    assert!(error.contains("field `price` is stored, and the type denies"), "{error}");

    #[derive(Debug, Serialize, Deserialize)]
    enum Status {
        New,
        Sent { at: i64 },
        Paid(u32, bool),
    }
    let error = refused::<old::Status, Status>();
    assert!(error.ends_with("variant `Split` of `Status` is stored, and there is none now"), "{error}");

    let error = refused::<(u8, u16), (u8, u16, u32)>();
    assert!(error.ends_with("stored as (u8, u16), now (u8, u16, u32)"), "{error}");
    let error = refused::<new::Pair, old::Pair>();
    assert!(error.ends_with("stored as `Pair`, now `Pair`, with other fields"), "{error}");
    let error = refused::<Option<u8>, u8>();
    assert!(error.ends_with("stored as option<u8>, now u8"), "{error}");
}

/// A type that refuses the made-up values is asked at the first stored one.
#[test]
fn a_type_that_is_particular_is_refused_with_its_first_value() {
    #[derive(Serialize, Deserialize)]
    struct Before {
        name: String,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct After {
        #[serde(deserialize_with = "not_empty")]
        name: String,
        age: u8,
    }
    fn not_empty<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<String, D::Error> {
        let text = String::deserialize(from)?;
        if text.is_empty() { Err(serde::de::Error::custom("empty")) } else { Ok(text) }
    }
    // It cannot be traced either: it is opaque, and then nothing else is read as it.
    let error = refused::<Before, After>();
    assert!(error.contains("cannot be described"), "{error}");
    let error = schema::<After>().reader().unwrap_err().to_string();
    assert!(error.contains("After"), "{error}");
}

#[test]
fn hostile_schemas_and_lengths_end() {
    let read = |schema: &Schema, bytes: &[u8]| schema.reader().and_then(|reader| reader.read::<Value>(bytes));
    let boxed = |schema: Schema| Box::new(schema);
    assert!(read(&Schema::Seq(boxed(Schema::Unit)), &[255; 4]).is_err());
    assert!(read(&Schema::Array(boxed(Schema::Array(boxed(Schema::Unit), usize::MAX)), usize::MAX), &[]).is_err());
    assert!(read(&Schema::Recursive("Nobody".to_owned()), &[]).is_err());
    let this = || Schema::Recursive("A".to_owned());
    let endless = Schema::Struct { name: "A".to_owned(), fields: vec![("a".to_owned(), this())] };
    assert!(read(&endless, &[]).is_err());
    assert!(Codec::<u8>::new().unwrap().reading(&endless).is_err());
    let list = Schema::Struct { name: "A".to_owned(), fields: vec![("next".to_owned(), Schema::Option(boxed(this())))] };
    let error = read(&list, &[1; 1 << 20]).unwrap_err().to_string();
    assert!(error.contains("levels deep"), "{error}");
    assert!(read(&list, &[1, 1, 1, 0]).is_ok());
    let twice = Schema::Struct { name: "A".to_owned(), fields: vec![("b".to_owned(), list)] };
    let error = read(&twice, &[0]).unwrap_err().to_string();
    assert!(error.contains("several types around it"), "{error}");
    // More made-up values than are tried.
    let wide = Schema::Array(boxed(Schema::U64), 1 << 40);
    assert!(Codec::<[u64; 2]>::new().unwrap().reading(&wide).is_err());
}
