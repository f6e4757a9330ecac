//! What can be wrong with a findings file, by kind.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    MissingColumn,
    RepeatedColumn,
    NoRows,
    OpenQuote,
    Unreadable,
    CellError,
    Formula,
    Merged,
    Value,
    Missing,
    EmptyId,
    DuplicateId,
    EmptyFinding,
    NoLabel,
    Separator,
    Nothing,
    Mark,
    EmptyLabel,
    DuplicateLabel,
    Characters,
    Unanswerable,
    AsWritten,
    OnlyAsList,
    InBothSplits,
    NoTest,
}

impl Kind {
    /// False where a corpus can be used all the same: empty and repeated labels of a row are dropped on reading, a label that no answer
    /// can name counts as missed.
    pub fn fatal(self) -> bool {
        !matches!(
            self,
            Self::Mark
                | Self::EmptyLabel
                | Self::DuplicateLabel
                | Self::Characters
                | Self::Unanswerable
                | Self::AsWritten
                | Self::OnlyAsList
                | Self::NoTest
        )
    }
    pub fn heading(self) -> &'static str {
        match self {
            Self::MissingColumn => "missing column",
            Self::RepeatedColumn => "column twice",
            Self::NoRows => "no rows",
            Self::OpenQuote => "quote that does not close",
            Self::Unreadable => "unreadable row",
            Self::CellError => "cell with an error of Excel",
            Self::Formula => "formula without a stored value",
            Self::Merged => "merged cells",
            Self::Value => "cell that is not text",
            Self::Missing => "mark of a missing value",
            Self::EmptyId => "empty case id",
            Self::DuplicateId => "duplicate case id within a split",
            Self::EmptyFinding => "empty finding",
            Self::NoLabel => "no label",
            Self::Separator => "labels that can be separated in two ways",
            Self::Nothing => "the word for no label beside labels",
            Self::Mark => "mark in a label that may separate two",
            Self::EmptyLabel => "empty label between commas",
            Self::DuplicateLabel => "label twice in a row",
            Self::Characters => "characters that an answer will not hold in this form",
            Self::Unanswerable => "label that no answer can match",
            Self::AsWritten => "label that no answer can match as written, only after normalising",
            Self::OnlyAsList => "labels that only an answer in JSON can match",
            Self::InBothSplits => "text in both splits after normalising case and space",
            Self::NoTest => "no test cases",
        }
    }
}
