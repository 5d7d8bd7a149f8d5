//! The models a server has: facts only, told by `/api/tags`, `/api/show` and `/v1/models`.

use serde_json::{Value, json};

/// One model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(super) name: String,
    pub(super) family: String,
    pub(super) parameter_size: String,
    pub(super) digest: String,
    pub(super) capabilities: Vec<String>,
    pub(super) context_tokens_max: u32,
    pub(super) context_tokens: Option<u32>,
    pub(super) load_ms: u64,
    pub(super) bytes: u64,
    pub(super) vram_bytes: u64,
    pub(super) remote_host: Option<String>,
    pub(super) is_installed: bool,
    pub(super) pull_error: Option<String>,
    pub(super) pull_cuts: usize,
    pub(super) pulled: u64,
}

/// A name with its tag.
pub(super) fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

impl Model {
    /// A model of 8B with tools and a long window that loads at once.
    pub(crate) fn new(name: &str) -> Self {
        let name = with_tag(name);
        let family = name.split(':').next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
        // Any 64 digits do, as long as two names do not share them.
        let digest = format!(
            "{:064x}",
            name.bytes().fold(7_u128, |sum, byte| sum.wrapping_mul(1_099_511_628_211) ^ u128::from(byte))
        );
        Self {
            family,
            digest,
            name,
            parameter_size: "8.2B".into(),
            capabilities: vec!["completion".into(), "tools".into()],
            context_tokens_max: 40_960,
            context_tokens: None,
            load_ms: 0,
            bytes: 5_200_000_000,
            vram_bytes: 5_200_000_000,
            remote_host: None,
            is_installed: true,
            pull_error: None,
            pull_cuts: 0,
            pulled: 0,
        }
    }

    /// Sets the family; without it the name's first part.
    pub(crate) fn family(self, family: &str) -> Self {
        Self { family: family.into(), ..self }
    }

    /// Sets the size class, as written.
    pub(crate) fn parameter_size(self, size: &str) -> Self {
        Self { parameter_size: size.into(), ..self }
    }

    /// Sets the digest.
    pub(crate) fn digest(self, digest: &str) -> Self {
        Self { digest: digest.into(), ..self }
    }

    /// Sets all capabilities: `completion`, `tools`, `thinking`, `vision`, `embedding` …
    pub(crate) fn can(self, capabilities: &[&str]) -> Self {
        Self { capabilities: capabilities.iter().map(|&word| word.to_owned()).collect(), ..self }
    }

    /// Adds the capability `thinking`.
    pub(crate) fn thinks(mut self) -> Self {
        self.capabilities.push("thinking".into());
        self
    }

    /// Sets the longest window it was trained for.
    pub(crate) fn context(self, tokens_max: u32) -> Self {
        Self { context_tokens_max: tokens_max, ..self }
    }

    /// Sets the window where a request asks for none (`num_ctx` of its Modelfile; `--ctx` of llama.cpp). Without it 4096.
    pub(crate) fn window(self, tokens: u32) -> Self {
        Self { context_tokens: Some(tokens), ..self }
    }

    /// Sets how long a load takes.
    pub(crate) fn load_ms(self, load_ms: u64) -> Self {
        Self { load_ms, ..self }
    }

    /// Sets its size on disk and in memory, all of it on the graphics card.
    pub(crate) fn bytes(self, bytes: u64) -> Self {
        Self { bytes, vram_bytes: bytes, ..self }
    }

    /// Sets how much of it is on the graphics card.
    pub(crate) fn vram_bytes(self, vram_bytes: u64) -> Self {
        Self { vram_bytes, ..self }
    }

    /// It runs elsewhere: a cloud model.
    pub(crate) fn remote(self, host: &str) -> Self {
        Self { remote_host: Some(host.into()), ..self }
    }

    /// It is not there until it is pulled.
    pub(crate) fn not_installed(self) -> Self {
        Self { is_installed: false, ..self }
    }

    /// So many pulls are cut in their middle; each goes on from where the one before it was.
    pub(crate) fn pull_is_cut(self, times: usize) -> Self {
        Self { is_installed: false, pull_cuts: times, ..self }
    }

    /// A pull breaks off with this error.
    pub(crate) fn pull_fails(self, message: &str) -> Self {
        Self { is_installed: false, pull_error: Some(message.into()), ..self }
    }

    pub(super) fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|found| found == capability)
    }

    /// The window for a request that asks for so much.
    pub(super) fn window_for(&self, asked: Option<u32>) -> u32 {
        asked.or(self.context_tokens).unwrap_or(4096).clamp(1, self.context_tokens_max)
    }

    fn details(&self) -> Value {
        json!({
            "parent_model": "", "format": "gguf", "family": self.family, "families": [self.family],
            "parameter_size": self.parameter_size, "quantization_level": "Q4_K_M",
        })
    }

    /// What `/api/tags` and `/api/ps` say of it.
    pub(super) fn entry(&self) -> Value {
        let mut entry = json!({
            "name": self.name, "model": self.name, "size": self.bytes, "digest": self.digest, "details": self.details(),
        });
        if let Some(host) = &self.remote_host {
            entry["remote_host"] = json!(host);
            entry["remote_model"] = json!(self.name);
        }
        entry
    }

    /// What `/api/show` says of it.
    pub(super) fn show(&self) -> Value {
        let family = &self.family;
        let mut shown = json!({
            "modelfile": format!("FROM {}\n", self.name),
            "template": "{{ .Prompt }}",
            "details": self.details(),
            "model_info": {
                "general.architecture": family,
                "general.parameter_count": 8_190_735_360_u64,
                format!("{family}.context_length"): self.context_tokens_max,
                format!("{family}.embedding_length"): 4096,
            },
            "capabilities": self.capabilities,
            "modified_at": MODIFIED_AT,
        });
        if let Some(tokens) = self.context_tokens {
            shown["parameters"] = json!(format!("num_ctx                        {tokens}"));
        }
        if let Some(host) = &self.remote_host {
            shown["remote_host"] = json!(host);
            shown["remote_model"] = json!(self.name);
        }
        shown
    }
}

/// When every model was last changed.
pub(super) const MODIFIED_AT: &str = "2026-02-07T10:00:00.123456789+01:00";

impl From<&str> for Model {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}
