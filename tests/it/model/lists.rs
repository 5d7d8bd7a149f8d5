//! What servers have: lists, descriptions, what is in memory, downloads.

use std::sync::Mutex;

use ollmcp::model::{ModelError, NoNotices, PullProgress, Request};

use super::{KINDS, Kind, MODEL, request};
use crate::model_server::{Model, ModelServer};

#[tokio::test]
async fn ollama_lists_what_it_has_and_describes_one() {
    let server = ModelServer::start([
        Model::new(MODEL).family("qwen3").parameter_size("8.2B").bytes(5_000).digest("abc").context(40_960).thinks(),
        Model::new("embed:latest").family("nomic-bert").can(&["embedding"]),
        Model::new("gpt-oss:120b-cloud"),
        Model::new("alias:1b").remote("https://ollama.com:443"),
    ]);
    let client = Kind::Ollama.client(&server.url());
    let models = client.models().await.unwrap();
    let told: Vec<(&str, bool)> = models.iter().map(|model| (model.name.as_str(), model.is_remote)).collect();
    assert_eq!(told, [(MODEL, false), ("embed:latest", false), ("gpt-oss:120b-cloud", true), ("alias:1b", true)]);
    assert_eq!((models[0].family.as_str(), models[0].parameter_size.as_str()), ("qwen3", "8.2B"));
    assert_eq!((models[0].bytes, models[0].digest.as_str()), (5_000, "abc"));
    assert_eq!(server.count_path("/api/show"), 0, "a list is one request");

    let one = client.model(MODEL).await.unwrap();
    assert_eq!((one.tools, one.thinking, one.chat, one.is_remote), (Some(true), Some(true), true, false));
    assert_eq!((one.context_tokens_max, one.digest.as_str(), one.bytes), (Some(40_960), "abc", 5_000));
    let embed = client.model("embed").await.unwrap();
    assert_eq!((embed.name.as_str(), embed.tools, embed.chat), ("embed:latest", Some(false), false));
    assert!(client.model("alias:1b").await.unwrap().is_remote);
    let error = client.model("none:1b").await.unwrap_err();
    assert_eq!(error, ModelError::NoSuchModel { server: server.url(), model: "none:1b".into() });
}

#[tokio::test]
async fn a_wrong_name_is_an_error_also_where_the_server_takes_any() {
    for kind in [Kind::OllamaV1, Kind::LlamaCpp] {
        let server = kind.start_with([Model::new(MODEL).window(8_192)]);
        let client = kind.client(&server.url());
        let one = client.model(MODEL).await.unwrap();
        assert_eq!((one.name.as_str(), one.chat, one.is_remote), (MODEL, true, false));
        assert_eq!(one.context_tokens_max, (kind == Kind::LlamaCpp).then_some(8_192), "{kind:?}");
        let error = client.model("none:1b").await.unwrap_err();
        assert_eq!(error, ModelError::NoSuchModel { server: server.url(), model: "none:1b".into() });
    }
}

#[tokio::test]
async fn what_is_in_memory_is_told_with_its_window() {
    let server = Kind::Ollama.start_with([Model::new(MODEL).bytes(900).vram_bytes(300)]);
    let client = Kind::Ollama.client(&server.url());
    assert_eq!(client.loaded().await.unwrap(), Some(Vec::new()));
    client.chat(&Request { context_tokens: 6_000, ..request() }, &NoNotices).await.unwrap();
    let loaded = client.loaded().await.unwrap().unwrap();
    assert_eq!((loaded[0].name.as_str(), loaded[0].context_tokens), (MODEL, Some(6_000)));
    assert_eq!((loaded[0].bytes, loaded[0].vram_bytes), (900, 300));
    for kind in [Kind::OllamaV1, Kind::LlamaCpp] {
        assert_eq!(kind.client(&server.url()).loaded().await.unwrap(), None, "this protocol has no word for it");
    }
}

#[tokio::test]
async fn requests_in_a_row_load_a_model_once() {
    let server = Kind::Ollama.start();
    let client = Kind::Ollama.client(&server.url());
    for seed in 0..3 {
        client.chat(&Request { seed: Some(seed), context_tokens: 4_096, ..request() }, &NoNotices).await.unwrap();
    }
    assert_eq!(server.loads().len(), 1, "{:?}", server.loads());
    // No messages: only a load.
    let load = Request { messages: Vec::new(), context_tokens: 4_096, ..request() };
    assert_eq!(client.chat(&load, &NoNotices).await.unwrap().text, "");
    assert_eq!((server.loads().len(), server.chats().len()), (1, 3));
}

#[tokio::test]
async fn a_download_tells_how_far_it_is() {
    let server = ModelServer::start([
        Model::new(MODEL).not_installed(),
        Model::new("broken:1b").pull_fails("write /models: no space left on device"),
    ]);
    let client = Kind::Ollama.client(&server.url());
    let seen = Mutex::new(Vec::new());
    let progress = |progress: PullProgress| seen.lock().unwrap().push(progress);
    client.pull(MODEL, &progress).await.unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.iter().any(|progress| progress.total > 0 && progress.completed <= progress.total), "{seen:?}");
    assert_eq!(seen.last().unwrap().status, "success");
    assert!(client.model(MODEL).await.is_ok());

    let error = client.pull("broken:1b", &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    let error = client.pull("none:1b", &|_| {}).await.unwrap_err();
    assert_eq!(error, ModelError::NoSuchModel { server: server.url(), model: "none:1b".into() });
    let error = Kind::LlamaCpp.client(&server.url()).pull(MODEL, &|_| {}).await.unwrap_err();
    assert!(matches!(error, ModelError::Unsupported { what: "pull", .. }), "{error:?}");
}

#[tokio::test]
async fn a_download_that_is_dropped_is_given_up() {
    let server = ModelServer::setup([Model::new(MODEL).not_installed()]).pull_ms(30_000).start();
    let client = Kind::Ollama.client(&server.url());
    let pull = client.pull(MODEL, &|_| {});
    tokio::select! {
        _ = pull => panic!("it takes minutes"),
        () = server.wait_until("the download has begun", |server| server.count_path("/api/pull") == 1) => {}
    }
    server.wait_until("the server sees it", |server| server.requests()[0].end == crate::model_server::End::Left).await;
}

#[tokio::test]
async fn lists_of_what_is_no_model_server_are_refused() {
    let server =
        super::raw::Raw::serve(&["HTTP/1.1 200 OK\r\ncontent-length: 27\r\n\r\n<html><body>hi</body></html"], 0);
    for kind in KINDS {
        let error = kind.client(&server.url()).models().await.unwrap_err();
        assert!(matches!(error, ModelError::Protocol { .. }), "{kind:?}: {error:?}");
        assert!(error.to_string().contains("a web page"), "{kind:?}: {error}");
    }
}
