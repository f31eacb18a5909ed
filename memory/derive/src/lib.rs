//! The derive macro for Fluvial's normalized keys. Use it through `fluvial_memory::NormalizedKey`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::punctuated::Punctuated;
use syn::{Data, DeriveInput, Error, Expr, Fields, Ident, Lit, Path, Result, Token, Variant, parse_macro_input, parse_quote};

/// Implements `NormalizedKey`: structs field by field in the order of declaration, enums by variant in the order of
/// declaration and then field by field, like `#[derive(Ord)]`.
///
/// `#[key(crate = "path")]` names the place where `NormalizedKey` and `keys` are found, for crates that re-export them
/// under a path of their own.
#[proc_macro_derive(NormalizedKey, attributes(key))]
pub fn normalized_key(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: DeriveInput) -> Result<TokenStream> {
    let memory = memory_path(&input)?;
    let body = match &input.data {
        Data::Struct(data) => expand_struct(&memory, &input.ident, &data.fields),
        Data::Enum(data) => expand_enum(&memory, &input.ident, &data.variants)?,
        Data::Union(data) => return Err(Error::new(data.union_token.span, "a union has no order and cannot be a key")),
    };
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(#memory::NormalizedKey));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #memory::NormalizedKey for #name #type_generics #where_clause { #body }
    })
}

/// The crate that the generated code refers to: as the attribute says, or where the manifest has it.
fn memory_path(input: &DeriveInput) -> Result<Path> {
    let mut path = None;
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("key")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected `crate = \"path\"`"));
            }
            path = Some(meta.value()?.parse::<syn::LitStr>()?.parse()?);
            Ok(())
        })?;
    }
    Ok(path.unwrap_or_else(|| {
        use proc_macro_crate::{FoundCrate, crate_name};
        match (crate_name("fluvial-memory"), crate_name("fluvial")) {
            (Ok(FoundCrate::Name(name)), _) => ident_path(&name),
            (Err(_), Ok(FoundCrate::Name(name))) => {
                let name = Ident::new(&name, Span::call_site());
                parse_quote!(::#name::memory)
            }
            _ => ident_path("fluvial_memory"),
        }
    }))
}

fn ident_path(name: &str) -> Path {
    let name = Ident::new(name, Span::call_site());
    parse_quote!(::#name)
}

fn expand_struct(memory: &Path, name: &Ident, fields: &Fields) -> TokenStream {
    let names = field_names(fields);
    let pattern = pattern(fields, &names);
    let types: Vec<_> = fields.iter().map(|f| &f.ty).collect();
    let construct = construct(memory, fields, &names);
    let schema = struct_schema(memory, name, fields);
    quote! {
        const WIDTH: ::core::option::Option<usize> =
            #memory::keys::private::sum_widths(&[#(<#types as #memory::NormalizedKey>::WIDTH),*]);

        #[inline]
        fn encode(&self, out: &mut ::std::vec::Vec<u8>) {
            let Self #pattern = self;
            #(#memory::NormalizedKey::encode(#names, out);)*
        }

        #[inline]
        fn decode(input: &mut &[u8]) -> #memory::Result<Self> {
            ::core::result::Result::Ok(Self #construct)
        }

        fn schema() -> #memory::KeySchema {
            #schema
        }
    }
}

/// What the bytes of a struct's fields are.
fn struct_schema(memory: &Path, name: &Ident, fields: &Fields) -> TokenStream {
    let name = plain(name);
    let names = fields.iter().enumerate().map(|(i, field)| field.ident.as_ref().map_or_else(|| i.to_string(), plain));
    let types = fields.iter().map(|f| &f.ty);
    quote! {
        #memory::KeySchema::Struct {
            name: ::std::string::String::from(#name),
            fields: ::std::vec![
                #((::std::string::String::from(#names), <#types as #memory::NormalizedKey>::schema())),*
            ],
        }
    }
}

/// What the bytes of a variant's fields are: as serde sees variants.
fn variant_schema(memory: &Path, variant: &Variant) -> TokenStream {
    let types: Vec<_> = variant.fields.iter().map(|f| &f.ty).collect();
    match (&variant.fields, types.as_slice()) {
        (Fields::Unit, _) => quote!(#memory::KeySchema::Unit),
        (Fields::Unnamed(_), [only]) => quote!(<#only as #memory::NormalizedKey>::schema()),
        (Fields::Unnamed(_), _) => {
            quote!(#memory::KeySchema::Tuple(::std::vec![#(<#types as #memory::NormalizedKey>::schema()),*]))
        }
        (Fields::Named(_), _) => struct_schema(memory, &variant.ident, &variant.fields),
    }
}

/// A name without the mark of a raw identifier.
fn plain(name: &Ident) -> String {
    let name = name.to_string();
    name.strip_prefix("r#").map_or(name.clone(), str::to_owned)
}

fn expand_enum(memory: &Path, ident: &Ident, variants: &Punctuated<Variant, Token![,]>) -> Result<TokenStream> {
    check_discriminants(variants)?;
    if variants.is_empty() {
        return Err(Error::new(Span::call_site(), "an enum without variants has no keys"));
    }
    let tag: Ident = format_ident!("{}", if variants.len() <= 256 { "u8" } else { "u16" });
    if variants.len() > 1 << 16 {
        return Err(Error::new(Span::call_site(), "a key enum has at most 65536 variants"));
    }
    let (mut encode, mut decode, mut widths) = (Vec::new(), Vec::new(), Vec::new());
    for (index, variant) in variants.iter().enumerate() {
        let name = &variant.ident;
        let names = field_names(&variant.fields);
        let pattern = pattern(&variant.fields, &names);
        let construct = construct(memory, &variant.fields, &names);
        let types: Vec<_> = variant.fields.iter().map(|f| &f.ty).collect();
        let index = syn::Index::from(index);
        encode.push(quote! {
            Self::#name #pattern => {
                #memory::NormalizedKey::encode(&(#index as #tag), out);
                #(#memory::NormalizedKey::encode(#names, out);)*
            }
        });
        decode.push(quote!(#index => Self::#name #construct,));
        widths.push(quote!(#memory::keys::private::sum_widths(&[#(<#types as #memory::NormalizedKey>::WIDTH),*])));
    }
    let count = variants.len();
    let enum_name = plain(ident);
    let names = variants.iter().map(|variant| plain(&variant.ident));
    let schemas = variants.iter().map(|variant| variant_schema(memory, variant));
    Ok(quote! {
        const WIDTH: ::core::option::Option<usize> =
            #memory::keys::private::enum_width(::core::mem::size_of::<#tag>(), &[#(#widths),*]);

        #[inline]
        fn encode(&self, out: &mut ::std::vec::Vec<u8>) {
            match self { #(#encode)* }
        }

        #[inline]
        fn decode(input: &mut &[u8]) -> #memory::Result<Self> {
            ::core::result::Result::Ok(match <#tag as #memory::NormalizedKey>::decode(input)? {
                #(#decode)*
                other => return #memory::keys::private::unknown_variant(other as usize, #count),
            })
        }

        fn schema() -> #memory::KeySchema {
            #memory::KeySchema::Enum {
                name: ::std::string::String::from(#enum_name),
                variants: ::std::vec![#((::std::string::String::from(#names), #schemas)),*],
            }
        }
    })
}

/// The key is the variant's place in the declaration; explicit discriminants must agree with that order.
fn check_discriminants(variants: &Punctuated<Variant, Token![,]>) -> Result<()> {
    let (mut last, mut value) = (None, 0);
    for variant in variants {
        if let Some((_, expression)) = &variant.discriminant {
            value = literal(expression).ok_or_else(|| {
                Error::new_spanned(expression, "the order of a key enum must be plain: write the discriminant as a literal")
            })?;
        }
        if last.is_some_and(|last| value <= last) {
            return Err(Error::new_spanned(variant, "declare the variants of a key enum in the order of their discriminants"));
        }
        last = Some(value);
        value += 1;
    }
    Ok(())
}

fn literal(expression: &Expr) -> Option<i128> {
    match expression {
        Expr::Lit(lit) => match &lit.lit {
            Lit::Int(value) => value.base10_parse().ok(),
            Lit::Byte(value) => Some(value.value().into()),
            _ => None,
        },
        Expr::Unary(unary) if matches!(unary.op, syn::UnOp::Neg(_)) => literal(&unary.expr).map(|value| -value),
        _ => None,
    }
}

fn field_names(fields: &Fields) -> Vec<Ident> {
    (0..fields.len()).map(|i| format_ident!("field_{i}")).collect()
}

/// A pattern that binds every field to its name in `names`.
fn pattern(fields: &Fields, names: &[Ident]) -> TokenStream {
    match fields {
        Fields::Named(named) => {
            let idents = named.named.iter().map(|f| &f.ident);
            quote!({ #(#idents: #names),* })
        }
        Fields::Unnamed(_) => quote!((#(#names),*)),
        Fields::Unit => quote!(),
    }
}

/// An expression that decodes every field in order.
fn construct(memory: &Path, fields: &Fields, names: &[Ident]) -> TokenStream {
    let values = names.iter().map(|_| quote!(#memory::NormalizedKey::decode(input)?));
    match fields {
        Fields::Named(named) => {
            let idents = named.named.iter().map(|f| &f.ident);
            quote!({ #(#idents: #values),* })
        }
        Fields::Unnamed(_) => quote!((#(#values),*)),
        Fields::Unit => quote!(),
    }
}
