//! Sizes of Rust files and functions, read with a real parser.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{File, Finding};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
/// The only places with `unsafe`. What a macro writes is quoted in psyne-derive.
const UNSAFE_FOLDERS: &[&str] =
    &["crates/psyne-channel/src/raw/", "crates/psyne-c/src/", "crates/psyne-py/src/"];
/// `crates/x/src/a/b.rs`
const SOURCE_FOLDERS_MAX: usize = 2;

pub(super) fn check(file: &File) -> Vec<Finding> {
    let Some(text) = file.text() else { return Vec::new() };
    let tree = match syn::parse_file(text) {
        Ok(tree) => tree,
        Err(error) => return vec![Finding::new(&file.path, format!("is not Rust: {error}"))],
    };
    let mut sizes = Sizes { path: &file.path, findings: Vec::new(), test_lines: 0 };
    sizes.visit_file(&tree);
    let Sizes { mut findings, test_lines, .. } = sizes;
    let lines = text.lines().count() - test_lines.min(text.lines().count());
    if lines > FILE_LINES_MAX {
        findings.push(Finding::new(&file.path, format!("{lines} lines: split it by idea")));
    }
    if let Some((_, below)) = file.path.split_once("/src/")
        && below.matches('/').count() >= SOURCE_FOLDERS_MAX
    {
        findings.push(Finding::new(&file.path, "deeper than src/a/b.rs"));
    }
    if !UNSAFE_FOLDERS.iter().any(|folder| file.path.starts_with(folder)) {
        let mut places = Unsafe(Vec::new());
        places.visit_file(&tree);
        let finding = |line| Finding::new(format!("{}:{line}", file.path), "unsafe: not here");
        findings.extend(places.0.into_iter().map(finding));
    }
    findings
}

/// Lines with blocks, functions, traits or implementations that are unsafe.
struct Unsafe(Vec<usize>);

impl<'ast> Visit<'ast> for Unsafe {
    fn visit_expr_unsafe(&mut self, item: &'ast syn::ExprUnsafe) {
        self.0.push(item.unsafe_token.span.start().line);
        visit::visit_expr_unsafe(self, item);
    }

    fn visit_signature(&mut self, item: &'ast syn::Signature) {
        self.0.extend(item.unsafety.as_ref().map(|token| token.span.start().line));
        visit::visit_signature(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.0.extend(item.unsafety.as_ref().map(|token| token.span.start().line));
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.0.extend(item.unsafety.as_ref().map(|token| token.span.start().line));
        visit::visit_item_trait(self, item);
    }
}

struct Sizes<'a> {
    path: &'a str,
    findings: Vec<Finding>,
    test_lines: usize,
}

impl Sizes<'_> {
    fn function(&mut self, name: &syn::Ident, block: &syn::Block) {
        let (start, end) = (block.span().start().line, block.span().end().line);
        let lines = end - start + 1;
        if lines > FUNCTION_LINES_MAX {
            let place = format!("{}:{start}", self.path);
            self.findings.push(Finding::new(place, format!("fn {name} has {lines} lines")));
        }
    }
}

impl<'ast> Visit<'ast> for Sizes<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident == "tests" && item.content.is_some() {
            self.test_lines += item.span().end().line - item.span().start().line + 1;
        }
        visit::visit_item_mod(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_has_its_place() {
        let bytes = b"fn f() { unsafe { g() } } unsafe impl T for U {} unsafe fn h() {}".to_vec();
        let in_folder = |folder: &str| {
            let path = format!("{folder}/x.rs");
            check(&File { path, bytes: bytes.clone() }).len()
        };
        assert_eq!(in_folder("crates/psyne-channel/src"), 3);
        assert_eq!(in_folder("crates/psyne-channel/src/raw"), 0);
    }
}
