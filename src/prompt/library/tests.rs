use super::*;
use std::collections::BTreeSet;

fn case(id: &str, input: &str) -> Case {
    Case { case_id: id.into(), group: id.into(), input: input.into() }
}

fn exemplar(id: &str, input: &str, labels: &[&str]) -> Exemplar {
    let shows = labels.iter().map(|l| l.to_string()).collect();
    Exemplar { case: case(id, input), answer: labels.join(", "), shows }
}

/// The conversation about a text of its own group.
fn messages(prompt: &Prompt, input: &str) -> Vec<Message> {
    prompt.messages(&case("new", input))
}

fn context() -> PromptContext {
    let examples = vec![
        exemplar("1", "A cyst of the left kidney.", &["Renal cyst"]),
        exemplar("2", "Stones in the gallbladder.", &["Gallstone"]),
        exemplar("3", "Normal abdomen.", &[]),
        exemplar("4", "Cysts and stones, {vocabulary}.", &["Renal cyst", "Gallstone"]),
        exemplar("5", "Enlarged spleen.", &["Splenomegaly"]),
    ];
    let vocabulary = vec!["Gallstone".into(), "Renal cyst".into()];
    PromptContext { vocabulary, examples, pool: "of five".into(), ..PromptContext::default() }
}

#[test]
fn every_prompt_of_the_library_can_be_made_and_has_its_own_digest() {
    let prompts: Vec<Prompt> =
        Prompt::library().unwrap().iter().map(|r| Prompt::named(&r.name, &context()).unwrap()).collect();
    assert!(prompts.len() >= 3);
    let digests: BTreeSet<String> = prompts.iter().map(Prompt::digest).collect();
    assert_eq!(digests.len(), prompts.len());
    for prompt in &prompts {
        let messages = messages(prompt, "The finding, {target}, is here.");
        assert_eq!(messages.last().unwrap().role, Role::User);
        let all: String = messages.iter().map(|m| m.content.as_str()).collect();
        assert_eq!(all.matches("The finding, {target}, is here.").count(), 1, "as it is, not filled");
        for place in ["{finding}", "{document}", "{none}"] {
            assert!(!all.contains(place), "{}: {all}", prompt.name);
        }
    }
}

#[test]
fn the_closed_prompt_lists_every_training_label() {
    let text = Prompt::named("closed", &context()).unwrap().system.unwrap();
    assert!(text.contains("Gallstone, Renal cyst"), "{text}");
    assert_eq!(Prompt::named("closed", &PromptContext::default()).unwrap_err().exit_code(), 2);
}

#[test]
fn a_case_never_sees_its_own_answer_among_the_examples() {
    let prompt = Prompt::named("examples", &context()).unwrap();
    assert_eq!(prompt.examples.len(), 3);
    let shot = &prompt.examples[0];
    assert_eq!(messages(&prompt, "other").len(), 1 + 2 * 3 + 1);
    let own = messages(&prompt, &shot.input);
    assert_eq!(own.len(), 1 + 2 * 2 + 1);
    assert_eq!(own.iter().filter(|m| m.content.contains(&shot.input)).count(), 1);
}

#[test]
fn neighbours_depend_on_the_case_and_spare_its_patient() {
    let prompt = Prompt::named("neighbours", &context()).unwrap();
    let asked = case("1", "A cyst of the right kidney, and stones.");
    assert!(!prompt.retrieved(&asked).contains(&"1"), "its own group");
    let asked = Case { group: "other".into(), ..asked };
    assert_eq!(prompt.retrieved(&asked).last(), Some(&"1"));
    let messages = prompt.messages(&asked);
    assert_eq!(messages.len(), 2 * prompt.retrieved(&asked).len() + 1);
    assert_eq!(messages[messages.len() - 2].content, "Renal cyst", "the nearest is the last answer");
    let mut other = context();
    other.pool = "of others".into();
    assert_ne!(prompt.digest(), Prompt::named("neighbours", &other).unwrap().digest());
}

#[test]
fn keys_of_a_recipe_are_set_behind_its_name() {
    let prompt = |name: &str| Prompt::named(name, &context()).unwrap();
    let asked = case("new", "A cyst of the right kidney, and stones.");
    let said = |prompt: &Prompt| -> Vec<String> {
        prompt.messages(&asked).into_iter().filter(|m| m.role == Role::Assistant).map(|m| m.content).collect()
    };
    let (given, reversed) = (prompt("neighbours"), prompt("neighbours[order=reversed]"));
    let mut turned = said(&reversed);
    turned.reverse();
    assert_eq!(said(&given), turned);
    assert_eq!(said(&prompt("neighbours[neighbours=1]")), ["Renal cyst"], "the nearest alone");
    assert_eq!(said(&prompt("examples[examples=0]")).len(), 0);
    let orders: BTreeSet<Vec<String>> =
        (1..9).map(|seed| said(&prompt(&format!("examples[order=shuffled, seed={seed}]")))).collect();
    assert!(orders.len() > 2, "{orders:?}");
    assert_ne!(given.digest(), reversed.digest());
    assert_eq!(reversed.name, "neighbours[order=reversed]");
    for (name, wanted) in [
        ("neighbours[neighbors=1]", "neighbors"),
        ("neighbours[order=upside]", "upside"),
        ("neighbours[neighbours]", "KEY=VALUE"),
        ("neighbours[neighbours=-1]", "neighbours"),
        ("plain[listed=3]", "stands nowhere"),
    ] {
        let error = Prompt::named(name, &context()).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn a_shortened_list_holds_the_labels_of_the_nearest_cases() {
    let mut context = context();
    context.vocabulary = ["Gallstone", "Renal cyst", "Splenomegaly"].map(String::from).to_vec();
    let prompt = Prompt::named("closed[listed=2]", &context).unwrap();
    let system = |input: &str, group: &str| {
        let case = Case { group: group.into(), ..case("new", input) };
        prompt.messages(&case)[0].content.clone()
    };
    assert!(system("An enlarged spleen.", "new").contains("Gallstone, Splenomegaly"));
    assert!(system("An enlarged spleen.", "5").contains("Gallstone, Renal cyst"), "not of its own group");
    assert!(system("{vocabulary}", "new").contains("Gallstone, Renal cyst"), "what is filled in is not filled again");
}

#[test]
fn the_digest_follows_everything_that_is_asked() {
    let base = Prompt::named("closed", &context()).unwrap();
    assert_eq!(base.digest(), Prompt::named("closed", &context()).unwrap().digest());
    assert_ne!(base.digest(), base.clone().with_thinking(Thinking::On).digest());
    let mut other = context();
    other.vocabulary.push("Splenomegaly".into());
    assert_ne!(base.digest(), Prompt::named("closed", &other).unwrap().digest());
    assert!(base.id().starts_with("closed@") && base.id().len() == 7 + 12);
}

#[test]
fn ones_own_prompt_is_read_from_a_file_and_wrong_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    let made = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Prompt::named(path.to_str().unwrap(), &context())
    };
    let prompt = made("name='mine'\nversion=2\nabout='x'\nuser='{document}: {finding}'\nthinking='on'").unwrap();
    assert_eq!((prompt.user.as_str(), prompt.thinking), ("radiology report: {finding}", Thinking::On));
    for (text, wanted) in [
        ("name='m'\nversion=1\nabout=''\nuser='no place'", "exactly once"),
        ("name='m'\nversion=1\nabout=''\nuser='{finding}{finding}'", "exactly once"),
        ("name='m'\nversion=1\nabout=''\nuser='{finding}'\nexamples=9", "9 training cases"),
        ("name='m'\nversion=1\nabout=''\nuser='{finding}'\nusr='typo'", "usr"),
    ] {
        let error = made(text).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(wanted), "{error}");
    }
    let error = Prompt::named("nonesuch", &context()).unwrap_err().to_string();
    assert!(error.contains("plain") && error.contains("closed"), "{error}");
}

#[test]
fn a_place_that_nobody_fills_and_an_order_of_nothing_are_errors() {
    let recipe = |user: &str, more: &str| -> Recipe {
        let head = "name = \"own\"\nversion = 1\nabout = \"\"\n";
        toml::from_str(&format!("{head}user = '''{user}'''\n{more}")).unwrap()
    };
    let error = |user: &str, more: &str| Prompt::fill(&recipe(user, more), &context()).unwrap_err().to_string();
    let place = error("{findng} {finding}", "");
    assert!(place.contains("`{findng}` is none of the places"), "{place}");
    assert!(error("{finding}", "order = \"shuffled\"").contains("fewer than two"));
    for fine in ["{finding} as {\"labels\": []}", r"{finding} in \boxed{answer}", "{finding} {}"] {
        Prompt::fill(&recipe(fine, ""), &context()).unwrap();
    }
    Prompt::fill(&recipe("{finding}", "order = \"shuffled\"\nexamples = 2"), &context()).unwrap();
}
