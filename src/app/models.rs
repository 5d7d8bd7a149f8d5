//! Model servers of the configuration and of a plan.

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::engine::Models;
use crate::engine::tree::TreeNode;
use crate::model::{ModelError, ModelInfo, Reply, Request};

/// Nobody answers.
#[derive(Debug)]
pub struct NoModels;

impl Models for NoModels {
    fn ask<'a>(&'a self, rung: &'a str, _request: Request) -> BoxFuture<'a, Result<Reply, ModelError>> {
        async move { Err(unreachable(rung)) }.boxed()
    }

    fn info<'a>(&'a self, rung: &'a str) -> BoxFuture<'a, Result<ModelInfo, ModelError>> {
        async move { Err(unreachable(rung)) }.boxed()
    }

    fn away(&self) -> Vec<String> {
        Vec::new()
    }

    fn nodes(&self) -> Vec<TreeNode> {
        Vec::new()
    }
}

fn unreachable(rung: &str) -> ModelError {
    ModelError::Unreachable { server: rung.to_owned(), message: "no model server is configured".to_owned() }
}
