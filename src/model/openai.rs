//! Servers that speak OpenAI's protocol (`/v1`): llama.cpp's own, vLLM, LM Studio and the like.
//!
//! Their window is fixed, so none is asked for. Some take any model name and answer with the one that they have: which
//! models there are is read from their list, never from an answer.

mod calls;
mod wire;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::address::Address;
use super::fault::Told;
use super::frames::Framing;
use super::http::Http;
use super::key::Key;
use super::stream::{Answer, Said};
use super::{
    About, Loaded, ModelError, ModelInfo, ModelServer, Notices, PullProgress, Reply, Request, Stop, Timing, Tokens,
};

/// One server with OpenAI's protocol.
#[derive(Debug)]
pub struct OpenAi {
    http: Http,
    /// Where the paths of the protocol begin: with `/v1` or what stands for it.
    base: String,
    /// Where llama.cpp tells about itself.
    root: String,
}

impl OpenAi {
    /// A client for the server at an address. `http://host:port` and `http://host:port/v1` are the same; a path with a
    /// version of its own (`/v1beta/openai`) is taken as it stands.
    ///
    /// # Errors
    /// [`ModelError::Denied`] for a key that no header can hold; [`ModelError::Protocol`] where no client can be made.
    pub fn new(address: Address, key: Option<Key>) -> Result<Self, ModelError> {
        let is_version = |part: &str| part.starts_with('v') && part[1..].starts_with(|c: char| c.is_ascii_digit());
        let prefix = address.prefix().to_owned();
        let has_version = prefix.split('/').any(is_version);
        let base = if has_version { prefix.clone() } else { format!("{prefix}/v1") };
        let base = address.with_prefix(&base).shown().to_owned();
        let root = address.with_prefix(prefix.strip_suffix("/v1").unwrap_or(&prefix)).shown().to_owned();
        Ok(Self { http: Http::new(address, key)?, base, root })
    }

    async fn ask(&self, request: &Request, notices: &dyn Notices) -> Result<Reply, ModelError> {
        let asked = self.http.asked(&request.model);
        let body = wire::request(request);
        let url = format!("{}/chat/completions", self.base);
        // A server that knows no streams answers with one document.
        let framing = |kind: &str| if kind == "application/json" { Framing::Whole } else { Framing::Events };
        let mut answer = Answer::ask(&self.http, &url, &body, asked, request.limits, framing).await?;
        let mut said = Said::default();
        let mut calls = calls::Assembly::default();
        let mut figures = wire::Figures::default();
        let mut ended: Option<(Stop, Instant)> = None;
        while let Some(bytes) = answer.next().await? {
            if bytes.trim_ascii() == b"[DONE]" {
                break;
            }
            let chunk: wire::Chunk =
                serde_json::from_slice(&bytes).map_err(|error| answer.unreadable(&bytes, &error))?;
            if let Some(error) = chunk.error() {
                return Err(asked.in_stream(&Told::of_value(&error)));
            }
            if !chunk.is_of_a_chat() {
                return Err(answer.unknown(&bytes, "no `choices`"));
            }
            answer.understood();
            figures.add(&chunk);
            let Some(choice) = chunk.first_choice() else { continue };
            let carries = take(choice, &mut said, &mut calls, notices);
            said.check(&asked)?;
            if carries || choice.finish_reason.is_some() {
                answer.saw_content();
            }
            if let Some(reason) = choice.finish_reason.as_deref().filter(|_| ended.is_none()) {
                let stop =
                    wire::stop(reason).ok_or_else(|| asked.broken(format!("the server ended it: `{reason}`")))?;
                ended = Some((stop, Instant::now()));
                answer.saw_end();
            }
        }
        let Some((stop, end)) = ended else {
            return Err(asked.broken("the stream ended without saying why the model stopped"));
        };
        said.calls = calls.whole();
        let (first_token_ms, whole_ms) = answer.passed_ms(end);
        let writing_ms = figures.writing_ms.unwrap_or(whole_ms.saturating_sub(first_token_ms));
        Ok(Reply {
            text: said.text,
            thinking: said.thinking,
            calls: said.calls,
            stop,
            tokens: Tokens::new(figures.prompt_tokens, figures.reply_tokens),
            timing: Timing { first_token_ms, whole_ms, load_ms: 0, writing_ms },
            ..Reply::default()
        })
    }

    async fn list(&self) -> Result<Vec<ModelInfo>, ModelError> {
        let asked = self.http.asked("");
        let list: wire::List = self.http.document(&format!("{}/models", self.base), None, asked).await?;
        let is_llama = list.is_of_llama_cpp();
        let mut infos = list.infos(!self.http.address().is_own_network());
        if let [only] = infos.as_mut_slice()
            && (is_llama || only.context_tokens_max.is_none())
        {
            // Only llama.cpp has this page, so its absence says nothing.
            let page: Result<wire::Props, _> = self.http.document(&format!("{}/props", self.root), None, asked).await;
            if let Ok(props) = page {
                props.add_to(only);
            }
        }
        Ok(infos)
    }
}

impl ModelServer for OpenAi {
    fn address(&self) -> &str {
        self.http.shown()
    }

    fn chat<'a>(&'a self, request: &'a Request, notices: &'a dyn Notices) -> BoxFuture<'a, Result<Reply, ModelError>> {
        Box::pin(self.ask(request, notices))
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ModelError>> {
        Box::pin(self.list())
    }

    fn model<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>> {
        Box::pin(async move {
            let found = self.list().await?.into_iter().find(|info| info.name == name);
            found.ok_or_else(|| ModelError::NoSuchModel { server: self.address().to_owned(), model: name.to_owned() })
        })
    }

    fn loaded(&self) -> BoxFuture<'_, Result<Option<Vec<Loaded>>, ModelError>> {
        Box::pin(async { Ok(None) })
    }

    fn about(&self) -> BoxFuture<'_, Result<About, ModelError>> {
        Box::pin(async {
            let asked = self.http.asked("");
            // Only llama.cpp has this page, so its absence says nothing.
            let page: Result<wire::Props, _> = self.http.document(&format!("{}/props", self.root), None, asked).await;
            Ok(page.map(|props| props.about()).unwrap_or_default())
        })
    }

    fn pull<'a>(
        &'a self,
        name: &'a str,
        _progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), ModelError>> {
        let message = "this kind of server fetches no models".to_owned();
        Box::pin(async move { Err(ModelError::Unsupported { model: name.to_owned(), what: "pull", message }) })
    }
}

/// Takes what one part carries; whether that was anything.
fn take(choice: &wire::Choice, said: &mut Said, calls: &mut calls::Assembly, notices: &dyn Notices) -> bool {
    let Some(delta) = choice.delta() else { return false };
    let (thinking, text) = (delta.thinking(), delta.text());
    said.thinking(&thinking, notices);
    said.text(&text, notices);
    let mut carries = !thinking.is_empty() || !text.is_empty();
    for call in delta.calls() {
        said.count(calls.add(call));
        carries = true;
    }
    carries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_added_where_the_path_has_none() {
        for (url, base, root) in [
            ("http://box:8080", "http://box:8080/v1", "http://box:8080"),
            ("http://box:8080/v1/", "http://box:8080/v1", "http://box:8080"),
            ("http://box/llama", "http://box/llama/v1", "http://box/llama"),
            ("http://box/api/v1", "http://box/api/v1", "http://box/api"),
            ("http://box/v1beta/openai", "http://box/v1beta/openai", "http://box/v1beta/openai"),
        ] {
            let server = OpenAi::new(Address::url(url).unwrap(), None).unwrap();
            assert_eq!((server.base.as_str(), server.root.as_str()), (base, root), "{url}");
        }
    }
}
