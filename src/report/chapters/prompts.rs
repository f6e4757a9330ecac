//! The prompt chapter: which prompts there are, and that every case is encoded alike for training and serving.
use crate::error::Result;
use crate::prompt::{Encoder, Exemplar, Prompt, PromptContext, Thinking};
use crate::report::kit::display::Table;

/// The prompts that come with dxlab, one row each. Tokens: all but the finding; retrieved examples come on top and are no part
/// of it.
pub fn library(encoder: &Encoder, context: &PromptContext) -> Result<Table> {
    let row = |recipe: crate::prompt::Recipe| {
        let prompt = Prompt::named(&recipe.name, context)?;
        let tokens = encoder.serve(&prompt, "")?.len();
        let (fixed, retrieved) = (recipe.examples.to_string(), recipe.neighbours.to_string());
        Ok(vec![recipe.name, recipe.about, fixed, retrieved, tokens.to_string(), prompt.digest()[..12].to_string()])
    };
    let rows = Prompt::library()?.into_iter().map(row).collect::<Result<Vec<_>>>()?;
    Ok(Table::from_rows(&["prompt", "what it gives", "examples", "retrieved", "tokens", "digest"], &rows))
}

/// Every case encoded for training and for serving with each prompt, thinking off and on; an error where the ids differ.
pub fn audit(encoder: &Encoder, context: &PromptContext, names: &[&str], cases: &[Exemplar]) -> Result<Table> {
    let mut rows = Vec::new();
    for name in names {
        for (thinking, said) in [(Thinking::Off, "off"), (Thinking::On, "on")] {
            let prompt = Prompt::named(name, context)?.with_thinking(thinking);
            let seen = encoder.audit(&prompt, cases)?;
            let numbers = [seen.cases, seen.cases, seen.longest_prompt, seen.longest_answer, seen.shortened];
            let cells = [name.to_string(), said.to_string()].into_iter();
            rows.push(cells.chain(numbers.map(|n| n.to_string())).collect());
        }
    }
    let names = ["prompt", "thinking", "cases", "equal ids", "longest prompt", "longest answer", "shortened"];
    Ok(Table::from_rows(&names, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;
    use crate::model::Tokenizer;
    use std::sync::Arc;

    #[test]
    fn every_prompt_of_the_library_has_a_row() {
        let corpus = Corpus::embedded().unwrap();
        let tokenizer = Tokenizer::train(corpus.train.iter().take(30).map(|case| case.input.as_str()), 400).unwrap();
        let (encoder, context) = (Encoder::new(Arc::new(tokenizer)), crate::task::context_of(&corpus));
        assert_eq!(library(&encoder, &context).unwrap().height(), Prompt::library().unwrap().len());
        let table = audit(&encoder, &context, &["plain"], &context.examples[..3]).unwrap();
        assert_eq!(table.height(), 2);
    }
}
