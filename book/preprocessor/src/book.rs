//! The passes over the book: notebooks in place, what depends on the corpus kept or dropped, citations numbered in reading order, links and formulas set.
use crate::chapter::{Labels, Writer, relative};
use crate::literature::Literature;
use crate::{directive, mathematics, notebook};
use anyhow::{Context, Result, bail};
use mdbook_preprocessor::PreprocessorContext;
use mdbook_preprocessor::book::{Book, Chapter};
use std::path::{Path, PathBuf};

/// What book.toml and the renderer ask for.
pub struct Settings {
    /// The book's sources on disk.
    src: PathBuf,
    references: PathBuf,
    print: bool,
    fold: usize,
}

impl Settings {
    /// `[preprocessor.dxlab]` knows `fold-lines` (8): longer code is folded.
    pub fn of(context: &PreprocessorContext) -> Result<Self> {
        let fold = context.config.get::<usize>("preprocessor.dxlab.fold-lines")?.unwrap_or(8);
        let src = context.root.join(&context.config.book.src);
        let references = context.root.join("references.toml");
        Ok(Self { src, references, print: context.renderer != "html", fold })
    }

    /// Does all the work on the book in place.
    pub fn apply(&self, book: &mut Book) -> Result<()> {
        let (mut labels, mut synthetic) = (Labels::new(), None);
        each(book, |chapter| self.put_notebooks(chapter, &mut labels, &mut synthetic))?;
        each(book, |chapter| {
            chapter.content = directive::conditions(&chapter.content, synthetic)?;
            Ok(())
        })?;

        let mut literature = Literature::read(&self.references)?;
        let mut list = None;
        for chapter in book.chapters() {
            literature.number(&chapter.content).with_context(|| chapter.name.clone())?;
            if !directive::find(&chapter.content, "references")?.is_empty() {
                list = chapter.path.clone();
            }
        }
        if list.is_none() && literature.cites() {
            bail!("works are cited and no chapter lists them: write `{{{{#references}}}}` into one");
        }
        let list = list.unwrap_or_default();
        each(book, |chapter| self.finish(chapter, &labels, &literature, &list))
    }

    fn put_notebooks(&self, chapter: &mut Chapter, labels: &mut Labels, synthetic: &mut Option<bool>) -> Result<()> {
        let Some(path) = chapter.source_path.clone() else { return Ok(()) };
        let folder = self.src.join(path.parent().unwrap_or(Path::new("")));
        let number =
            chapter.number.as_ref().map_or(String::new(), |number| number.to_string().trim_end_matches('.').into());
        let (src, print, fold) = (self.src.as_path(), self.print, self.fold);
        let mut writer = Writer { src, chapter: &path, number, print, fold, labels, figures: 0, tables: 0 };
        chapter.content = directive::replace(&chapter.content, "notebook", |argument| {
            let file = folder.join(argument);
            let name = file.file_stem().with_context(|| format!("`{argument}` names no notebook"))?.to_string_lossy();
            let cells = notebook::read(&file)?;
            *synthetic = synthetic.or(notebook::synthetic(&cells));
            writer.notebook(&name, &cells)
        })?;
        Ok(())
    }

    fn finish(&self, chapter: &mut Chapter, labels: &Labels, literature: &Literature, list: &Path) -> Result<()> {
        let Some(path) = chapter.path.clone() else { return Ok(()) };
        let text = directive::replace(&chapter.content, "ref", |label| {
            let Some(target) = labels.get(label) else {
                let known: Vec<_> = labels.keys().map(String::as_str).collect();
                bail!("`{{{{#ref {label}}}}}` names nothing; there are: {}", known.join(", "));
            };
            Ok(format!("[{}]({}#{label})", target.title, relative(&path, &target.chapter)))
        })?;
        let text = directive::apostrophes(&literature.fill(&text, &relative(&path, &list.to_string_lossy()))?);
        chapter.content = if self.print { text } else { mathematics::set(&text)? };
        Ok(())
    }
}

/// The closure on every chapter; the first error, with the chapter's name.
fn each(book: &mut Book, mut act: impl FnMut(&mut Chapter) -> Result<()>) -> Result<()> {
    let mut first = Ok(());
    book.for_each_chapter_mut(|chapter| {
        if first.is_ok() {
            first = act(chapter).with_context(|| format!("chapter `{}`", chapter.name));
        }
    });
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use mdbook_preprocessor::book::{BookItem, SectionNumber};

    /// Two chapters; the first has the fixture notebook, the second points into it.
    fn fixture(second: &str) -> (tempfile::TempDir, Settings, Book) {
        let folder = tempfile::tempdir().unwrap();
        let src = folder.path().join("src");
        std::fs::create_dir_all(&src).unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/toy.ipynb");
        std::fs::copy(fixture, folder.path().join("toy.ipynb")).unwrap();
        let chapter = |name: &str, text: &str, number: Option<u32>| {
            let mut chapter = Chapter::new(name, text.into(), format!("{name}.md"), vec![]);
            chapter.number = number.map(|n| SectionNumber::new([n]));
            BookItem::Chapter(chapter)
        };
        let items = vec![chapter("one", "{{#notebook ../toy.ipynb}}\n", Some(1)), chapter("two", second, None)];
        let references = folder.path().join("references.toml");
        std::fs::write(&references, "[x]\nauthors='A'\ntitle='T'\nvenue='V'\nyear=2000\n").unwrap();
        let settings = Settings { src, references, print: false, fold: 8 };
        (folder, settings, Book::new_with_items(items))
    }

    #[test]
    fn a_notebook_becomes_a_chapter_and_other_chapters_point_into_it() {
        let (_folder, settings, mut book) =
            fixture("See {{#ref fig-line}}, {{#ref tab-two}} and {{#cite x}}.\n\n{{#references}}");
        settings.apply(&mut book).unwrap();
        let text: Vec<_> = book.chapters().map(|chapter| chapter.content.as_str()).collect();
        for part in [
            "# A toy",
            "<math",
            "println!",
            "```text\n3\n```",
            "**Figure 1.1.** A line.",
            "| a | b |",
            "**Table 1.1.** Two columns.",
        ] {
            assert!(text[0].contains(part), "{part} in {}", text[0]);
        }
        assert!(!text[0].contains("//|") && !text[0].contains("Compiling"), "{}", text[0]);
        assert!(text[1].starts_with(
            "See [Figure 1.1](one.md#fig-line), [Table 1.1](one.md#tab-two) and \\[[1](two.md#ref-x)\\]."
        ));
    }

    #[test]
    fn a_link_to_nothing_is_an_error_that_names_the_chapter() {
        let (_folder, settings, mut book) = fixture("{{#ref fig-lien}}");
        let error = format!("{:#}", settings.apply(&mut book).unwrap_err());
        assert_eq!(error, "chapter `two`: `{{#ref fig-lien}}` names nothing; there are: fig-line, tab-two");
    }
}
