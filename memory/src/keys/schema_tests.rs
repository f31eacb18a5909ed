use super::*;
use fluvial_memory_derive::NormalizedKey;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::borrow::Cow;

#[derive(Clone, Debug, PartialEq, NormalizedKey)]
struct Person {
    name: String,
    age: Option<u8>,
    r#type: Descending<(i64, String)>,
}

#[derive(Clone, Debug, PartialEq, NormalizedKey)]
struct Id(u64);

#[derive(Clone, Debug, PartialEq, NormalizedKey)]
struct Point(i32, f64);

#[derive(Clone, Debug, PartialEq, NormalizedKey)]
enum Shape<T> {
    Nothing,
    Circle(u32),
    Line(Id, Id),
    Named { name: T, sides: u8 },
}

fn encode(key: &(impl NormalizedKey + ?Sized)) -> Vec<u8> {
    let mut out = Vec::new();
    key.encode(&mut out);
    out
}

/// Bytes to JSON and back, by the schema alone.
fn check<K: NormalizedKey>(key: &K) -> std::result::Result<Value, TestCaseError> {
    let schema = K::schema();
    prop_assert_eq!(schema.width(), K::WIDTH);
    prop_assert_eq!(&KeySchema::from_json(&schema.to_json()).unwrap(), &schema);
    prop_assert!(schema.is_read_as(&schema));
    let bytes = encode(key);
    let value = schema.to_value(&bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(&schema.encode_json(&value).unwrap(), &bytes);
    prop_assert_eq!(&schema.encode_text(&value.to_string()).unwrap(), &bytes);
    for cut in 0..bytes.len() {
        prop_assert!(schema.to_value(&bytes[..cut]).is_err());
    }
    let longer: Vec<u8> = bytes.iter().copied().chain([1]).collect();
    prop_assert!(schema.to_value(&longer).is_err());
    Ok(value)
}

fn person() -> impl Strategy<Value = Person> {
    (any::<String>(), any::<Option<u8>>(), any::<(i64, String)>()).prop_map(|(name, age, of)| Person {
        name,
        age,
        r#type: Descending(of),
    })
}

fn shape() -> impl Strategy<Value = Shape<String>> {
    prop_oneof![
        Just(Shape::Nothing),
        any::<u32>().prop_map(Shape::Circle),
        any::<(u64, u64)>().prop_map(|(a, b)| Shape::Line(Id(a), Id(b))),
        any::<(String, u8)>().prop_map(|(name, sides)| Shape::Named { name, sides }),
    ]
}

proptest! {
    #[test]
    fn numbers(a: (i8, i16, i32, i64, i128), b: (u8, u16, u32, u64, u128), c: (bool, char, ()), d: [i16; 3]) {
        check(&a)?;
        check(&b)?;
        check(&c)?;
        prop_assert_eq!(check(&d)?, json!(d));
        prop_assert_eq!(check(&(b.3 as usize, a.3 as isize))?, json!([b.3, a.3]));
    }

    #[test]
    fn floats(a in prop::num::f64::ANY, b in prop::num::f32::ANY) {
        check(&a)?;
        check(&Descending(b))?;
    }

    #[test]
    fn text(a: String, b: Vec<u8>, c: Option<String>) {
        prop_assert_eq!(check(&a)?, json!(a));
        prop_assert_eq!(check(&b)?, json!(b));
        check(&Descending(a.clone()))?;
        check(&(NullsFirst(c.clone()), Descending(c), Box::new(Cow::Borrowed(a.as_str())).into_owned()))?;
    }

    #[test]
    fn structs_and_enums(person in person(), shape in shape(), id: u64, x: i32) {
        let value = check(&person)?;
        prop_assert_eq!(value, json!({"name": person.name, "age": person.age, "type": person.r#type.0}));
        check(&shape)?;
        check(&(NullsFirst(Some(shape)), 1u8))?;
        prop_assert_eq!(check(&Id(id))?, json!(id));
        prop_assert_eq!(check(&Point(x, 0.5))?, json!([x, 0.5]));
    }

    #[test]
    fn random_bytes_do_not_panic(bytes: Vec<u8>) {
        for schema in [Person::schema(), <Shape<String>>::schema(), <(Descending<String>, char, f32, [(); 3])>::schema()] {
            let _ = schema.to_value(&bytes);
        }
    }

    #[test]
    fn random_text_does_not_panic(text: String) {
        for schema in [Person::schema(), <Shape<String>>::schema(), <(u8, f64)>::schema(), char::schema()] {
            let _ = schema.encode_text(&text);
        }
    }
}

#[test]
fn keys_on_a_command_line() {
    assert_eq!(String::schema().encode_text("Ada").unwrap(), encode("Ada"));
    assert_eq!(String::schema().encode_text("null").unwrap(), encode("null"));
    assert_eq!(<Option<String>>::schema().encode_text("null").unwrap(), encode(&None::<String>));
    assert_eq!(<Option<String>>::schema().encode_text("12").unwrap(), encode(&Some("12".to_owned())));
    assert_eq!(char::schema().encode_text("5").unwrap(), encode(&'5'));
    assert_eq!(u64::schema().encode_text(" 7 ").unwrap(), encode(&7u64));
    assert_eq!(u128::schema().encode_text(&u128::MAX.to_string()).ok(), None);
    assert_eq!(u128::schema().encode_text(&format!("\"{}\"", u128::MAX)).unwrap(), encode(&u128::MAX));
    assert_eq!(f64::schema().encode_text("NaN").unwrap(), encode(&f64::NAN));
    assert_eq!(<Vec<u8>>::schema().encode_text("ab").unwrap(), encode(&b"ab"[..]));
    assert_eq!(<Shape<String>>::schema().encode_text("Nothing").unwrap(), encode(&Shape::<String>::Nothing));
    assert_eq!(<Shape<String>>::schema().encode_text(r#"{"Circle": 3}"#).unwrap(), encode(&Shape::<String>::Circle(3)));
    let error = |schema: KeySchema, text: &str| schema.encode_text(text).unwrap_err().to_string();
    assert!(error(u8::schema(), "256").contains("expected a key of type u8, found 256"));
    assert!(error(Person::schema(), r#"{"name": "a", "age": 1}"#).contains("the field `type`"));
    assert!(error(Person::schema(), r#"{"name": "a", "age": 1, "type": [1, "b"], "x": 1}"#).contains("no field `x`"));
    assert!(error(<Shape<String>>::schema(), "Square").contains("no variant `Square`"));
    assert!(error(<(u8, u8)>::schema(), "[1]").contains("an array of 2"));
}

#[test]
fn displayed_and_stored() {
    assert_eq!(Person::schema().to_string(), "Person { name: str, age: option<u8>, type: descending<(i64, str)> }");
    assert_eq!(
        <Shape<&str>>::schema().to_string(),
        "enum Shape { Nothing, Circle(u32), Line(Id(u64), Id(u64)), Named { name: str, sides: u8 } }"
    );
    assert_eq!(<(NullsFirst<Vec<u8>>, [Point; 2])>::schema().to_string(), "(nulls_first<bytes>, [Point(i32, f64); 2])");
    assert_eq!(
        <(Id, Option<std::sync::Arc<str>>)>::schema().to_json(),
        r#"{"tuple":[{"struct":{"name":"Id","fields":[["0","u64"]]}},{"option":"str"}]}"#
    );
}

#[test]
fn keys_that_are_read_as_others() {
    #[derive(NormalizedKey)]
    struct Human {
        full_name: String,
        years: Option<u8>,
        kind: Descending<(i64, String)>,
    }
    assert!(Person::schema().is_read_as(&Human::schema()));
    assert!(<(u64,)>::schema().is_read_as(&Id::schema()));
    assert!(!u64::schema().is_read_as(&i64::schema()));
    assert!(!<(u8, u8)>::schema().is_read_as(&<(u8,)>::schema()));
    #[derive(NormalizedKey)]
    #[allow(dead_code, reason = "only its schema is looked at")]
    enum Color {
        Red,
        Green,
    }
    mod later {
        use super::*;
        #[derive(NormalizedKey)]
        #[allow(dead_code, reason = "only its schema is looked at")]
        pub(super) enum Color {
            Red,
            Green,
            Blue,
        }
    }
    assert!(Color::schema().is_read_as(&later::Color::schema()));
    assert!(!later::Color::schema().is_read_as(&Color::schema()));
}

#[test]
fn types_that_do_not_say_what_they_are() {
    struct Own;
    impl NormalizedKey for Own {
        const WIDTH: Option<usize> = Some(0);
        fn encode(&self, _: &mut Vec<u8>) {}
        fn decode(_: &mut &[u8]) -> Result<Self> {
            Ok(Self)
        }
    }
    let error = <(u8, Own)>::schema().to_value(&[1]).unwrap_err();
    assert!(matches!(&error, Error::Unsupported(what) if what.contains("Own")), "{error}");
    assert!(KeySchema::Array(Box::new(KeySchema::Unit), usize::MAX).to_value(&[]).is_err());
    let wide = KeySchema::Option(Box::new(KeySchema::Array(Box::new(KeySchema::U8), usize::MAX / 2)));
    assert!(wide.encode_json(&Value::Null).is_err());
}
