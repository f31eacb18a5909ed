//! Key bytes back to arrays.

use super::arrays::Gather;
use super::write::{Kind, with_fixed};
use super::{KeyEncoder, Part};
use crate::keys::{FixedKey, ends_early, unescape};
use crate::{Error, Result};
use arrow_array::ArrayRef;
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, IntervalDayTime, IntervalMonthDayNano, NullBuffer, i256};
use arrow_schema::DataType;
use half::f16;

impl KeyEncoder {
    /// The columns that the keys were made of.
    ///
    /// # Errors
    /// If the bytes are no keys of these columns.
    pub fn decode<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) -> Result<Vec<ArrayRef>> {
        let keys: Vec<&[u8]> = keys.into_iter().collect();
        let all: Vec<bool> = vec![true; self.columns.len()];
        let columns = self.decode_some(&keys, &all)?;
        Ok(columns.into_iter().flatten().collect())
    }

    /// The columns for which `wanted` says so.
    pub(crate) fn decode_some(&self, keys: &[&[u8]], wanted: &[bool]) -> Result<Vec<Option<ArrayRef>>> {
        let mut starts = vec![0u32; keys.len()];
        let mut offset = 0;
        let last = wanted.iter().rposition(|&wanted| wanted).map_or(0, |last| last + 1);
        let mut columns = vec![None; self.columns.len()];
        for (i, part) in self.columns[..last].iter().enumerate() {
            // A variable column must be walked through to get behind it, wanted or not.
            if wanted[i] || part.width().is_none() {
                let mut reader = Reader { part, keys, starts: &mut starts, offset };
                let array = reader.read()?;
                columns[i] = wanted[i].then_some(array);
            }
            offset = part.width().map_or(0, |width| offset + width);
        }
        Ok(columns)
    }
}

struct Reader<'a> {
    part: &'a Part,
    keys: &'a [&'a [u8]],
    starts: &'a mut [u32],
    offset: usize,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<ArrayRef> {
        let nulls = if self.part.column.nullable { self.nulls()? } else { None };
        let data_type = &self.part.column.data_type;
        let value_type = match data_type {
            DataType::Dictionary(_, values) => values,
            DataType::RunEndEncoded(_, values) => values.data_type(),
            other => other,
        };
        let len = self.keys.len();
        let values = match self.part.kind {
            Kind::Null => return Gather::null(data_type, len),
            Kind::Bool => {
                let mask = self.part.mask();
                let bits = self.fixed_values::<1, bool>(|[b]| b ^ mask != 0)?;
                Gather::bools(&bits, nulls)
            }
            Kind::Fixed(width) => self.fixed_bytes(width, value_type, nulls)?,
            Kind::Bytes => {
                let (offsets, bytes) = self.bytes(nulls.as_ref())?;
                Gather::bytes(value_type, len, nulls, |row| &bytes[offsets[row]..offsets[row + 1]])?
            }
            kind => with_fixed!(kind, K => self.fixed::<{ <K as FixedKey>::WIDTH }, K>(value_type, nulls)?, unreachable!()),
        };
        Gather::repeated(data_type, values, &self.part.column.name)
    }

    fn nulls(&mut self) -> Result<Option<NullBuffer>> {
        let null = self.part.null_byte();
        let mut unknown = None;
        let (keys, starts, offset) = (self.keys, &self.starts, self.offset);
        let valid = BooleanBuffer::collect_bool(keys.len(), |i| {
            let byte = keys[i].get(starts[i] as usize + offset).copied();
            if byte.is_none_or(|byte| byte > 1) {
                unknown = Some(byte);
            }
            byte != Some(null)
        });
        if let Some(byte) = unknown {
            return Err(self.fail(format!("expected a null byte of 0 or 1, found {byte:?}")));
        }
        self.offset += 1;
        Ok(Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0))
    }

    #[inline(always)]
    fn fixed_values<const N: usize, T>(&self, value: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let mut values = Vec::with_capacity(self.keys.len());
        for (key, &start) in self.keys.iter().zip(self.starts.iter()) {
            match key.get(start as usize + self.offset..).and_then(|rest| rest.first_chunk::<N>()) {
                Some(bytes) => values.push(value(*bytes)),
                None => return Err(self.early(key, start, N)),
            }
        }
        Ok(values)
    }

    fn fixed<const N: usize, K: FixedKey<Bytes = [u8; N]> + ArrowNativeType>(
        &self,
        data_type: &DataType,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef> {
        let mask = self.part.mask();
        let valid = |i: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(i));
        let mut values = self.fixed_values(|bytes: [u8; N]| K::from_key(bytes.map(|b| b ^ mask)))?;
        if nulls.is_some() {
            values.iter_mut().enumerate().filter(|(i, _)| !valid(*i)).for_each(|(_, value)| *value = K::default());
        }
        Gather::fixed(data_type, self.keys.len(), Buffer::from_vec(values), nulls)
    }

    fn fixed_bytes(&self, width: usize, data_type: &DataType, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(self.keys.len() * width);
        for (key, &start) in self.keys.iter().zip(self.starts.iter()) {
            match key.get(start as usize + self.offset..).and_then(|rest| rest.get(..width)) {
                Some(bytes) => values.extend(bytes.iter().map(|b| b ^ self.part.mask())),
                None => return Err(self.early(key, start, width)),
            }
        }
        Gather::fixed(data_type, self.keys.len(), Buffer::from_vec(values), nulls)
    }

    /// Reads the values and moves `starts` behind them.
    fn bytes(&mut self, nulls: Option<&NullBuffer>) -> Result<(Vec<usize>, Vec<u8>)> {
        let mask = self.part.mask();
        let mut offsets = Vec::with_capacity(self.keys.len() + 1);
        offsets.push(0);
        let mut bytes = Vec::new();
        for (i, key) in self.keys.iter().enumerate() {
            let at = self.starts[i] as usize + self.offset;
            let mut length = 0;
            if nulls.is_none_or(|nulls| nulls.is_valid(i)) {
                let rest = key.get(at..).ok_or_else(|| self.early(key, self.starts[i], 2))?;
                length = unescape(rest, mask, &mut bytes).map_err(|what| self.fail(what))?;
            }
            self.starts[i] = (at + length) as u32;
            offsets.push(bytes.len());
        }
        Ok((offsets, bytes))
    }

    #[cold]
    fn early(&self, key: &[u8], start: u32, width: usize) -> Error {
        let at = start as usize + self.offset;
        ends_early(&format!("key column {}", self.part.column.name), at + width, key.len())
    }

    #[cold]
    fn fail(&self, what: String) -> Error {
        Error::Codec { type_name: format!("key column {}", self.part.column.name), what }
    }
}
