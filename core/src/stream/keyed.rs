use super::{Data, DataStream};
use fluvial_memory::NormalizedKey;
use std::marker::PhantomData;

/// How the key of a record is found.
///
/// Made by [`DataStream::key_by`] and [`DataStream::key_by_ref`]; there is no need to implement it by hand.
pub trait KeySelector<T>: Clone + Send + Sync + 'static {
    /// The key's type, as a user's function sees it.
    type Key: NormalizedKey + Data;
    /// Bytes of every normalized key, if they have the same.
    const WIDTH: Option<usize>;
    /// Appends the record's normalized key.
    fn encode(&self, record: &T, out: &mut Vec<u8>);
}

/// A function that makes the key.
pub struct KeyFn<F, K> {
    select: F,
    key: PhantomData<fn() -> K>,
}

impl<F, K> KeyFn<F, K> {
    pub(crate) fn new(select: F) -> Self {
        Self { select, key: PhantomData }
    }
}

/// A function that borrows the key from the record.
pub struct KeyRef<F, Q: ?Sized> {
    select: F,
    key: PhantomData<fn() -> Box<Q>>,
}

impl<F: Clone, K> Clone for KeyFn<F, K> {
    fn clone(&self) -> Self {
        Self { select: self.select.clone(), key: PhantomData }
    }
}

impl<F: Clone, Q: ?Sized> Clone for KeyRef<F, Q> {
    fn clone(&self) -> Self {
        Self { select: self.select.clone(), key: PhantomData }
    }
}

impl<T, K, F> KeySelector<T> for KeyFn<F, K>
where
    K: NormalizedKey + Data,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
{
    type Key = K;
    const WIDTH: Option<usize> = K::WIDTH;
    #[inline]
    fn encode(&self, record: &T, out: &mut Vec<u8>) {
        (self.select)(record).encode(out);
    }
}

impl<T, Q, F> KeySelector<T> for KeyRef<F, Q>
where
    Q: NormalizedKey + ToOwned + ?Sized + 'static,
    Q::Owned: NormalizedKey + Data,
    F: Fn(&T) -> &Q + Clone + Send + Sync + 'static,
{
    type Key = Q::Owned;
    const WIDTH: Option<usize> = Q::WIDTH;
    #[inline]
    fn encode(&self, record: &T, out: &mut Vec<u8>) {
        (self.select)(record).encode(out);
    }
}

/// A stream whose records have a key.
#[derive(Clone)]
pub struct KeyedStream<T, S> {
    pub(crate) stream: DataStream<T>,
    pub(crate) selector: S,
}

impl<T: Data> DataStream<T> {
    /// Gives every record a key; what follows works on the records of one key.
    ///
    /// Any type with a [`NormalizedKey`] can be a key: numbers, strings, options, tuples of those, structs that derive it.
    pub fn key_by<K, F>(&self, select: F) -> KeyedStream<T, KeyFn<F, K>>
    where
        K: NormalizedKey + Data,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        KeyedStream { stream: self.clone(), selector: KeyFn { select, key: PhantomData } }
    }

    /// Like [`DataStream::key_by`] with a key that is a part of the record and need not be copied for every record: a `&str` of a
    /// `String`, say.
    pub fn key_by_ref<Q, F>(&self, select: F) -> KeyedStream<T, KeyRef<F, Q>>
    where
        Q: NormalizedKey + ToOwned + ?Sized + 'static,
        Q::Owned: NormalizedKey + Data,
        F: Fn(&T) -> &Q + Clone + Send + Sync + 'static,
    {
        KeyedStream { stream: self.clone(), selector: KeyRef { select, key: PhantomData } }
    }
}
