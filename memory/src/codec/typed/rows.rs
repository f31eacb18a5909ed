//! Typed keys and values as rows.

use super::Codec;
use crate::{KeyWidth, NormalizedKey, Result, RowBatch, RowShape};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes keys and values of Rust types into rows, and reads them back; nothing is allocated for a record.
///
/// ```
/// use fluvial_memory::{RowBatch, TypedRows};
/// let rows = TypedRows::<(String, u32)>::new::<&str>()?;
/// let mut batch = RowBatch::new(rows.shape());
/// for word in ["to", "be", "or"] {
///     let record = (word.to_owned(), 1);
///     rows.push(&record.0.as_str(), &record, &mut batch)?;
/// }
/// assert!(batch.key(1) < batch.key(0));
/// assert_eq!(rows.key::<String>(batch.row(1))?, "be");
/// assert_eq!(rows.value(batch.row(2))?, ("or".to_owned(), 1));
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TypedRows<V> {
    codec: Codec<V>,
    shape: RowShape,
}

impl<V: Serialize + DeserializeOwned> TypedRows<V> {
    /// Rows of keys like `K` and values of `V`. `()` is the key of rows without one.
    ///
    /// # Errors
    /// As [`Codec::new`].
    pub fn new<K: NormalizedKey + ?Sized>() -> Result<Self> {
        Ok(Self::with::<K>(Codec::new()?))
    }

    /// As [`TypedRows::new`], with a codec that exists.
    pub fn with<K: NormalizedKey + ?Sized>(codec: Codec<V>) -> Self {
        let key = K::WIDTH.map_or(KeyWidth::Variable, KeyWidth::Fixed);
        let row = K::WIDTH.zip(codec.width()).map(|(key, value)| key + value);
        Self { codec, shape: RowShape { key, row } }
    }

    /// The shape of the rows.
    pub fn shape(&self) -> RowShape {
        self.shape
    }

    /// The values' codec.
    pub fn codec(&self) -> &Codec<V> {
        &self.codec
    }

    /// Appends a row. `K` is the key type of the constructor, or encodes like it (`String`, `&str`).
    ///
    /// # Errors
    /// As [`Codec::encode`]; the batch is then as before.
    ///
    /// # Panics
    /// If keys of `K` have another width than those of the constructor's key type.
    #[inline]
    pub fn push<K: NormalizedKey + ?Sized>(&self, key: &K, value: &V, batch: &mut RowBatch) -> Result<()> {
        assert!(self.shape.key == K::WIDTH.map_or(KeyWidth::Variable, KeyWidth::Fixed), "a key of another type");
        batch.push_with(|out| {
            match K::WIDTH {
                Some(_) => key.encode(out),
                None => {
                    let start = out.len();
                    out.extend_from_slice(&[0; 4]);
                    key.encode(out);
                    let length = u32::try_from(out.len() - start - 4).map_err(|_| crate::keys::columns::too_large())?;
                    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
                }
            }
            self.codec.encode(value, out)
        })
    }

    /// The key of a row.
    ///
    /// # Errors
    /// If the row has another.
    #[inline]
    pub fn key<K: NormalizedKey>(&self, row: &[u8]) -> Result<K> {
        K::decode(&mut self.shape.key(row))
    }

    /// The value of a row.
    ///
    /// # Errors
    /// If the row has another.
    #[inline]
    pub fn value(&self, row: &[u8]) -> Result<V> {
        self.codec.decode(self.shape.payload(row))
    }
}
