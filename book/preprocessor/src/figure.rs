//! Figures as files beside the chapters: `figures/<notebook>/<label>.svg`, and for print with a font that the PDF carries.
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Figures name the generic family; typst resolves none and draws no letter of a font it lacks.
const PRINTED_FONT: &str = "Source Sans Pro";

/// Where figures of one notebook go, and for which renderer.
pub struct Place<'a> {
    pub src: &'a Path,
    pub notebook: &'a str,
    pub print: bool,
}

impl Place<'_> {
    /// Writes a figure unless it is there already; its path relative to the book's sources.
    pub fn save(&self, label: &str, extension: &str, bytes: &[u8]) -> Result<PathBuf> {
        let folder = Path::new("figures").join(if self.print { "print" } else { "web" }).join(self.notebook);
        let file = folder.join(format!("{label}.{extension}"));
        let whole = self.src.join(&file);
        // mdbook's watcher would build again and again if an equal file were written anew.
        if std::fs::read(&whole).is_ok_and(|old| old == bytes) {
            return Ok(file);
        }
        std::fs::create_dir_all(self.src.join(&folder)).with_context(|| format!("cannot make {}", folder.display()))?;
        let part = whole.with_extension("part");
        std::fs::write(&part, bytes).with_context(|| format!("cannot write {}", part.display()))?;
        std::fs::rename(&part, &whole).with_context(|| format!("cannot write {}", whole.display()))?;
        Ok(file)
    }

    /// An SVG as this renderer needs it.
    pub fn svg(&self, svg: &str) -> String {
        if !self.print {
            return svg.to_owned();
        }
        ["sans-serif", "Arial", "Helvetica", "serif"].iter().fold(svg.to_owned(), |svg, generic| {
            svg.replace(&format!("font-family=\"{generic}\""), &format!("font-family=\"{PRINTED_FONT}\""))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_figures_name_a_font_that_the_pdf_carries() {
        let svg = "<text font-family=\"sans-serif\">n</text>";
        let place = |print| Place { src: Path::new("."), notebook: "01", print };
        assert_eq!(place(true).svg(svg), "<text font-family=\"Source Sans Pro\">n</text>");
        assert_eq!(place(false).svg(svg), svg);
    }
}
