//! Sizes of Rust files and functions, read with a real parser.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{File, Finding};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
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
    findings
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
