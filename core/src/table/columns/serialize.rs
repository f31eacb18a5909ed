use super::ValueError;
use super::builder::{Column, ListColumn, MapColumn, StructColumn};
use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple, SerializeTupleStruct,
    Serializer,
};

type Result<T> = std::result::Result<T, ValueError>;

/// A value of another kind than was foreseen.
#[cold]
fn unfit<T>(found: &str) -> Result<T> {
    Err(ValueError::custom(format_args!("{found} where the type, when it was deserialized, wanted something else")))
}

#[cold]
fn variant<T>() -> Result<T> {
    Err(ValueError::custom("an enum variant with fields has no columns"))
}

impl Column {
    /// An integer whose type is not the column's.
    #[cold]
    fn integer(&mut self, value: i128) -> Result<()> {
        macro_rules! fit {
            ($builder:expr) => {
                match value.try_into() {
                    Ok(value) => $builder.append_value(value),
                    Err(_) => return unfit(&format!("the integer {value}")),
                }
            };
        }
        match self {
            Self::I8(b) => fit!(b),
            Self::I16(b) => fit!(b),
            Self::I32(b) => fit!(b),
            Self::I64(b) => fit!(b),
            Self::U8(b) => fit!(b),
            Self::U16(b) => fit!(b),
            Self::U32(b) => fit!(b),
            Self::U64(b) => fit!(b),
            Self::Decimal(b) => fit!(b),
            _ => return unfit(&format!("the integer {value}")),
        }
        Ok(())
    }
}

macro_rules! values {
    ($($serialize:ident $type:ty, $variant:ident, $else:expr;)*) => {$(
        #[inline]
        fn $serialize(self, value: $type) -> Result<()> {
            match self {
                Column::$variant(b) => {
                    b.append_value(value);
                    Ok(())
                }
                other => $else(other, value),
            }
        }
    )*};
}

impl<'a> Serializer for &'a mut Column {
    type Ok = ();
    type Error = ValueError;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Fields<'a>;
    type SerializeTupleStruct = Fields<'a>;
    type SerializeTupleVariant = Impossible<(), ValueError>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Impossible<(), ValueError>;

    values! {
        serialize_bool bool, Bool, |_, _| unfit("a boolean");
        serialize_i8 i8, I8, |c: &mut Column, v| c.integer(i128::from(v));
        serialize_i16 i16, I16, |c: &mut Column, v| c.integer(i128::from(v));
        serialize_i32 i32, I32, |c: &mut Column, v| c.integer(i128::from(v));
        serialize_i64 i64, I64, |c: &mut Column, v| c.integer(i128::from(v));
        serialize_i128 i128, Decimal, |c: &mut Column, v| c.integer(v);
        serialize_u8 u8, U8, |c: &mut Column, v| c.integer(i128::from(v));
        serialize_u16 u16, U16, |c: &mut Column, v| c.integer(i128::from(v));
        serialize_u32 u32, U32, |c: &mut Column, v| c.integer(i128::from(v));
        serialize_u64 u64, U64, |c: &mut Column, v| c.integer(i128::from(v));
        serialize_f32 f32, F32, |_, _| unfit("a number");
        serialize_f64 f64, F64, |_, _| unfit("a number");
        serialize_str &str, Text, |_, _| unfit("a string");
        serialize_bytes &[u8], Bytes, |_, _| unfit("bytes");
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        match i128::try_from(value) {
            Ok(value) => self.serialize_i128(value),
            Err(_) => Err(ValueError::custom(format_args!("{value} has more digits than a decimal column"))),
        }
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_none(self) -> Result<()> {
        self.append_null();
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<()> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<()> {
        variant()
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Items<'a>> {
        match self {
            Column::List(list) => Ok(Items { list }),
            _ => unfit("a list"),
        }
    }

    fn serialize_tuple(self, _len: usize) -> Result<Fields<'a>> {
        match self {
            Column::Struct(column) => Ok(Fields { column, next: 0 }),
            _ => unfit("a tuple"),
        }
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Fields<'a>> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        variant()
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Entries<'a>> {
        match self {
            Column::Map(map) => Ok(Entries { map }),
            _ => unfit("a map"),
        }
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Fields<'a>> {
        match self {
            Column::Struct(column) => Ok(Fields { column, next: 0 }),
            _ => unfit("a struct"),
        }
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant> {
        variant()
    }
}

/// The elements of one list.
pub(super) struct Items<'a> {
    list: &'a mut ListColumn,
}

impl SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = ValueError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.list.item)
    }
    fn end(self) -> Result<()> {
        self.list.ends.append(self.list.item.len())
    }
}

/// The entries of one map.
pub(super) struct Entries<'a> {
    map: &'a mut MapColumn,
}

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = ValueError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        key.serialize(&mut self.map.keys)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut self.map.values)
    }
    fn end(self) -> Result<()> {
        self.map.ends.append(self.map.keys.len())
    }
}

/// The fields of one struct or tuple.
pub(super) struct Fields<'a> {
    column: &'a mut StructColumn,
    next: usize,
}

impl Fields<'_> {
    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        let expected = self.next;
        self.next += 1;
        // Fields come in their order, unless one was skipped before or serde calls them differently in both directions.
        let at = match self.column.fields.get(expected) {
            Some(field) if field.name() == name => expected,
            _ => match self.column.fields.find(name) {
                Some((at, _)) => at,
                None => return Err(ValueError::custom(format_args!("field `{name}` is not deserialized under this name"))),
            },
        };
        self.place(at, value)
    }

    #[inline]
    fn place<T: Serialize + ?Sized>(&mut self, at: usize, value: &T) -> Result<()> {
        let Some(child) = self.column.children.get_mut(at) else { return unfit("one more field") };
        value.serialize(child).map_err(|e| e.at(self.column.fields[at].name(), self.column.fields[at].data_type()))
    }

    /// Fields that were not given are null.
    fn done(self) -> Result<()> {
        let rows = self.column.nulls.len() + 1;
        for child in &mut self.column.children {
            if child.len() < rows {
                child.append_null();
            }
        }
        self.column.nulls.append_non_null();
        Ok(())
    }
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = ValueError;
    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        self.field(name, value)
    }
    fn end(self) -> Result<()> {
        self.done()
    }
}

impl SerializeTuple for Fields<'_> {
    type Ok = ();
    type Error = ValueError;
    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.next += 1;
        self.place(self.next - 1, value)
    }
    fn end(self) -> Result<()> {
        self.done()
    }
}

impl SerializeTupleStruct for Fields<'_> {
    type Ok = ();
    type Error = ValueError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.serialize_element(value)
    }
    fn end(self) -> Result<()> {
        self.done()
    }
}
