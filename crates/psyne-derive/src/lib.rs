#![doc = include_str!("../README.md")]

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Path, Result};

/// Makes a `#[repr(C)]` struct of plain data a `Message`.
///
/// `#[message(crate = some::path)]` names the crate that the trait comes from; `psyne` if absent.
#[proc_macro_derive(Message, attributes(message))]
pub fn message(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn expand(input: &DeriveInput) -> Result<Tokens> {
    let name = &input.ident;
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(name, "a Message is a struct: enums have invalid bits"));
    };
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "a Message has no parameters"));
    }
    if !is_repr_c(input)? {
        return Err(Error::new_spanned(name, "a Message needs #[repr(C)]: others have no layout"));
    }
    let root = root(input)?;
    Ok(implementation(name, &data.fields, &root))
}

fn implementation(name: &syn::Ident, fields: &Fields, root: &Path) -> Tokens {
    let types: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    let names = fields.iter().enumerate().map(|(index, field)| match &field.ident {
        Some(ident) => ident.to_string(),
        None => index.to_string(),
    });
    let text = name.to_string();
    quote! {
        // SAFETY: the struct is `repr(C)` without parameters; each field is a Message, so any bits
        // are a value, nothing points anywhere and nothing is dropped; the assertion below refuses
        // padding, so each byte is initialised.
        #[allow(unsafe_code)]
        unsafe impl #root::Message for #name {
            const LAYOUT: #root::Layout = {
                assert!(
                    0 #(+ ::core::mem::size_of::<#types>())* == ::core::mem::size_of::<#name>(),
                    "a Message has no padding: order the fields by size, or name the gap",
                );
                #root::Layout::of::<#name>(#text)
                    #(.field(#names, <#types as #root::Message>::LAYOUT))*
            };
        }
    }
}

fn is_repr_c(input: &DeriveInput) -> Result<bool> {
    let mut found = false;
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("repr")) {
        attribute.parse_nested_meta(|meta| {
            found |= meta.path.is_ident("C") || meta.path.is_ident("transparent");
            if meta.path.is_ident("packed") {
                return Err(meta.error("fields of packed structs can't be borrowed"));
            }
            if meta.input.peek(syn::token::Paren) {
                let inner;
                syn::parenthesized!(inner in meta.input);
                inner.parse::<syn::LitInt>()?;
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn root(input: &DeriveInput) -> Result<Path> {
    let mut root = syn::parse_quote!(::psyne);
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("message")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("only `crate = path` is known"));
            }
            root = meta.value()?.call(Path::parse_mod_style)?;
            Ok(())
        })?;
    }
    Ok(root)
}
