//! A window that a person has chosen: servers tell of their models as if none had a larger one, so that nothing above
//! asks for more.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::model::{
    About, Loaded, ModelError, ModelInfo, ModelServer, ModelServers, Notices, PullProgress, Reply, Request,
};

/// The servers, with windows of at most so many tokens where that is chosen.
#[must_use]
pub fn with_window(servers: ModelServers, chosen: Option<u32>) -> ModelServers {
    let Some(tokens_max) = chosen else { return servers };
    let bounded = servers.0.into_iter().map(|(name, inner)| {
        let server: Arc<dyn ModelServer> = Arc::new(WithWindow { inner, tokens_max });
        (name, server)
    });
    ModelServers(bounded.collect())
}

#[derive(Debug)]
struct WithWindow {
    inner: Arc<dyn ModelServer>,
    tokens_max: u32,
}

impl WithWindow {
    fn bounded(&self, info: ModelInfo) -> ModelInfo {
        let own = info.context_tokens_max.unwrap_or(self.tokens_max);
        ModelInfo { context_tokens_max: Some(own.min(self.tokens_max)), ..info }
    }
}

impl ModelServer for WithWindow {
    fn address(&self) -> &str {
        self.inner.address()
    }

    fn slots(&self) -> usize {
        self.inner.slots()
    }

    fn chat<'a>(&'a self, request: &'a Request, notices: &'a dyn Notices) -> BoxFuture<'a, Result<Reply, ModelError>> {
        self.inner.chat(request, notices)
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, ModelError>> {
        async { Ok(self.inner.models().await?.into_iter().map(|info| self.bounded(info)).collect()) }.boxed()
    }

    fn model<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>> {
        async { Ok(self.bounded(self.inner.model(name).await?)) }.boxed()
    }

    fn loaded(&self) -> BoxFuture<'_, Result<Option<Vec<Loaded>>, ModelError>> {
        self.inner.loaded()
    }

    fn about(&self) -> BoxFuture<'_, Result<About, ModelError>> {
        self.inner.about()
    }

    fn pull<'a>(
        &'a self,
        name: &'a str,
        progress: &'a (dyn Fn(PullProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), ModelError>> {
        self.inner.pull(name, progress)
    }
}
