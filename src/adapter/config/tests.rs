use super::*;

#[test]
fn patterns_keep_the_order_of_their_file_and_the_first_that_matches_counts() {
    let text = r#"{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
        "rank_pattern": {"q_proj": 6, "layers.0.self_attn.q_proj": 2}, "alpha_pattern": {"z": 1, "a": 3, "z": 2}}"#;
    let config: AdapterConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config.rank("model.layers.0.self_attn.q_proj"), 6, "not the first by the alphabet");
    assert_eq!(config.alpha_pattern.0, [("z".to_string(), 2.0), ("a".to_string(), 3.0)]);
    let written = serde_json::to_string(&config).unwrap();
    assert!(written.contains(r#""rank_pattern":{"q_proj":6,"layers.0.self_attn.q_proj":2}"#), "{written}");
}

#[test]
fn null_and_what_is_missing_have_pefts_defaults() {
    let null = r#"{"peft_type": "LORA", "task_type": null, "r": null, "lora_alpha": null, "lora_dropout": null, "bias": null,
        "target_modules": null, "use_dora": null, "use_rslora": null, "rank_pattern": null, "alpha_pattern": null,
        "fan_in_fan_out": null, "init_lora_weights": null, "exclude_modules": null, "layers_to_transform": null}"#;
    let [null, missing] = [null, r#"{"peft_type": "LORA"}"#].map(|t| serde_json::from_str::<AdapterConfig>(t).unwrap());
    assert_eq!(null, missing);
    let names = Targets::Names(vec!["q_proj".into(), "v_proj".into()]);
    assert_eq!(null, AdapterConfig { target_modules: names, ..AdapterConfig::lora(8, 8.0) });
}

#[test]
fn keys_that_nobody_knows_are_told_and_those_of_peft_are_not() {
    let text = r#"{"peft_type": "LORA", "megatron_core": "megatron.core", "runtime_config": {"a": 1}, "use_new_scaling": true,
        "another": null, "multiplier": 3.0}"#;
    let config: AdapterConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config.unknown(), ["multiplier", "use_new_scaling"]);
}

#[test]
fn look_ahead_is_read_as_python_reads_it_and_a_pattern_that_matches_nothing_is_told() {
    let linear = "model.layers.0.self_attn.q_proj";
    let targets = Targets::Pattern(r"^(model(?=\.).*\.(q_proj|v_proj))$".into());
    let config = AdapterConfig { target_modules: targets, ..AdapterConfig::lora(4, 8.0) };
    assert_eq!(config.supported(), Ok(()));
    assert!(
        config.targets(linear) && !config.targets("model.layers.0.mlp.up_proj") && !config.targets("models.q_proj")
    );
    let idle = |key: &str| {
        let alpha_pattern = Patterns(vec![(key.to_string(), 100.0)]);
        AdapterConfig { alpha_pattern, ..AdapterConfig::lora(4, 8.0) }.idle_pattern([linear].into_iter())
    };
    assert_eq!(idle("q_prj").as_deref(), Some("alpha_pattern `q_prj`"));
    assert_eq!(idle("q_proj"), None);
    assert_eq!(idle(r"layers\.0\..*"), None);
}

#[test]
fn a_target_that_is_excluded_again_matches_all_the_same() {
    let all = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"];
    let names = |names: &[&str]| Targets::Names(names.iter().map(|name| name.to_string()).collect());
    let config = AdapterConfig {
        target_modules: names(&["q_proj", "k_proj"]),
        exclude_modules: Some(names(&["k_proj"])),
        ..AdapterConfig::lora(4, 8.0)
    };
    assert_eq!(config.unmatched(all.into_iter(), false, 1), None, "as PEFT expands all-linear");
    let other = AdapterConfig { target_modules: names(&["lm_head"]), ..config };
    assert_eq!(other.unmatched(all.into_iter(), true, 1).as_deref(), Some("target module `lm_head`"));
}

#[test]
fn what_is_excluded_must_be_there() {
    let linears = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"];
    let idle = |excluded: Targets| {
        let config = AdapterConfig { exclude_modules: Some(excluded), ..AdapterConfig::lora(4, 8.0) };
        config.idle_exclusion(linears.into_iter())
    };
    let names = |names: &[&str]| Targets::Names(names.iter().map(|name| name.to_string()).collect());
    for there in ["q_proj", "mlp", "lm_head", "layers.0.mlp.up_proj", "input_layernorm"] {
        assert_eq!(idle(names(&[there])), None, "{there}");
    }
    assert_eq!(idle(names(&["q_proj", "q_prj"])).as_deref(), Some("exclude_modules `q_prj`"));
    assert_eq!(idle(Targets::Pattern(r".*\.q_proj".into())), None);
    assert_eq!(idle(Targets::Pattern(r"q_proj".into())).as_deref(), Some("exclude_modules `q_proj`"), "a whole name");
    assert_eq!(AdapterConfig::lora(4, 8.0).idle_exclusion(linears.into_iter()), None);
}

#[test]
fn an_alpha_that_scales_the_update_away_is_refused() {
    for alpha in [0.0, -8.0, f64::NAN, f64::INFINITY] {
        let said = AdapterConfig::lora(4, alpha).supported().unwrap_err();
        assert!(said.starts_with("lora_alpha is") && said.ends_with("expected a positive number"), "{said}");
    }
    let alpha_pattern = Patterns(vec![("q_proj".to_string(), 0.0)]);
    let said = AdapterConfig { alpha_pattern, ..AdapterConfig::lora(4, 8.0) }.supported().unwrap_err();
    assert_eq!(said, "lora_alpha is 0, expected a positive number");
}

#[test]
fn how_an_adapter_was_started_matters_only_where_it_changed_the_base() {
    let started =
        |name: &str| AdapterConfig { init_lora_weights: Init::Named(name.into()), ..AdapterConfig::lora(4, 8.0) };
    for name in ["gaussian", "Gaussian", "eva", "orthogonal", "mica"] {
        assert_eq!(started(name).readable(), Ok(()));
        assert!(started(name).supported().is_err(), "a fresh adapter is not started so here");
    }
    for name in ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "new"] {
        let said = started(name).readable().unwrap_err();
        assert!(said.contains(name) && said.contains("path_initial_model_for_weight_conversion"), "{said}");
    }
    let dora = AdapterConfig { use_dora: true, ..started("gaussian") };
    assert_eq!(dora.readable(), Ok(()));
}

#[test]
fn a_value_of_the_wrong_type_is_named_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    for (key, value, wanted) in [
        ("lora_alpha", "\"16\"", "`lora_alpha` is \"16\", expected a number"),
        ("r", "4.5", "`r` is 4.5, expected a whole number"),
        ("target_modules", "{\"a\": 1}", "`target_modules` is {\"a\":1}, expected a list of names"),
        ("layers_to_transform", "-1", "`layers_to_transform` is -1, expected a number from 0"),
        ("rank_pattern", "\"x\"", "`rank_pattern` is \"x\", expected whole numbers by layer"),
        ("use_rslora", "\"yes\"", "`use_rslora` is \"yes\", expected true or false"),
    ] {
        let text = format!("{{\"peft_type\": \"LORA\", \"{key}\": {value}}}");
        std::fs::write(dir.path().join("adapter_config.json"), text).unwrap();
        let error = AdapterConfig::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains("adapter_config.json"), "{error}");
    }
}

#[test]
fn an_empty_list_of_layers_means_all_as_in_peft() {
    let config = AdapterConfig { layers_to_transform: Some(Layers::Some(vec![])), ..AdapterConfig::lora(4, 8.0) };
    assert!(config.targets("model.layers.5.self_attn.q_proj"));
}
