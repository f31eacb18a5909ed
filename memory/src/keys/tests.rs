use super::*;
use fluvial_memory_derive::NormalizedKey;
use proptest::prelude::*;
use std::cmp::Ordering;
use std::fmt::Debug;

fn encode(key: &(impl NormalizedKey + ?Sized)) -> Vec<u8> {
    let mut out = Vec::new();
    key.encode(&mut out);
    out
}

/// Order and round trip of a pair of keys.
fn check<K: NormalizedKey + PartialOrd + Debug>(a: K, b: K) -> std::result::Result<(), TestCaseError> {
    let (x, y) = (encode(&a), encode(&b));
    if let Some(order) = a.partial_cmp(&b) {
        prop_assert_eq!(x.cmp(&y), order, "{:?} {:?}: {:02X?} {:02X?}", a, b, x, y);
    }
    for (key, bytes) in [(a, x), (b, y)] {
        if let Some(width) = K::WIDTH {
            prop_assert_eq!(bytes.len(), width);
        }
        let followed: Vec<u8> = bytes.iter().copied().chain([0xAB]).collect();
        let mut rest = &followed[..];
        let back = K::decode(&mut rest).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(rest, &[0xAB][..]);
        prop_assert!(back.partial_cmp(&key).is_none_or(|order| order == Ordering::Equal), "{:?} came back as {:?}", key, back);
        for cut in 0..bytes.len() {
            prop_assert!(K::decode(&mut &bytes[..cut]).is_err());
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, NormalizedKey)]
struct Person {
    name: String,
    age: Option<u8>,
    id: Descending<i64>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy, NormalizedKey)]
enum Priority {
    Low = -1,
    Normal,
    High = 7,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, NormalizedKey)]
enum Shape<T> {
    Point,
    Circle(u32),
    Named { name: T, sides: u8 },
}

#[derive(Debug, PartialEq, PartialOrd, NormalizedKey)]
struct Pair(u32, f64);

fn shape() -> impl Strategy<Value = Shape<String>> {
    prop_oneof![
        Just(Shape::Point),
        any::<u32>().prop_map(Shape::Circle),
        (text(), any::<u8>()).prop_map(|(name, sides)| Shape::Named { name, sides }),
    ]
}

/// Short strings over few letters, zero among them, so that prefixes and equal strings happen.
fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!['\0', '\u{1}', 'a', 'b', '\u{FF}', '\u{10FFFF}']), 0..4)
        .prop_map(|letters| letters.into_iter().collect())
}

proptest! {
    #[test]
    fn integers(a: (i8, i16, i32, i64, i128), b: (i8, i16, i32, i64, i128), c: (u8, u16, u32, u64, u128), d: (u8, u16, u32, u64, u128)) {
        check(a, b)?;
        check(c, d)?;
        check((a.0, c.0), (a.0, d.0))?;
        check(a.3 as isize, b.3 as isize)?;
        check(c.3 as usize, d.3 as usize)?;
    }

    #[test]
    fn others(a: (bool, char, ()), b: (bool, char, ()), c: [i16; 3], d: [i16; 3]) {
        check(a, b)?;
        check(c, d)?;
    }

    #[test]
    fn floats(a in prop::num::f64::ANY, b in prop::num::f64::ANY, c in prop::num::f32::ANY, d in prop::num::f32::ANY) {
        check(a, b)?;
        check(c, d)?;
    }

    #[test]
    fn strings(a in (text(), text()), b in (text(), text())) {
        check(a.clone(), b.clone())?;
        check(a.0.clone().into_bytes(), b.0.clone().into_bytes())?;
        check((Descending(a.0.clone()), a.1.clone()), (Descending(b.0.clone()), b.1.clone()))?;
        prop_assert_eq!(encode(&a.0), encode(a.0.as_str()));
        prop_assert_eq!(encode(&(&a.0, a.1.as_str())), encode(&a));
    }

    #[test]
    fn nulls(a: Option<i32>, b: Option<i32>, c in prop::option::of(text()), d in prop::option::of(text())) {
        check((NullsFirst(a), NullsFirst(c.clone())), (NullsFirst(b), NullsFirst(d.clone())))?;
        let descending = encode(&Descending((a, c.clone()))).cmp(&encode(&Descending((b, d.clone()))));
        prop_assert_eq!(descending, encode(&(b, d.clone())).cmp(&encode(&(a, c.clone()))));
        let last = |key: Option<i32>| (key.is_none(), key);
        prop_assert_eq!(encode(&a).cmp(&encode(&b)), last(a).cmp(&last(b)));
        let last = |key: Option<String>| (key.is_none(), key);
        prop_assert_eq!(encode(&c).cmp(&encode(&d)), last(c).cmp(&last(d)));
    }

    #[test]
    fn derived(a in (text(), any::<i64>()), b in (text(), any::<i64>()), c in shape(), d in shape()) {
        let person = |(name, id)| Person { name, age: Some(1), id: Descending(id) };
        check(person(a), person(b))?;
        check(c, d)?;
    }

    #[test]
    fn random_bytes_do_not_panic(bytes: Vec<u8>) {
        let _ = Person::decode(&mut &bytes[..]);
        let _ = <Shape<String>>::decode(&mut &bytes[..]);
        let _ = <(Descending<String>, bool, char, Option<u8>)>::decode(&mut &bytes[..]);
    }
}

#[test]
fn floats_at_the_edges() {
    let nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63 | 5);
    let sorted = [f64::NEG_INFINITY, f64::MIN, -1.0, -f64::MIN_POSITIVE, 0.0, f64::MIN_POSITIVE, 1.0, f64::INFINITY, nan];
    assert!(sorted.windows(2).all(|w| encode(&w[0]) < encode(&w[1])));
    assert_eq!(encode(&-0.0f64), encode(&0.0f64));
    assert_eq!(encode(&nan), encode(&f64::NAN));
    assert_eq!(encode(&-0.0f32), encode(&0.0f32));
    assert!(f64::decode(&mut &encode(&nan)[..]).unwrap().is_nan());
}

#[test]
fn enums() {
    assert!(encode(&Priority::Low) < encode(&Priority::Normal) && encode(&Priority::Normal) < encode(&Priority::High));
    assert_eq!(Priority::WIDTH, Some(1));
    assert_eq!(<Shape<String>>::WIDTH, None);
    assert_eq!(Pair::WIDTH, Some(12));
    let error = Priority::decode(&mut &[3u8][..]).unwrap_err().to_string();
    assert!(error.contains("Priority") && error.contains("below 3, found 3"), "{error}");
}

#[test]
fn short_comparisons_agree_with_slices() {
    for n in 0..40usize {
        let a: Vec<u8> = (0..n as u8).collect();
        assert!(crate::same_key(&a, &a));
        assert!(!crate::same_key(&a, &[&a[..], &[0]].concat()));
        for i in 0..n {
            let mut b = a.clone();
            b[i] ^= 0x40;
            assert!(!crate::same_key(&a, &b), "{n} bytes, byte {i}");
        }
    }
}
