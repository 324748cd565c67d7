//! OpenSearch as it answers: is it there, does it take these credentials, is the index right, can it be
//! searched as it is set.

use super::report::Finding;
use aws_types::SdkConfig;
use gateway::aws;
use gateway::config::Settings;
use gateway::config::retrieval::{Auth, OpenSearch as There, Service};
use gateway::retrieval::opensearch::client::{Call, Client};
use gateway::retrieval::opensearch::mapping::{self, Vectors as Wanted};
use gateway::retrieval::opensearch::reply::Reply;
use gateway::retrieval::opensearch::{OpenSearch, escaped};
use gateway::retrieval::{Embed, Mode, Query, Retrieval, Vectors};
use gateway::search_model::SearchModel;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the server may take for an answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The lines about the OpenSearch of these settings.
pub async fn look(
    there: &There,
    settings: &Settings,
    config: Option<&SdkConfig>,
    model: &SearchModel,
) -> Vec<Finding> {
    let opened = aws::connector(settings.ca_bundle.as_deref());
    let opened = opened.and_then(|connector| Ok((Client::new(connector.clone(), there, config)?, connector)));
    let (client, connector) = match opened {
        Ok(opened) => opened,
        Err(sentence) => return vec![Finding::wrong("OpenSearch", sentence)],
    };
    let mut findings = Vec::new();
    match server(&client, there).await {
        Ok(finding) => findings.extend(finding),
        Err(finding) => return vec![finding],
    }
    let mut embedding = model.embedding();
    embedding.embed = made_up(model.dimensions());
    // It is to find something whatever the words of the collection are.
    embedding.spelling = false;
    let search = match OpenSearch::open(connector, config, &settings.retrieval, embedding) {
        Ok(Some(search)) => search,
        Ok(None) => return findings,
        Err(sentence) => return vec![Finding::wrong("OpenSearch", sentence)],
    };
    let vectors = (settings.retrieval.mode != Mode::Text)
        .then(|| Wanted { model: model.choice.entry.id.clone(), dimensions: model.dimensions() });
    match index(&client, there, &search, vectors).await {
        Ok(finding) => findings.push(finding),
        Err(finding) => {
            findings.push(finding);
            return findings;
        }
    }
    findings.push(tried(&search, settings).await);
    findings
}

/// A vector that no model was asked for: it finds something, and what it finds does not matter.
fn made_up(dimensions: usize) -> Embed {
    Arc::new(move |texts, _| {
        let vectors =
            texts.iter().map(|_| vec![1.0 / (dimensions.max(1) as f32).sqrt(); dimensions]).collect();
        Box::pin(std::future::ready(Ok(Vectors { vectors, input_tokens: 0 })))
    })
}

/// Is there a server that knows us? None where it has no such question.
async fn server(client: &Client, there: &There) -> Result<Option<Finding>, Finding> {
    let what = "OpenSearch";
    if there.auth == Auth::Iam(Service::Serverless) {
        return Ok(None);
    }
    let endpoint = &there.endpoint;
    let reply = client.send(&Call::get("/", LIMIT)).await.map_err(|error| {
        let detail = error.detail.unwrap_or_default();
        Finding::wrong(
            what,
            format!(
                "{endpoint} cannot be reached: {detail}. Check OPENSEARCH_DOMAIN_ENDPOINT; a domain in a VPC is \
                 reached from within it."
            ),
        )
    })?;
    if reply.status == 403 {
        return Ok(Some(Finding::note(
            what,
            format!("{endpoint} answers, and does not say its version to you"),
        )));
    }
    if !reply.is_success() {
        return Err(Finding::wrong(what, refused(endpoint, &reply)));
    }
    let root: Value = reply.json().unwrap_or_default();
    let version = &root["version"];
    match (version["distribution"].as_str(), version["number"].as_str()) {
        (Some("opensearch"), Some(number)) => {
            Ok(Some(Finding::ok(what, format!("{number} answers at {endpoint}"))))
        }
        (_, Some(number)) => Err(Finding::wrong(
            what,
            format!("{endpoint} is version {number} of something else. Name an OpenSearch."),
        )),
        _ => Err(Finding::wrong(
            what,
            format!("{endpoint} does not answer as OpenSearch does. Check OPENSEARCH_DOMAIN_ENDPOINT."),
        )),
    }
}

/// Is the index there, does it fit the settings, is something in it?
async fn index(
    client: &Client,
    there: &There,
    search: &OpenSearch,
    vectors: Option<Wanted>,
) -> Result<Finding, Finding> {
    let (what, name) = ("index", &there.index);
    let wrong = |sentence: String| Finding::wrong(what, sentence);
    let path = escaped(name);
    let seen = client.send(&Call::get(format!("/{path}/_mapping"), LIMIT)).await;
    let seen = seen.map_err(|error| wrong(format!("{name}: {}", error.detail.unwrap_or_default())))?;
    if matches!(seen.status, 401 | 403 | 429 | 500..) {
        return Err(wrong(refused(&format!("the index {name}"), &seen)));
    }
    search.check().await.map_err(wrong)?;
    if let Some(vectors) = vectors {
        let path = format!("/{path}/_settings?flat_settings=true");
        let set = client.ask(&Call::get(path, LIMIT)).await.and_then(|reply| reply.json::<Value>());
        let (set, mappings) = (set.unwrap_or_default(), seen.json::<Value>().unwrap_or_default());
        for (name, index) in mappings.as_object().into_iter().flatten() {
            let knn = set[name]["settings"]["index.knn"].as_str();
            mapping::judge(name, &index["mappings"], knn, &there.fields, &vectors).map_err(wrong)?;
        }
    }
    let counted = client.ask(&Call::get(format!("/{path}/_count"), LIMIT)).await;
    let counted = counted.and_then(|reply| reply.json::<Value>());
    match counted.ok().and_then(|count| count["count"].as_u64()) {
        Some(0) => Err(wrong(format!("{name} is empty. Fill it with `llm-gateway index PATH`."))),
        Some(count) => Ok(Finding::ok(what, format!("{name} has {count} documents and fits the settings"))),
        None => {
            Ok(Finding::note(what, format!("{name} fits the settings, and does not tell how much is in it")))
        }
    }
}

/// One search, as the gateway searches.
async fn tried(search: &OpenSearch, settings: &Settings) -> Finding {
    let query = Query { text: "documents".to_owned(), k: settings.retrieval.k, ..Query::default() };
    let begun = Instant::now();
    let found = search.search(&query, LIMIT).await;
    let took = begun.elapsed().as_millis();
    let mode = match settings.retrieval.mode {
        Mode::Text => "by words",
        Mode::Vector => "by vectors",
        Mode::Hybrid => match search.merges() {
            Some(true) => "by words and vectors, merged by the server",
            Some(false) => "by words and vectors, merged here: the server has no hybrid search",
            None => "by words and vectors",
        },
    };
    match found {
        Ok(_) => Finding::ok("search", format!("{mode}, in {took} ms, a first search's connection included")),
        Err(error) => Finding::wrong(
            "search",
            format!(
                "{mode}: {}. Check that the caller may search the index, and RETRIEVAL_TIMEOUT_MS.",
                error.detail.unwrap_or(error.message)
            ),
        ),
    }
}

/// A refusal, with the reason that the server gives and what there is to do about it.
fn refused(of: &str, reply: &Reply) -> String {
    let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    // Amazon's own front door says it so, before OpenSearch is asked.
    let front = ["Message", "message"].iter().find_map(|name| said[*name].as_str());
    let reason = front.map(str::to_owned).or_else(|| reply.reason());
    let todo = match (reply.status, front, &reason) {
        (401, ..) => "Check OPENSEARCH_AUTH, OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD.",
        (403, Some(_), _) => {
            "Allow es:ESHttpGet and es:ESHttpPost in the domain's access policy or in an IAM policy of the \
             caller's (Serverless: aoss:APIAccessAll and a data access policy)."
        }
        (403, None, Some(reason)) if reason.contains("no permissions") => {
            "Fine-grained access control is on: map the caller's role, as a backend role, to a role of the \
             domain's that may read the index."
        }
        (403, ..) => "Allow the caller to read the index.",
        (429, ..) | (500.., ..) => "Try again; if it stays so, look at the server's health.",
        _ => "Check OPENSEARCH_DOMAIN_ENDPOINT.",
    };
    let reason = reason.map(|reason| format!(": {}", reason.trim_end_matches('.'))).unwrap_or_default();
    format!("{of} answers {}{reason}. {todo}", reply.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, words: [&str; 2]) {
        let reply = Reply { status, retry_after: None, body: body.to_owned().into() };
        let said = refused("it", &reply);
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }

    #[test]
    fn the_front_doors_refusal_is_told_from_fine_grained_access_controls() {
        let front = r#"{"Message":"User: anonymous is not authorized to perform: es:ESHttpGet"}"#;
        check(403, front, ["not authorized to perform", "access policy"]);
        let reason = "no permissions for [indices:data/read/search] and User [name=x]";
        let fine = format!(
            r#"{{"error":{{"root_cause":[{{"type":"security_exception","reason":"{reason}"}}],
            "type":"security_exception","reason":"{reason}"}},"status":403}}"#
        );
        check(403, &fine, ["no permissions", "backend role"]);
        check(401, "Unauthorized", ["answers 401.", "OPENSEARCH_PASSWORD"]);
        check(503, "{}", ["503", "health"]);
    }
}
